"""Paths of images as keys: one spelling whatever root and system wrote them, many side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, overload

import numpy as np

from wend.errors import InputError
from wend.structures.arrow import booleans, integers, numbers_of, strings
from wend.structures.names import clean_path

if TYPE_CHECKING:
    import pyarrow as pa


class Keys(Sequence[str]):
    """Strings side by side in one Arrow array: 1.28 million keys in tens of MB.

    Attributes:
        arrow: ``pyarrow.LargeStringArray`` without nulls.
    """

    def __init__(self, keys: Sequence[str], hashes: np.ndarray | None = None) -> None:
        import pyarrow as pa

        self._hashes = hashes
        self.arrow: pa.LargeStringArray = keys if isinstance(keys, pa.Array) else strings(keys)

    def __len__(self) -> int:
        return len(self.arrow)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Keys: ...

    def __getitem__(self, index: int | slice) -> str | Keys:
        if isinstance(index, slice):
            return Keys(self.arrow[index])
        return self.arrow[index].as_py()

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), 1 << 16):
            yield from self.arrow[start : start + (1 << 16)].to_pylist()

    def take(self, rows: np.ndarray) -> Keys:
        """The keys at rows (n,) of integers, or where rows (N,) of bool is true."""
        if rows.dtype == bool:
            return Keys(self.arrow.filter(booleans(rows)))
        return Keys(self.arrow.take(integers(rows)))

    def find(self, keys: Keys) -> np.ndarray:
        """Index (len(keys),) of the first of these that equals each of the others; -1 if none."""
        import pyarrow.compute as pc

        indices = pc.index_in(keys.arrow, value_set=self.arrow)
        return numbers_of(indices, null=-1).astype(np.int64)

    def first(self) -> np.ndarray:
        """Index (N,) of the first key that equals each: its own where it is the first.

        Compares hashes before keys: a table of the keys, such as Arrow's functions make, would
        take twice as much memory as they do.
        """
        hashes, self._hashes = self._hashes, None
        if hashes is None:
            hashes = np.empty(len(self), dtype=np.int64)
            for start in range(0, len(self), 1 << 14):
                part = self.arrow[start : start + (1 << 14)].to_pylist()
                hashes[start : start + len(part)] = [hash(key) for key in part]
        ordered = np.sort(hashes)
        twice = ordered[1:][ordered[1:] == ordered[:-1]]
        first = np.arange(len(self))
        if len(twice):
            likely = np.flatnonzero(np.isin(hashes, twice))
            keys = self.take(likely)
            first[likely] = likely[keys.find(keys)]
        return first


def _is_unicode(text: str) -> bool:
    """Whether it can be written at all: JSON may hold half a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def checked_path(path: object, where: str) -> str:
    """A path in one spelling; see :func:`.clean_path`.

    Args:
        where: what holds the path, for the message.

    Raises:
        InputError: no text that a file could be called by.
    """
    if not isinstance(path, str) or "\0" in path or not _is_unicode(path):
        raise InputError(f"{where}: expected an image's path as text, got {path!r}")
    return clean_path(path)


def path_key(path: object, where: str) -> str:
    """A path as a key: as of :func:`.clean_path`, and below the images' root.

    Args:
        where: what holds the path, for the message.

    Raises:
        InputError: no text, empty, or ``..`` in its middle (it could leave the images' root).
    """
    key = checked_path(path, where)
    if not key or ".." in key.split("/"):
        raise InputError(
            f"{where}: expected an image's path without '..' in it, got {path!r}; write it "
            f"relative to the images' folder"
        )
    return key
