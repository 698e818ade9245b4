"""Paths of files and folders: what YAML files write, images below a root, none outside it."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from wend.errors import InputError, MissingFileError, shown
from wend.files import expand_user, is_unicode, real_path

SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"))
MAX_NAME, MAX_PATH = 255, 4096  # characters of a file's name and of a path, on all systems
_OUTSIDE = re.compile(r"^([\\/]|[A-Za-z]:)|(^|[\\/])\.\.([\\/]|$)|\x00")
_UNTIDY = re.compile(r"(^|/)\.?(/|$)")


def check_relative(name: str, where: str) -> str:
    """A listed name as a path below the images' root, with forward slashes.

    Args:
        where: file and line or entry, for the message.

    Raises:
        InputError: the name is empty, absolute, or climbs with ``..``.
    """
    tidy = str(PurePosixPath(name)) if _UNTIDY.search(name) else name
    if not name or _OUTSIDE.search(name) or _OUTSIDE.search(tidy):
        raise InputError(
            f"{where}: image name {name!r} leaves the images' root; expected a path below it, "
            f"such as class/image.jpg, without '..'"
        )
    return tidy


def resolve_path(value: str | Path, base: Path | None, root: Path | None) -> Path:
    """The path that one in a YAML file means, seen from the current folder.

    Args:
        value: as written; with ``./`` or ``../`` in front it starts from ``base``, otherwise a
            relative one starts from ``root``.
        base: folder of the YAML file; None: the current folder.
        root: folder of the data sets; None: the current folder.

    Raises:
        InputError: a name that is longer than file systems allow.
    """
    longest = max(map(len, Path(value).parts), default=0)
    if longest > MAX_NAME or len(str(value)) > MAX_PATH:
        raise InputError(f"{shown(str(value))}: no path, with a name of {longest} characters")
    written = str(value).replace("\\", "/")
    start = base if written.startswith(("./", "../")) or written in (".", "..") else root
    return Path(start or "", expand_user(value))


def require_folder(folder: str | Path, expected: str) -> Path:
    """The folder as a path; MissingFileError says what was expected there if there is none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise MissingFileError(
            f"{folder}: there is no such folder; expected {expected} there. Relative paths are "
            f"below DETECTRON2_DATASETS (or --datasets-root)"
        )
    return folder


def _walk(root: str) -> Iterator[tuple[str, list[str], int]]:
    """Each folder below a root: its path with a slash at the end, its files, its hidden folders.

    Links are followed, but not in a circle; hidden folders are left out and counted.

    Raises:
        InputError: a name that is no Unicode, which no list and no results could hold.
    """
    visited = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:  # a link in a circle
            folders.clear()
            continue
        visited.add(real)
        hidden = sum(1 for name in folders if name.startswith("."))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        prefix = os.path.relpath(folder, root).replace(os.sep, "/")
        prefix = "" if prefix == "." else f"{prefix}/"
        for name in files:
            if not is_unicode(prefix + name):
                raise InputError(
                    f"{root}: the name {prefix + name!r} is no Unicode, so that neither lists nor "
                    f"results could hold it; rename the file or folder (convmv does so)"
                )
        yield prefix, sorted(files), hidden


def find_files(root: str | Path, ending: str) -> list[str]:
    """Paths below a root of the files of an ending (lower case), sorted; none that are hidden.

    Returns:
        Paths relative to the root with forward slashes.

    Raises:
        InputError: a name is no Unicode.
    """
    return [
        prefix + name
        for prefix, files, _ in _walk(str(root))
        for name in files
        if name.lower().endswith(ending) and not name.startswith(".")
    ]


def find_images(root: str | Path) -> tuple[list[str], Counter]:
    """All image files below a root, by the ending of their names.

    Returns:
        Paths relative to the root with forward slashes, sorted by folder and name; and the number
        of other files by ending (hidden files and folders count as "hidden").

    Raises:
        InputError: a name is no Unicode.
    """
    images: list[str] = []
    others: Counter[str] = Counter()
    for prefix, files, hidden in _walk(str(root)):
        others["hidden"] += hidden
        for name in files:
            suffix = os.path.splitext(name)[1].lower()  # a million Paths are slow
            if name.startswith("."):
                others["hidden"] += 1
            elif suffix in SUFFIXES:
                images.append(prefix + name)
            else:
                others[suffix or "no ending"] += 1
    return sorted(images, key=lambda path: path.split("/")), +others


def outside(paths: Sequence[str], root: Path, folder: Path) -> list[str]:
    """Those of some paths below a root that do not lie in a folder, which may be below it, too.

    So pictures that were made of images are not taken for more of them.
    """
    root, folder = real_path(root), real_path(folder)
    if root == folder or not folder.is_relative_to(root):
        return list(paths)
    prefix = folder.relative_to(root).as_posix() + "/"
    return [path for path in paths if not path.startswith(prefix)]
