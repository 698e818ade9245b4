"""Which image files below a folder the names of a list mean.

Shape letters: L = listed names, I = images below the folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from wend.errors import InputError, MissingFileError, some
from wend.images.paths import find_images
from wend.images.sizes import missing_files
from wend.structures.data_set import DataSet
from wend.structures.names import clean_path, match_names, tidy_path


def match_files(
    source: str | Path, names: Sequence[str], root: Path, paths: Sequence[str]
) -> np.ndarray:
    """Index (L,) in the paths (I) of each name, or -1; as of :func:`.match_names`.

    Raises:
        InputError: also where no name is one of the paths.
    """
    keys = [clean_path(path) for path in paths]
    index = match_names([clean_path(name) for name in names], keys, str(source))
    if not (index >= 0).any():
        listed = list(dict.fromkeys(names))
        raise InputError(
            f"{source}: none of its {len(listed)} images ({some(listed, 2)}) is one of the "
            f"{len(paths)} below {root} ({some(paths, 2)})"
        )
    return index


def require_different(
    source: str | Path, names: Sequence[str], index: np.ndarray, paths: Sequence[str]
) -> None:
    """Raise InputError if two names mean one path: the boxes of an image stand in one entry.

    Args:
        index: (L,) of :func:`match_files`.
    """
    times = np.bincount(index[index >= 0], minlength=len(paths))
    if times.max(initial=0) > 1:
        twice = int(times.argmax())
        entries = [names[row] for row in np.flatnonzero(index == twice).tolist()]
        raise InputError(
            f"{source}: {len(entries)} entries of images are of {paths[twice]} ({some(entries)}); "
            f"expected one"
        )


def find_files_of(source: str | Path, names: Sequence[str], root: Path) -> list[str | None]:
    """The path below the root that each name (L) means; None where there is no such file.

    The folder is only listed where some name is not the path of a file as it stands. No path leaves
    the root.

    Raises:
        InputError: no name is a file, or two names mean the same.
    """
    tidy: list[str | None] = [
        None if ".." in name.split("/") else name for name in map(tidy_path, names)
    ]
    there = [name for name in tidy if name is not None]
    absent = {there[i] for i in missing_files([str(root / name) for name in there], "images")}
    located = [None if name in absent else name for name in tidy]
    if None not in located:
        return located
    paths, _ = find_images(root)
    index = match_files(source, names, root, paths) if paths else np.full(len(names), -1)
    require_different(source, names, index, paths)
    return [
        path if path is not None or i < 0 else paths[i]
        for path, i in zip(located, index.tolist(), strict=True)
    ]


def locate_images(data_set: DataSet, root: str | Path | None) -> DataSet:
    """A data set whose image files are looked for below a folder, by the names that it lists.

    Args:
        root: the folder; None leaves the names as they stand. A name whose file is not there stays.

    Raises:
        MissingFileError, InputError: no such folder, no name is a file there, or two names mean
            the same.
    """
    if root is None:
        return data_set
    folder = Path(root)
    if not folder.is_dir():
        raise MissingFileError(f"{root}: there is no such folder; expected the images' folder")
    located = find_files_of(data_set.name, data_set.file_names, folder)
    names = [
        name if path is None else str(folder / path)
        for name, path in zip(data_set.file_names, located, strict=True)
    ]
    return replace(data_set, file_names=names, reopen=None)
