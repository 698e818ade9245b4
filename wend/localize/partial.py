"""The finished part of an interrupted ``wend pseudo-boxes``, in the folder ``<split>.partial``.

``found.jsonl`` has a row for each image that is done (:mod:`wend.partial`). Beside it DDT keeps the
group that it is in the middle of, ``group.npz`` (:mod:`wend.localize.ddt_run`).
"""

from __future__ import annotations

import json
import logging
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from wend.files import atomic_write
from wend.localize.boxes import FoundBox
from wend.partial import PartialFile

FORMAT = "wend-pseudo-boxes-partial-2"
Result = tuple[FoundBox, ...] | str
logger = logging.getLogger(__name__)


class Partial:
    """The folder of an unfinished run; made, or continued where its settings are the same.

    Attributes:
        done: key -> its boxes, or the message of the error that reading the image ended in.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        self._rows = PartialFile(folder / "found.jsonl", FORMAT, settings, _from_row)
        self._group, self._settings = folder / "group.npz", json.dumps(settings)
        self.done: dict[str, Result] = dict(self._rows.items)
        if self._rows.resumed:
            logger.info("%s: %d images are done", folder, len(self.done))

    def add(self, results: dict[str, Result]) -> None:
        """Record images as done; if interrupted, the first of them."""
        self._rows.add({"key": key, **_to_row(result)} for key, result in results.items())
        self.done.update(results)

    def save_group(self, **arrays: np.ndarray) -> None:
        """Save the state of a group in the middle of its work, with the settings of the run."""
        # the ignored error: numpy's stub takes one of the arrays for savez' own allow_pickle
        with atomic_write(self._group, "wb") as file:
            np.savez(file, settings=np.array(self._settings), **arrays)  # type: ignore[arg-type]

    def load_group(self) -> dict[str, np.ndarray]:
        """The saved state; empty if there is none, or if it is of other settings."""
        if not self._group.is_file():
            return {}
        try:
            with np.load(self._group, allow_pickle=False) as file:
                state = dict(file)
        except (ValueError, OSError, zipfile.BadZipFile):
            logger.warning("%s: is no state of a group; its group starts anew", self._group)
            return {}
        return state if str(state.pop("settings", "")) == self._settings else {}

    def drop_group(self) -> None:
        """Remove the saved state of a group that is done."""
        self._group.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the folder of a run whose output is written."""
        self.drop_group()
        self._rows.remove()
        with suppress(OSError):  # something of the user's lies there
            self.folder.rmdir()


def _to_row(result: Result) -> dict[str, Any]:
    if isinstance(result, str):
        return {"error": result}
    return {"boxes": [[*located.box, located.score, located.whole_image] for located in result]}


def _from_row(row: dict[str, Any]) -> tuple[str, Result]:
    if "error" in row:
        return row["key"], row["error"]
    boxes = [FoundBox((x0, y0, x1, y1), *rest) for x0, y0, x1, y1, *rest in row["boxes"]]
    return row["key"], tuple(boxes)
