"""Images of several data sets as one sequence, which engines map to batches."""

from __future__ import annotations

import copy
import hashlib
import logging
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from wend.errors import InputError
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord
from wend.structures.unit_scores import rescaled

MANY = 100_000  # images; from here on a store is worth the words
NONE = np.zeros(0, dtype=np.int64)
logger = logging.getLogger(__name__)


class Selected(NamedTuple):
    """An image with what is to be learned from it.

    Attributes:
        record: the image.
        boxes: (P, 4) in original pixels.
        scores: (P,) of the boxes, in [0, 1]; None where they have none.
    """

    record: ImageRecord
    boxes: np.ndarray
    scores: np.ndarray | None


class Selection:
    """Images with the boxes to learn from: one data set after the other, in their order.

    Nothing is copied: rows are made where they are asked for, of columns that processes share.
    Scores outside [0, 1] are as :func:`wend.structures.unit_scores.rescaled` says.

    Args:
        data_sets: the data sets.
        with_boxes: only images that have a box to learn from.
        leave_out: for each data set the indices (n,) of images to leave out; empty for none at all.

    Raises:
        InputError: no image is left.
    """

    def __init__(
        self,
        data_sets: Sequence[DataSet],
        *,
        with_boxes: bool,
        leave_out: Sequence[np.ndarray] = (),
    ) -> None:
        self.data_sets = tuple(data_sets)
        self.indices: list[Sequence[int] | np.ndarray] = []
        self._rescaled = [rescaled(data_set.training_boxes.scores) for data_set in data_sets]
        left_out_of_each = leave_out or [NONE] * len(data_sets)
        for data_set, left_out in zip(data_sets, left_out_of_each, strict=True):
            every: Sequence[int] | np.ndarray = range(len(data_set))
            chosen = data_set.training_boxes.with_boxes if with_boxes else every
            if len(left_out):
                chosen = np.setdiff1d(chosen, left_out, assume_unique=True)
            self.indices.append(chosen)
            if len(data_set) >= MANY and data_set.reopen is None:
                logger.warning(
                    "%s: %d images are held in memory, by each process; 'wend data import %s' "
                    "once makes processes share them and start at once",
                    *(data_set.name, len(data_set), data_set.name),
                )
        self._ends = list(accumulate(map(len, self.indices)))
        if not len(self):
            names = ", ".join(data_set.name for data_set in data_sets)
            missing = "image with a box to learn from" if with_boxes else "image"
            raise InputError(f"data sets {names}: there is no {missing}")

    def part(self, chosen: np.ndarray) -> Selection:
        """The images for which ``chosen`` (len(self),) is true, of the same data sets."""
        part = copy.copy(self)
        pieces = np.split(chosen, self._ends[:-1])
        part.indices = [
            np.asarray(rows, dtype=np.int64)[piece]
            for rows, piece in zip(self.indices, pieces, strict=True)
        ]
        part._ends = list(accumulate(map(len, part.indices)))
        return part

    @property
    def file_names(self) -> list[str]:
        """The images' files, in order."""
        parts = zip(self.data_sets, self.indices, strict=True)
        return [data_set.file_names[int(row)] for data_set, rows in parts for row in rows]

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @property
    def box_counts(self) -> np.ndarray:
        """(len(self),) boxes to learn from of each image."""
        parts = zip(self.data_sets, self.indices, strict=True)
        return np.concatenate([part.training_boxes.counts[rows] for part, rows in parts])

    @property
    def num_boxes(self) -> int:
        """Boxes to learn from of all images."""
        return int(self.box_counts.sum())

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what is learned from: names, sizes, boxes and scores, in their order.

        The names are the keys, which do not change where the images are moved, and the pixels are
        not looked at. Columns are hashed, not rows: a million images take seconds.
        """
        digest = hashlib.sha256()
        for data_set, chosen in zip(self.data_sets, self.indices, strict=True):
            rows = np.asarray(chosen, dtype=np.int64)
            boxes = data_set.training_boxes.take(rows)
            names = "\n".join(map(data_set.keys.__getitem__, rows.tolist()))
            digest.update(f"{data_set.exif} {len(rows)}\n".encode())
            digest.update(names.encode("utf-8", "surrogatepass"))
            for column in (data_set.sizes[rows], boxes.counts, boxes.boxes, boxes.scores):
                if column is not None:
                    kind = np.int64 if column.dtype.kind in "iu" else np.float64
                    digest.update(np.ascontiguousarray(column, dtype=kind).data)
        return digest.hexdigest()

    def __iter__(self) -> Iterator[Selected]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Selected:
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        part = bisect_right(self._ends, index)
        data_set, start = self.data_sets[part], self._ends[part - 1] if part else 0
        row = int(self.indices[part][index - start])
        table, rescaled_scores = data_set.training_boxes, self._rescaled[part]
        scores = table.scores if rescaled_scores is None else rescaled_scores
        if scores is not None:
            scores = scores[table.offsets[row] : table.offsets[row + 1]]
        return Selected(data_set[row], table[row], scores)
