"""What an interrupted run of ``wend pseudo-boxes`` has finished, in the folder ``<split>.partial``.

``found.jsonl``: the settings in the first line, then a line for each image that is done. DDT keeps
the group that it is in the middle of beside it, ``group.npz`` (:mod:`wend.localize.ddt_run`).
"""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from wend.classes.partial import differences
from wend.files import atomic_write
from wend.localize.boxes import FoundBox

FORMAT = "wend-pseudo-boxes-partial-1"
logger = logging.getLogger(__name__)


class Partial:
    """The folder of an unfinished run; made, or taken up where its settings are the same.

    The settings must be as JSON gives them back (lists, no tuples).

    Attributes:
        done: key -> its box, or the message of the error that reading the image ended in.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder, self.settings = folder, settings
        self.done: dict[str, FoundBox | str] = {}
        self._lines = folder / "found.jsonl"
        if not self._take_up():
            self.drop_group()
            folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(self._lines) as file:
                file.write(json.dumps({"format": FORMAT, "settings": self.settings}) + "\n")

    def _take_up(self) -> bool:
        """Read what is done and cut a half-written line; False where there is nothing to go on."""
        if not self._lines.is_file():
            return False
        content = self._lines.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        try:
            lines = [json.loads(line) for line in whole.decode("utf-8").splitlines()]
            header, done = lines[0], {row.pop("key"): row for row in lines[1:]}
            old = header["settings"] if header["format"] == FORMAT else None
            self.done = {key: _from_row(row) for key, row in done.items()}
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            logger.warning("%s: is no record of an interrupted run; starting anew", self._lines)
            self.done = {}
            return False
        if old != self.settings:
            changed = differences(old or {}, self.settings)
            logger.warning(
                "%s: the settings have changed (%s); starting anew", self.folder, changed
            )
            self.done = {}
            return False
        if whole != content:
            with atomic_write(self._lines, "wb") as file:
                file.write(whole)
        logger.info("%s: %d images are done", self.folder, len(self.done))
        return True

    def add(self, found: dict[str, FoundBox | str]) -> None:
        """Note images as done, all of them or, if interrupted, the first of them."""
        with self._lines.open("a", encoding="utf-8") as file:
            for key, one in found.items():
                file.write(json.dumps({"key": key, **_to_row(one)}) + "\n")
        self.done.update(found)

    def save_group(self, **arrays: np.ndarray) -> None:
        """Keep the state of a group in the middle of its work."""
        with atomic_write(self.folder / "group.npz", "wb") as file:
            np.savez(file, **arrays)

    def load_group(self) -> dict[str, np.ndarray]:
        """The kept state; empty if there is none."""
        path = self.folder / "group.npz"
        if not path.is_file():
            return {}
        with np.load(path, allow_pickle=False) as file:
            return dict(file)

    def drop_group(self) -> None:
        """Forget the kept state: its group is done."""
        (self.folder / "group.npz").unlink(missing_ok=True)

    def remove(self) -> None:
        """Everything is written where it belongs."""
        self.drop_group()
        self._lines.unlink()
        with suppress(OSError):  # something of the user's lies there
            self.folder.rmdir()


def _to_row(found: FoundBox | str) -> dict[str, Any]:
    if isinstance(found, str):
        return {"error": found}
    return {"box": list(found.box), "score": found.score, "whole_image": found.whole_image}


def _from_row(row: dict[str, Any]) -> FoundBox | str:
    if "error" in row:
        return row["error"]
    return FoundBox(tuple(row["box"]), row["score"], row["whole_image"])
