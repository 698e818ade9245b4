"""The boxes of a source: the form in which every reader returns what its files hold.

Shape letters: N = images of the source, B = boxes, E = entries, the mentions of an image in the
source's files: usually one, but an image may stand there twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike

from wend.errors import InputError
from wend.files import is_number
from wend.pseudo_boxes.keys import Keys, path_key
from wend.pseudo_boxes.merge import clean_entries, keep_last_entries
from wend.pseudo_boxes.report import Count, add_counts, count_all
from wend.structures.box_table import BoxTable
from wend.structures.checks import as_boxes
from wend.structures.plausibility import check_policy

FRAMES = ("fraction", "pixel")
UNITS = {"probability": 1.0, "percent": 100.0, "log_odds": None}  # of scores; the largest
FAR_OUTSIDE = 1.5  # a "fraction" beyond this is no rounding: another frame was meant


@dataclass(frozen=True, eq=False)
class PseudoBoxes:
    """Boxes of many images by the images' keys, as a reader returns them.

    Make them of your own boxes with :meth:`from_dict`, or of columns with :meth:`from_entries`.

    Attributes:
        source: folder or file they come from.
        frame: "fraction" of the image's width and height, or "pixel" of the original image.
        keys: N paths of images, ``<class folder>/<file name>`` or longer; none twice.
        table: boxes of the N images in ``frame``, at least one each; each has an area. With the
            source's scores, higher is better, if it has some.
        counts: what the reader left out, by kind; see ``wend.pseudo_boxes.KINDS``.
        sizes: (N, 2) float64 width and height that the source states of its images, or None.
        strict: kinds of findings that end the join in an error; True: all.
        allow_contamination: whether ImageNet's validation images may be among the images.
        implausible: what the join makes of boxes that are hardly pixels of their images: "error" or
            "count".
    """

    source: str
    frame: str
    keys: Keys
    table: BoxTable
    counts: Mapping[str, Count] = field(default_factory=dict)
    sizes: np.ndarray | None = None
    strict: bool | Sequence[str] = False
    allow_contamination: bool = False
    implausible: str = "error"

    def __post_init__(self) -> None:
        if self.frame not in FRAMES:
            raise InputError(f"{self.source}: frame must be one of {FRAMES}, got {self.frame!r}")
        if len(self.keys) != len(self.table):
            raise InputError(
                f"{self.source}: {len(self.keys)} keys but boxes of {len(self.table)} images; make "
                f"them with PseudoBoxes.from_dict"
            )
        check_policy(self.implausible, f"{self.source}: implausible")
        if len(self.table.boxes):
            self._check_frame()

    def _check_frame(self) -> None:
        boxes = self.table.boxes
        low, high = boxes.min(), boxes.max()
        if self.frame == "fraction" and (low < 1 - FAR_OUTSIDE or high > FAR_OUTSIDE):
            row = int(np.argmax(np.abs(boxes).max(1)))
            raise InputError(
                f"{self.source}: {self._key_of(row)}: box {boxes[row].tolist()} is far outside "
                f"0..1 for fractions of the image; are these pixels (frame: pixel)?"
            )

    def _key_of(self, row: int) -> str:
        return self.keys[int(self.table.images_of(row))]

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, key: str) -> np.ndarray:
        """Boxes (P, 4) of one image, in ``frame``; searches all keys, for a look at a few."""
        index = int(self.keys.find(Keys([key]))[0])
        if index < 0:
            raise KeyError(key)
        return self.table[index]

    @classmethod
    def from_dict(
        cls,
        boxes: Mapping[str, ArrayLike],
        frame: str,
        *,
        scores: Mapping[str, ArrayLike] | None = None,
        source: str = "own boxes",
    ) -> PseudoBoxes:
        """The boxes of a mapping of images.

        Args:
            boxes: path of the image, with whatever root, -> one box ``[x0, y0, x1, y1]`` or several
                (P, 4); none is an empty list.
            frame: "fraction" of the image's width and height, or "pixel" of the original image.
            scores: path -> (P,) scores, for every image or None.
            source: where they come from, for messages.

        Raises:
            InputError: a key or a box is none; the message names it.
        """
        keys, rows, marks = [], [], []
        for path, value in boxes.items():
            where = f"{source}: image {path!r}"
            keys.append(path_key(path, where))
            shape = np.shape(value)
            is_row = len(shape) == 1 and shape[0] > 0
            array = as_boxes([value] if is_row else value, where)
            rows.append(array)
            if scores is not None:
                mark = np.atleast_1d(np.asarray(scores.get(path, ()), dtype=np.float64))
                if mark.shape != (len(array),):
                    raise InputError(f"{where}: {len(array)} boxes but {mark.size} scores")
                marks.append(mark)
        return cls.from_entries(
            source,
            frame,
            keys,
            np.array([len(array) for array in rows], dtype=np.int64),
            np.concatenate([np.zeros((0, 4)), *rows]),
            None if scores is None else np.concatenate([np.zeros(0), *marks]),
        )

    @classmethod
    def from_entries(
        cls,
        source: str,
        frame: str,
        keys: Sequence[str],
        num_boxes: np.ndarray,
        boxes: np.ndarray,
        scores: np.ndarray | None = None,
        sizes: np.ndarray | None = None,
        counts: Mapping[str, Count] | None = None,
    ) -> PseudoBoxes:
        """The boxes of columns by entry; of an image with several the last counts, with a finding.

        Args:
            keys: E paths, as of :func:`path_key`.
            num_boxes: (E,) boxes of each entry.
            boxes: (B, 4) xyxy, the first entry's first.
            scores: (B,), or None. The boxes of an entry are sorted, best first.
            sizes: (E, 2) stated sizes, or None.
            counts: findings to add to.

        Raises:
            InputError: a box that is not finite or turned inside out; the message names its key.
        """
        paths = keys if isinstance(keys, Keys) else Keys(keys)
        table = BoxTable.from_counts(num_boxes, boxes, scores)
        _check(source, paths, table)
        table, left_out = clean_entries(table)
        counts = add_counts(counts or {}, count_all(paths, left_out))
        table, left_out = keep_last_entries(paths.first(), table)
        counts = add_counts(counts, count_all(paths, left_out))
        held = table.with_boxes
        if len(held) < len(table):
            paths, sizes = paths.take(held), None if sizes is None else sizes[held]
        return cls(source, frame, paths, table.without_empty(), counts, sizes)

    def select(self, min_score: float | None = None, max_boxes: int | None = None) -> PseudoBoxes:
        """Leave out boxes, counted as "below_min_score" and "beyond_max_boxes".

        Args:
            min_score: lowest score that stays.
            max_boxes: boxes per image that stay: the first, which are the best where there are
                scores.

        Raises:
            InputError: a value out of range, or min_score of boxes without scores.
        """
        selected = self
        if min_score is not None:
            scores = self.table.scores
            if scores is None or not is_number(min_score):
                raise InputError(
                    f"{self.source}: min_score needs a number and boxes with scores, got "
                    f"{min_score!r} and {'none' if scores is None else 'scores'}"
                )
            selected = selected._keep(scores >= min_score, "below_min_score")
        if max_boxes is not None:
            if type(max_boxes) is not int or max_boxes < 1:
                raise InputError(
                    f"{self.source}: max_boxes must be a number from 1, got {max_boxes}"
                )
            selected = selected._keep(selected.table.rank < max_boxes, "beyond_max_boxes")
        return selected

    def in_unit(self, unit: str) -> PseudoBoxes:
        """The same boxes with scores in [0, 1], made of scores in a unit.

        Args:
            unit: "probability" (0 to 1), "percent" (0 to 100) or "log_odds" (any number x, which
                means 1 / (1 + exp(-x))).

        Raises:
            InputError: an unknown unit, boxes without scores, or a score that is not in the unit.
        """
        scores = self.table.scores
        if not isinstance(unit, str) or unit not in UNITS:
            raise InputError(
                f"{self.source}: score_unit: expected one of {', '.join(UNITS)}, got {unit!r}"
            )
        if scores is None:
            raise InputError(f"{self.source}: score_unit needs boxes with scores, got none")
        if (most := UNITS[unit]) is None:
            converted = np.exp(-np.logaddexp(0, -scores))
        elif len(scores) and not 0 <= scores.min() <= scores.max() <= most:
            row = int(np.argmax((scores < 0) | (scores > most)))
            raise InputError(
                f"{self.source}: {self._key_of(row)}: score_unit {unit}: expected scores from 0 to "
                f"{most:g}, got {scores[row]:g}"
            )
        else:
            converted = scores / most
        return replace(self, table=replace(self.table, scores=converted))

    def _keep(self, kept: np.ndarray, kind: str) -> PseudoBoxes:
        left_out = self.table.images_of(np.flatnonzero(~kept))
        return self.with_table(
            self.table.keep(kept), {kind: Count.from_indices(self.keys, left_out)}
        )

    def with_table(self, table: BoxTable, counts: Mapping[str, Count]) -> PseudoBoxes:
        """Other boxes of the N images, without the images that have none; counts to add."""
        held = table.with_boxes
        return replace(
            self,
            keys=self.keys.take(held),
            table=table.without_empty(),
            sizes=None if self.sizes is None else self.sizes[held],
            counts=add_counts(self.counts, counts),
        )


def _check(source: str, keys: Keys, table: BoxTable) -> None:
    def refuse(wrong: np.ndarray, problem: Callable[[int], str]) -> None:
        if wrong.any():
            row = int(np.argmax(wrong))
            raise InputError(f"{source}: {keys[int(table.images_of(row))]}: {problem(row)}")

    boxes, scores = table.boxes, table.scores
    finite = np.isfinite(boxes)
    if not finite.all():
        refuse(~finite.all(1), lambda i: f"box {boxes[i].tolist()} is not four finite numbers")
    refuse(
        (boxes[:, 2] < boxes[:, 0]) | (boxes[:, 3] < boxes[:, 1]),
        lambda i: (
            f"box x0, y0, x1, y1 = {boxes[i].tolist()} ends before it starts; are the last two "
            f"width and height?"
        ),
    )
    if scores is not None:
        refuse(~np.isfinite(scores), lambda i: f"score {scores[i]} is not finite")
