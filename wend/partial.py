"""A record of what an interrupted run has finished, so that the same command goes on there.

One file of JSON lines: first ``{"format": ..., "settings": {...}}``, then a line for each piece of
work that is done: its checksum (CRC-32, eight hexadecimal digits), a space, a row of JSON.

A process that is killed loses nothing that was added; a machine that goes down at most what was
added in the last :data:`SYNC_SECONDS`. Whatever a file lost or had damaged is done again: a line
whose checksum is another one counts as not there.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

from wend.errors import some
from wend.files import atomic_write, writing

SYNC_SECONDS = 5.0  # at most this much work may lie in the system's memory alone
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


@dataclass(frozen=True)
class RecordContent(Generic[Item]):
    """What a record file holds.

    Attributes:
        settings: of its first line; None where it has none of the format.
        other_format: whether its first line states another format, as other versions' do.
        items: of its whole lines.
        lines: those lines, the first one too, as they stand in the file.
        damaged: how many lines are not as they were written, a last one that was cut off excepted.
        cut_off: whether the last line was not finished.
    """

    settings: dict[str, Any] | None
    other_format: bool
    items: list[Item]
    lines: list[bytes]
    damaged: int
    cut_off: bool


def read_record(
    path: Path, format: str, from_row: Callable[[dict[str, Any]], Item]
) -> RecordContent[Item]:
    """Read a record file, which another process may be adding to; arguments of PartialFile's."""
    content = path.read_bytes() if path.is_file() else b""
    whole = content[: content.rfind(b"\n") + 1]
    lines = whole.split(b"\n")[:-1]
    header = _header(lines[0]) if lines else {}
    settings = header.get("settings")
    if header.get("format") != format or not isinstance(settings, dict):
        return RecordContent(None, "format" in header, [], [], 0, bool(content) and not lines)
    items, good, damaged = [], [lines[0]], 0
    for line in lines[1:]:
        try:
            items.append(from_row(_row(line)))
            good.append(line)
        except (ValueError, KeyError, TypeError, AttributeError):
            damaged += 1
    return RecordContent(settings, False, items, good, damaged, len(whole) < len(content))


def _header(line: bytes) -> dict[str, Any]:
    try:
        header = json.loads(line)
    except ValueError:
        return {}
    return header if isinstance(header, dict) else {}


def _line(row: dict[str, Any]) -> bytes:
    text = json.dumps(row).encode()
    return b"%08x %s" % (zlib.crc32(text), text)


def _row(line: bytes) -> dict[str, Any]:
    if line[:9] != b"%08x " % zlib.crc32(line[9:]):
        raise ValueError("not the line that was written")
    return json.loads(line[9:])


class PartialFile(Generic[Item]):
    """The file of an unfinished run; made, or taken up where its settings are the same.

    A file of other settings, or that is no such file, is started anew, and the log says so. A line
    that was not finished is cut off; damaged ones are counted and left out.

    Args:
        path: the file; its folder is made.
        format: the name of the file's format, which its first line states.
        settings: what the work depends on, JSON values.
        from_row: makes an item of a row that :meth:`add` wrote; raises KeyError, TypeError or
            ValueError where the row is not one of its own.

    Attributes:
        items: the items of the rows that the file already held.
        resumed: whether the file was there, with the same settings.

    Raises:
        OSError: the file cannot be written; names it. So do :meth:`add` and :meth:`close`.
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
        self._file: IO[bytes] | None = None
        self._synced = time.monotonic()
        header = json.loads(json.dumps({"format": format, "settings": settings}))
        self.resumed = self._take_up(header, from_row)
        if not self.resumed:
            self._write([json.dumps(header).encode()])

    def _take_up(self, header: dict[str, Any], from_row: Callable[[dict], Item]) -> bool:
        """Read what is done; False where there is nothing to go on from."""
        content = read_record(self.path, header["format"], from_row)
        if content.settings is None:
            if self.path.is_file() and not content.cut_off and self.path.stat().st_size:
                logger.warning(
                    "%s: is no record of an interrupted run of this version; starting anew",
                    self.path,
                )
            return False
        changed = differences(content.settings, header["settings"])
        if changed:
            logger.warning("%s: the settings have changed (%s); starting anew", self.path, changed)
            return False
        if content.damaged:
            logger.warning(
                "%s: %d of %d lines are damaged; what they held is done again",
                *(self.path, content.damaged, content.damaged + len(content.items)),
            )
        if content.damaged or content.cut_off:
            self._write(content.lines)
        self.items = content.items
        return True

    def _write(self, lines: list[bytes]) -> None:
        with atomic_write(self.path, "wb") as file:
            file.writelines(line + b"\n" for line in lines)

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Note work as done: all rows or, if interrupted, the first of them."""
        with writing(self.path):
            if self._file is None:
                self._file = self.path.open("ab")
            self._file.writelines(_line(row) + b"\n" for row in rows)
            self._file.flush()
            if time.monotonic() - self._synced > SYNC_SECONDS:
                self._sync()

    def _sync(self) -> None:
        assert self._file is not None
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def close(self) -> None:
        """Have everything on the disk; :meth:`add` opens the file again."""
        if self._file is None:
            return
        try:
            with writing(self.path):
                self._sync()
                self._file.close()
        finally:
            self._file = None

    def remove(self) -> None:
        """Remove the file, once everything is written where it belongs."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self.path.unlink(missing_ok=True)
