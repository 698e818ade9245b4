"""Boxes of many images as one table: the form in which pseudo boxes, truth and detections travel.

Shape letters: I = images, B = boxes of all images, P = boxes of an image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, overload

import numpy as np

from wend.errors import InputError
from wend.structures.boxes import box_area
from wend.structures.checks import as_boxes, as_class_ids, as_scores
from wend.structures.frame import BoxFrame, parse_box_frame

NO_BOXES = np.zeros((0, 4))


def _offsets(counts: np.ndarray | Sequence[int]) -> np.ndarray:
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def _are_sorted(image: np.ndarray, scores: np.ndarray | None) -> bool:
    """Whether images (B,) never fall, and scores (B,) never rise within an image."""
    if (image[1:] < image[:-1]).any():
        return False
    return scores is None or not ((scores[1:] > scores[:-1]) & (image[1:] == image[:-1])).any()


def _joined(columns: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Columns one after the other; None unless all are there."""
    present = [column for column in columns if column is not None]
    return np.concatenate(present) if present and len(present) == len(columns) else None


@dataclass(frozen=True, eq=False)
class GivenBoxes:
    """Boxes as they were made, in a frame other than original pixels.

    Attributes:
        frame: the frame of all of them.
        boxes: (B, 4) float64 ``x0, y0, x1, y1`` in that frame.
    """

    frame: BoxFrame
    boxes: np.ndarray


class _Columns(NamedTuple):
    """What a table has of each box, as :class:`BoxTable` names it."""

    boxes: np.ndarray
    scores: np.ndarray | None
    class_ids: np.ndarray | None
    given: GivenBoxes | None

    def select(self, rows: np.ndarray | slice) -> _Columns:
        """The same of some rows, by their indices (b,), a mask (B,) or a slice."""
        return _Columns(
            self.boxes[rows],
            None if self.scores is None else self.scores[rows],
            None if self.class_ids is None else self.class_ids[rows],
            None if self.given is None else replace(self.given, boxes=self.given.boxes[rows]),
        )


@dataclass(frozen=True, eq=False)
class BoxTable(Sequence[np.ndarray]):
    """Boxes of I images side by side, best first within each image where there are scores.

    ``table[i]`` are the boxes (P, 4) of image i, without a copy. The arrays may be views of a
    memory-mapped file; none of them is written to.

    Attributes:
        offsets: (I + 1,) integers, never falling; the boxes of image i are
            ``offsets[i]:offsets[i + 1]``.
        boxes: (B, 4) float64 ``x0, y0, x1, y1``; as a rule in original pixels.
        scores: (B,) float64, higher is better; None where the boxes have none.
        class_ids: (B,) int64 predicted class of each box, from 0; None for class-agnostic boxes.
        given: the same boxes in the frame in which they were made; None where that is original
            pixels. A protocol of that frame compares these, so that whole numbers stay whole;
            everyone else has ``boxes``.

    Raises:
        InputError: the arrays do not fit each other.
    """

    offsets: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray | None = None
    class_ids: np.ndarray | None = None
    given: GivenBoxes | None = None

    def __post_init__(self) -> None:
        number = len(self.boxes)
        fits = self.offsets.ndim == 1 and len(self.offsets) and self.offsets[-1] == number
        if self.boxes.shape != (number, 4) or not fits:
            raise InputError(
                f"box table: boxes of shape {self.boxes.shape} do not fit offsets of shape "
                f"{self.offsets.shape}; make tables with BoxTable.from_lists or from_rows"
            )
        for name in ("scores", "class_ids"):
            column = getattr(self, name)
            if column is not None and column.shape != (number,):
                raise InputError(f"box table: {number} boxes but {name} of shape {column.shape}")
        given = None if self.given is None else self.given.boxes
        if given is not None and given.shape != (number, 4):
            raise InputError(f"box table: {number} boxes but given boxes of shape {given.shape}")
        for array in (self.offsets, self.boxes, self.scores, self.class_ids, given):
            if array is not None and array.flags.writeable:
                array.setflags(write=False)

    @classmethod
    def empty(cls, num_images: int) -> BoxTable:
        """A table of images without boxes."""
        return cls(np.zeros(num_images + 1, dtype=np.int64), NO_BOXES.copy())

    @classmethod
    def from_lists(
        cls,
        boxes: Iterable[object],
        scores: Iterable[object] | None = None,
        describe: Callable[[int], str] = "image {}".format,
        *,
        class_ids: Iterable[object] | None = None,
    ) -> BoxTable:
        """A table of checked boxes.

        Args:
            boxes: for each image (P, 4), anything that NumPy takes; P may be 0.
            scores: for each image (P,), or None. The boxes of an image are sorted, best first;
                boxes of equal score keep their order.
            describe: names the image of an index in messages.
            class_ids: for each image (P,) the predicted class of each box, from 0; or None.

        Raises:
            InputError: not P rows of four finite numbers, a corner right of or below its
                opposite, other numbers of scores or classes than boxes, a score that is not
                finite, or a class that is no whole number from 0.
        """
        parts = [as_boxes(each, describe(i)) for i, each in enumerate(boxes)]
        table = cls.from_arrays(parts)
        if class_ids is not None:
            classes = [
                as_class_ids(each, len(part), describe(i))
                for i, (part, each) in enumerate(zip(parts, class_ids, strict=True))
            ]
            joined = np.concatenate([np.zeros(0, np.int64), *classes])
            table = replace(table, class_ids=joined)
        if scores is None:
            return table
        marks = [
            as_scores(each, len(part), describe(i))
            for i, (part, each) in enumerate(zip(parts, scores, strict=True))
        ]
        joined = np.concatenate([np.zeros(0), *marks])
        return cls.from_rows(
            table.owner, table.boxes, joined, len(parts), class_ids=table.class_ids
        )

    @classmethod
    def from_arrays(cls, parts: Sequence[np.ndarray]) -> BoxTable:
        """A table of boxes (P, 4) of each image that were checked before."""
        return cls(_offsets([len(part) for part in parts]), np.concatenate([NO_BOXES, *parts]))

    @classmethod
    def from_rows(
        cls,
        image: np.ndarray,
        boxes: np.ndarray,
        scores: np.ndarray | None,
        num_images: int,
        *,
        class_ids: np.ndarray | None = None,
        given: GivenBoxes | None = None,
    ) -> BoxTable:
        """A table of boxes that come in any order, already checked.

        Args:
            image: (B,) index of the image of each box, 0 .. num_images - 1.
            boxes: (B, 4).
            scores: (B,) or None. Equal scores keep the order in which they came.
            class_ids, given: further columns of the table, in the order of ``boxes``.
        """
        rows: np.ndarray | slice = slice(None)
        if not _are_sorted(image, scores):
            rows = np.argsort(image, kind="stable")  # quick where an image's boxes come together
            if scores is not None and not _are_sorted(image[rows], scores[rows]):
                rows = np.lexsort((-scores, image))
        offsets = _offsets(np.bincount(image, minlength=num_images))
        unordered = _Columns(boxes, scores, class_ids, given)
        return cls(offsets, *unordered.select(rows))

    @classmethod
    def from_counts(
        cls, counts: np.ndarray, boxes: np.ndarray, scores: np.ndarray | None = None
    ) -> BoxTable:
        """A table of boxes that come image after image, already checked.

        Args:
            counts: (I,) boxes of each image.
            boxes: (B, 4).
            scores: (B,) or None. Equal scores keep the order in which they came.
        """
        if scores is None:
            return cls(_offsets(counts), boxes)
        return cls.from_rows(np.repeat(np.arange(len(counts)), counts), boxes, scores, len(counts))

    @classmethod
    def concatenate(cls, tables: Sequence[BoxTable]) -> BoxTable:
        """The images of several tables one after the other.

        Scores, classes and given boxes stay only where all have some, the latter of one frame.
        """
        counts = np.concatenate([np.zeros(0, np.int64), *(table.counts for table in tables)])
        boxes = np.concatenate([NO_BOXES, *(table.boxes for table in tables)])
        givens = [table.given for table in tables if table.given is not None]
        given = None
        if len({each.frame for each in givens}) == 1 and len(givens) == len(tables):
            given = GivenBoxes(givens[0].frame, np.concatenate([each.boxes for each in givens]))
        return cls(
            _offsets(counts),
            boxes,
            _joined([table.scores for table in tables]),
            _joined([table.class_ids for table in tables]),
            given,
        )

    def given_in(self, frame: str | BoxFrame | None, sizes: np.ndarray) -> BoxTable:
        """The table, in original pixels, of boxes that this one holds in a frame.

        Args:
            frame: the frame, or its name (:func:`~wend.structures.frame.parse_box_frame`).
            sizes: (I, 2) width and height of the images in original pixels.

        Example:
            >>> table = BoxTable.from_lists([[[0, 0, 112, 224]]], [[0.9]])
            >>> table.given_in("squash224", np.array([[100, 50]])).boxes.tolist()
            [[0.0, 0.0, 50.0, 50.0]]
        """
        if isinstance(frame, str):
            frame = parse_box_frame(frame)
        if frame is None:
            return self
        boxes = frame.to_original(self.boxes, np.asarray(sizes, np.float64)[self.owner])
        return replace(self, boxes=boxes, given=GivenBoxes(frame, self.boxes))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: slice) -> BoxTable: ...

    def __getitem__(self, index: int | slice) -> np.ndarray | BoxTable:
        """Boxes (P, 4) of an image; of a slice, the table of those images."""
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        index = range(len(self))[index]
        return self.boxes[self.offsets[index] : self.offsets[index + 1]]

    def scores_of(self, index: int) -> np.ndarray:
        """Scores (P,) of an image; ones where the boxes have none."""
        index = range(len(self))[index]
        start, end = self.offsets[index], self.offsets[index + 1]
        return np.ones(end - start) if self.scores is None else self.scores[start:end]

    @property
    def given_boxes(self) -> np.ndarray:
        """Boxes (B, 4) as they were given, in their frame or in original pixels."""
        return self.boxes if self.given is None else self.given.boxes

    @property
    def counts(self) -> np.ndarray:
        """Boxes per image (I,), int64: a store's offsets are shorter numbers."""
        return np.diff(self.offsets).astype(np.int64, copy=False)

    @property
    def owner(self) -> np.ndarray:
        """Index (B,) of each box's image."""
        return np.repeat(np.arange(len(self)), self.counts)

    @overload
    def images_of(self, rows: int) -> np.integer: ...

    @overload
    def images_of(self, rows: np.ndarray) -> np.ndarray: ...

    def images_of(self, rows: int | np.ndarray) -> np.integer | np.ndarray:
        """Indices (n,) of the images of the boxes in some rows (n,); of a row, its image's."""
        return np.searchsorted(self.offsets, rows, side="right") - 1

    @property
    def rank(self) -> np.ndarray:
        """Index (B,) of each box within its image: 0 for the first, which is the best."""
        return np.arange(len(self.boxes)) - np.repeat(self.offsets[:-1], self.counts)

    @property
    def with_boxes(self) -> np.ndarray:
        """Indices (n,) of the images that have a box."""
        return np.flatnonzero(self.counts)

    def take(self, images: np.ndarray | Sequence[int]) -> BoxTable:
        """The table of some images, in the order of their indices (n,)."""
        images = np.asarray(images, dtype=np.int64)
        rows = self.rows(images)
        return self._selected(_offsets(self.counts[images]), rows)

    def _selected(self, offsets: np.ndarray, rows: np.ndarray | slice) -> BoxTable:
        """A table of some rows (b,), or of those (B,) for which they are true."""
        columns = _Columns(self.boxes, self.scores, self.class_ids, self.given)
        return BoxTable(offsets, *columns.select(rows))

    def rows(self, images: np.ndarray) -> np.ndarray:
        """Rows (b,) of the boxes of some images, in the order of their indices (n,)."""
        counts = np.diff(self.offsets)[images]
        ends = np.cumsum(counts)
        rows = np.arange(ends[-1] if len(ends) else 0)
        return np.add(rows, np.repeat(self.offsets[images] - (ends - counts), counts), out=rows)

    def keep(self, kept: np.ndarray) -> BoxTable:
        """The same images with only the boxes for which ``kept`` (B,) is true."""
        return self._selected(_offsets(kept)[self.offsets], kept)

    def without(self, rows: np.ndarray) -> BoxTable:
        """The same images without the boxes in some rows (n,); itself where n is 0."""
        if not len(rows):
            return self
        kept = np.ones(len(self.boxes), dtype=bool)
        kept[rows] = False
        return self.keep(kept)

    def without_empty(self) -> BoxTable:
        """The table of only the images that have a box (:attr:`with_boxes`); copies no box."""
        ends = self.offsets[1:][self.counts > 0]
        return replace(self, offsets=np.concatenate([self.offsets[:1], ends]))

    def first(self, number: int) -> BoxTable:
        """The same images with at most ``number`` boxes each, the first (which are the best)."""
        counts = np.minimum(self.counts, number)
        if counts.sum() == len(self.boxes):
            return self
        offsets = _offsets(counts)
        return self._selected(
            offsets, np.arange(offsets[-1]) + np.repeat(self.offsets[:-1] - offsets[:-1], counts)
        )

    def scored(self) -> BoxTable:
        """The same boxes with scores: their own, or 1 for each where they have none."""
        return self if self.scores is not None else replace(self, scores=np.ones(len(self.boxes)))

    def areas(self) -> np.ndarray:
        """Areas (B,) in the boxes' unit squared."""
        return box_area(self.boxes)
