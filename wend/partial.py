"""A record of what an interrupted run has finished, so that the same command goes on there.

One file of JSON lines: first ``{"format": ..., "settings": {...}}``, then a row for each piece of
work that is done.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Generic, TypeVar

from wend.errors import some
from wend.files import atomic_write, writing

_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")  # SHA-256
Item = TypeVar("Item")
logger = logging.getLogger(__name__)


def differences(old: dict[str, Any], new: dict[str, Any]) -> str:
    """The entries that two objects of settings do not share, in words."""
    changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    return ", ".join(_change(key, old.get(key), new.get(key)) for key in changed)


def _change(key: str, old: Any, new: Any) -> str:
    """One entry's change: its values; of a text its new lines; no digest, which tells nothing."""
    if isinstance(old, str) and isinstance(new, str) and "\n" in new:
        before = set(old.splitlines())
        lines = [line.strip() for line in new.splitlines() if line not in before]
        return f"{key}: now {some(lines)}" if lines else f"{key}: lines are gone"
    if _DIGEST.search(f"{old!r} {new!r}"):
        return f"{key}: of other content"
    return f"{key}: {old!r}, now {new!r}"


class PartialFile(Generic[Item]):
    """The file of an unfinished run; made, or taken up where its settings are the same.

    A file of other settings, or that is no such file, is started anew, and the log says so. A line
    that was not finished is cut off.

    Args:
        path: the file; its folder is made.
        format: the name of the file's format, which its first line states.
        settings: what the work depends on, JSON values.
        from_row: makes an item of a row that :meth:`add` wrote; raises KeyError, TypeError or
            ValueError where the row is not one of its own.

    Attributes:
        items: the items of the rows that the file already held.
        resumed: whether the file was there, with the same settings.
    """

    def __init__(
        self,
        path: str | Path,
        format: str,
        settings: dict[str, Any],
        from_row: Callable[[dict[str, Any]], Item],
    ) -> None:
        self.path = Path(path)
        self.items: list[Item] = []
        header = json.loads(json.dumps({"format": format, "settings": settings}))
        self.resumed = self._take_up(header, from_row)
        if not self.resumed:
            with atomic_write(self.path) as file:
                file.write(json.dumps(header) + "\n")

    def _take_up(self, header: dict[str, Any], from_row: Callable[[dict], Item]) -> bool:
        """Read what is done; False where there is nothing to go on from."""
        content = self.path.read_bytes() if self.path.is_file() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if not whole:
            return False
        try:
            first, *rows = map(json.loads, whole.splitlines())
            if first["format"] != header["format"]:
                raise ValueError(first["format"])
            changed = differences(first["settings"], header["settings"])
            items = [] if changed else [from_row(row) for row in rows]
        except (ValueError, KeyError, TypeError, AttributeError):
            logger.warning("%s: is no record of an interrupted run; starting anew", self.path)
            return False
        if changed:
            logger.warning("%s: the settings have changed (%s); starting anew", self.path, changed)
            return False
        if whole != content:
            with atomic_write(self.path, "wb") as file:
                file.write(whole)
        self.items = items
        return True

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Note work as done: all rows or, if interrupted, the first of them."""
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)

    def remove(self) -> None:
        """Remove the file, once everything is written where it belongs."""
        self.path.unlink()
