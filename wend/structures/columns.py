"""A column of texts in a memory-mapped file: decoded when a text is asked for, never as a list."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, overload

import numpy as np


class TextColumn(Sequence[str]):
    """N texts side by side as UTF-8 bytes, as Arrow stores them.

    Args:
        offsets: (N + 1,) integers; text i is ``data[offsets[i]:offsets[i + 1]]``.
        data: the bytes.
        derive: makes the column's value of the stored text, such as a path below a root.
    """

    def __init__(
        self, offsets: memoryview, data: memoryview, derive: Callable[[str], Any] = str
    ) -> None:
        self.offsets, self.data, self.derive = offsets, data, derive

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        """The text at an index; of a slice, a list of texts."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        return self.derive(str(self.data[self.offsets[index] : self.offsets[index + 1]], "utf-8"))

    def __iter__(self) -> Iterator[str]:
        data, derive = self.data, self.derive
        ends = np.asarray(self.offsets).tolist()
        for start, end in pairwise(ends):
            yield derive(str(data[start:end], "utf-8"))
