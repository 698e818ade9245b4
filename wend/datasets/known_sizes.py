"""Image sizes of earlier imports, so that a million headers are not read again.

A size counts only if it was read from the image's header (lists may be wrong) and the file has not
been touched since: its time of change (ctime, which copying and unpacking cannot set back) is
before that import. Renaming an image, or changing its rights, makes its header be read again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from wend.datasets.store import open_store, read_info
from wend.errors import InputError

FROM_HEADERS = "sizes_from_headers"  # entries of store.json
STARTED = "started_ns"
CLOCKS_DIFFER = 2 * 10**9  # ns by which a file server's clock, or its steps, may be off


class KnownSizes:
    """``known(path, exif)`` is the image's width and height, or None if its header must be read.

    Args:
        folders: of stores that may know some; what is no store of this version is passed over.
        datasets_root: folder of the data sets.
    """

    def __init__(self, folders: Iterable[Path], datasets_root: Path) -> None:
        self._index: dict[tuple[str, str], int] = {}
        sizes, before = [np.zeros((0, 2), np.int64)], [np.zeros(0, np.int64)]
        total = 0
        for folder in folders:
            try:
                store, info = open_store(folder, datasets_root), read_info(folder)
            except InputError:
                continue
            if not info.get(FROM_HEADERS) or not isinstance(info.get(STARTED), int):
                continue
            for index, file_name in enumerate(store.file_names):
                self._index.setdefault((file_name, store.exif), total + index)
            total += len(store)
            sizes.append(store.sizes)
            before.append(np.full(len(store), info[STARTED] - CLOCKS_DIFFER))
        self._sizes, self._before = np.concatenate(sizes), np.concatenate(before)

    def __call__(self, path: str | Path, exif: str = "ignore") -> tuple[int, int] | None:
        """The image's size, by that policy on EXIF, if known and the image is as it was then."""
        index = self._index.get((str(path), exif))
        if index is None:
            return None
        try:
            changed = os.stat(path).st_ctime_ns
        except OSError:
            return None
        if changed >= self._before[index]:
            return None
        width, height = self._sizes[index].tolist()
        return width, height
