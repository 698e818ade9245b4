"""Batches of one-box entries to :class:`PseudoBoxes`, with hardly more memory than the result's.

Shape letters: n = boxes of a batch.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from wend.pseudo_boxes.columns import Keys, PseudoBoxes
from wend.pseudo_boxes.merge import Count, add_counts


class Columns(NamedTuple):
    """Some files' boxes.

    Attributes:
        chars: bytes of all keys side by side (uint8), UTF-8.
        lengths: (n,) bytes of each key.
        hashes: (n,) int64, equal for equal keys.
        boxes: (n, 4) xyxy in fractions, within 0..1.
    """

    chars: np.ndarray
    lengths: np.ndarray
    hashes: np.ndarray
    boxes: np.ndarray


class _Column:
    """An array that grows. Room is asked for in advance, and is no memory until it is written."""

    def __init__(self, shape: tuple[int, ...], dtype: type) -> None:
        self.array, self.size = np.empty((0, *shape), dtype=dtype), 0

    def append(self, part: np.ndarray, times: float) -> None:
        """Add a part; ``times`` as much is expected in all."""
        end = self.size + len(part)
        if end > len(self.array):
            room = np.empty((int(1.1 * end * times) + 64, *self.array.shape[1:]), self.array.dtype)
            room[: self.size] = self.array[: self.size]
            self.array = room
        self.array[self.size : end] = part
        self.size = end


class Collected:
    """The columns of all batches."""

    def __init__(self) -> None:
        self.chars, self.lengths = _Column((), np.uint8), _Column((), np.int32)
        self.hashes, self.boxes = _Column((), np.int64), _Column((4,), np.float64)
        self.empty: dict[str, Count] = {}

    def add(self, columns: Columns, times: float) -> None:
        """Append the boxes that have an area; count the others.

        Args:
            times: how often as many boxes as up to here are expected in all.
        """
        import pyarrow as pa

        chars, lengths, hashes, boxes = columns
        kept = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        if not kept.all():
            strings = string_array(chars, lengths)
            empty = {"zero_area": Count.of(Keys(strings), np.flatnonzero(~kept))}
            self.empty = add_counts(self.empty, empty)
            hashes, boxes = hashes[kept], boxes[kept]
            buffers = strings.filter(pa.array(kept)).buffers()
            ends = np.frombuffer(buffers[1], dtype=np.int64, count=len(boxes) + 1)
            chars, lengths = np.frombuffer(buffers[2], np.uint8, ends[-1]), np.diff(ends)
        parts = zip(
            (self.chars, self.lengths, self.hashes, self.boxes),
            (chars, lengths, hashes, boxes),
            strict=True,
        )
        for column, part in parts:
            column.append(part, times)

    def finish(self, source: str) -> PseudoBoxes:
        """All of them."""
        columns = (self.chars, self.lengths, self.hashes, self.boxes)
        chars, lengths, hashes, boxes = (one.array[: one.size] for one in columns)
        keys = Keys(string_array(chars, lengths), hashes)
        num = np.ones(len(keys), dtype=np.int8)
        return PseudoBoxes.from_entries(source, "fraction", keys, num, boxes, counts=self.empty)


def string_array(chars: np.ndarray, lengths: np.ndarray):
    """Arrow strings over the same bytes."""
    import pyarrow as pa

    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    buffers = (pa.py_buffer(offsets), pa.py_buffer(chars))
    return pa.LargeStringArray.from_buffers(len(lengths), *buffers)
