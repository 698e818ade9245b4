"""A column of few different values, as the values once and a number for each row.

Ids of images repeat for each of their boxes: kept once, they cost a number a box, and are looked
up once an image.

Shape letters: N = rows, n = rows of a batch.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np


@dataclass(frozen=True, eq=False)
class CodedColumn(Sequence):
    """N values. ``column[i]`` is that of row i.

    Attributes:
        values: the different values.
        codes: (N,) int64 index into ``values`` of each row.
    """

    values: list
    codes: np.ndarray

    @classmethod
    def of_numbers(cls, numbers: np.ndarray) -> CodedColumn:
        """The column of whole numbers (N,)."""
        values, codes = np.unique(numbers, return_inverse=True)
        return cls(values.tolist(), codes.astype(np.int64, copy=False))

    def __len__(self) -> int:
        return len(self.codes)

    @overload
    def __getitem__(self, row: int) -> Any: ...

    @overload
    def __getitem__(self, row: slice) -> list: ...

    def __getitem__(self, row: int | slice) -> Any:
        """The value of a row; of a slice, a list of values."""
        if isinstance(row, slice):
            return [self.values[code] for code in self.codes[row].tolist()]
        return self.values[self.codes[row]]

    def look_up(self, index: Mapping[Any, int]) -> np.ndarray:
        """What a mapping has for each row (N,), int64; -1 where it has nothing."""
        by_code = np.array([index.get(value, -1) for value in self.values], dtype=np.int64)
        return by_code[self.codes]


class Encoder:
    """Numbers the different values of batches, in the order in which they come.

    Example:
        >>> encoder = Encoder()
        >>> encoder.encode(["b", "a", "b"]).tolist(), encoder.encode(["a", "c"]).tolist()
        ([0, 1, 0], [1, 2])
        >>> encoder.values
        ['b', 'a', 'c']
    """

    def __init__(self) -> None:
        self._code: dict[Hashable, int] = {}

    @property
    def values(self) -> list:
        """The different values so far."""
        return list(self._code)

    def encode(self, values: Sequence[Hashable]) -> np.ndarray:
        """The number (n,) of each value of a batch."""
        code = self._code
        for value in dict.fromkeys(values):
            code.setdefault(value, len(code))
        return np.fromiter(map(code.__getitem__, values), np.int64, len(values))
