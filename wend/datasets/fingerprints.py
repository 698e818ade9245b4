"""The state of a store's sources when it was made: cheap enough to compare at every start.

A file by its size and time of change. A folder by the names of what lies directly in it with their
times (and sizes, of files): the class folders of an image tree, whose times change when an image is
added, removed or renamed in them, or the files of a box folder. Deeper only where a folder has
folders, as far as the file system counts them (ext4 and XFS do). An image that is overwritten in
place is not noticed here; the loader compares its size.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

MAX_STATS = 100_000  # files of one folder; of more (a flat ImageNet) only the names count


def _shown(path: Path, datasets_root: Path) -> str:
    """A path, relative to the data sets' folder if it is below it, so that this can move."""
    path, root = Path(os.path.abspath(path)), Path(os.path.abspath(datasets_root))
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _listing(path: str | Path, digest: hashlib._Hash) -> int:
    """Feed what lies in a folder to the digest; returns how many files and folders."""
    with os.scandir(path) as entries:
        listed = sorted(entries, key=attrgetter("name"))
    number, with_times = len(listed), len(listed) <= MAX_STATS
    lines = []
    for entry in listed:
        size = changed = 0
        if with_times:
            try:
                stat = entry.stat()
            except FileNotFoundError:  # a dangling link
                stat = entry.stat(follow_symlinks=False)
            is_folder = entry.is_dir()
            size, changed = 0 if is_folder else stat.st_size, stat.st_mtime_ns
            if is_folder and stat.st_nlink > 2 and not entry.is_symlink():  # has folders in it
                number += _listing(entry.path, digest)
        lines.append(f"{entry.name}\0{size} {changed}\0")
    digest.update("".join(lines).encode("utf-8", "surrogateescape"))
    return number


def _folder(path: Path) -> dict[str, Any]:
    digest = hashlib.sha256()
    return {"entries": _listing(path, digest), "sha256": digest.hexdigest()}


def fingerprint(path: Path, datasets_root: Path) -> dict[str, Any]:
    """A source as it is now; a missing one has only its path."""
    shown = {"path": _shown(path, datasets_root)}
    try:
        if path.is_dir():
            return shown | _folder(path)
        stat = path.stat()
    except OSError:
        return shown
    return shown | {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _difference(before: dict[str, Any] | None, now: dict[str, Any] | None) -> str:
    if now is None:
        return "is no source any more"
    if before is None:
        return "is a new source"
    if len(now) == 1:
        return "is gone"
    for unit in ("entries", "bytes"):
        if before.get(unit) != now.get(unit):
            return f"has {now.get(unit, 'no')} {unit}, had {before.get(unit, 'none')}"
    return "was changed"


def changes(before: Sequence[dict[str, Any]], now: Sequence[dict[str, Any]]) -> list[str]:
    """The differences between two lists of fingerprints, a text for each source that differs."""
    old, new = ({source["path"]: source for source in side} for side in (before, now))
    return [
        f"{path} {_difference(old.get(path), new.get(path))}"
        for path in dict.fromkeys([*old, *new])
        if old.get(path) != new.get(path)
    ]
