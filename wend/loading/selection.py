"""Images of several data sets as one sequence, which engines map to batches."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

import numpy as np
import torch

from wend.datasets.catalog import get_records, training_side
from wend.errors import InputError
from wend.structures.records import ImageRecord

CHUNK = 1 << 16
MANY = 100_000  # records; from here on a store is worth the words
logger = logging.getLogger(__name__)


class Selection(Sequence[tuple[ImageRecord, np.ndarray]]):
    """Records with the boxes (P, 4) to learn from: one data set after the other, in their order.

    Nothing is copied: records are looked up where they are, those of a store built on access.

    Args:
        names: data sets of the catalog.
        with_boxes: only images that have a box to learn from.
        leave_out: data set -> places (K,) int64 of records to leave out.

    Raises:
        InputError: a name is unknown, or no image is left.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        with_boxes: bool,
        leave_out: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self._parts = []
        for name in names:
            records, kind = get_records(name), training_side(name)
            every = range(len(records))
            places = records.training_boxes.with_boxes if with_boxes else every
            if leave_out is not None and len(leave_out.get(name, ())):
                places = np.setdiff1d(places, leave_out[name], assume_unique=True)
            self._parts.append((records, kind, places))
            if len(records) >= MANY and records.reopen is None:
                logger.warning(
                    "%s: %d records are held in memory, by each process; 'wend data import %s' "
                    "once makes processes share them and start at once",
                    *(name, len(records), name),
                )
        self._ends = list(accumulate(len(places) for _, _, places in self._parts))
        if not len(self):
            what = "image with a box to learn from" if with_boxes else "image"
            raise InputError(f"data sets {', '.join(names)}: there is no {what}")

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> tuple[ImageRecord, np.ndarray]:
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        part = bisect_right(self._ends, index)
        records, kind, places = self._parts[part]
        record = records[places[index - (self._ends[part - 1] if part else 0)]]
        return record, getattr(record, kind)


def shuffled(size: int, generator: torch.Generator) -> Iterator[int]:
    """``torch.randperm(size)`` number by number, without a list of them all in each worker."""
    for chunk in torch.randperm(size, generator=generator).split(CHUNK):
        yield from chunk.tolist()
