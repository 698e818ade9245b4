"""Boxes of objects with labels, one after the other: those of the label asked for, scored or not.

The rules that readers of labelling tools' files share: several labels have to be chosen among,
all boxes have a score, or none, and a size is two positive numbers, or none.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from types import UnionType
from typing import Any

import numpy as np

from wend.errors import InputError, shown, some
from wend.files import is_number
from wend.formats.coco_json import MAX_SIDE
from wend.pseudo_boxes.keys import path_key
from wend.pseudo_boxes.source_boxes import PseudoBoxes

Size = tuple[float, float]
NOT_STATED = (None, 0, -1)  # of a width or height


def check_option(
    path: str | Path, option: str, value: object, kinds: type | UnionType = str | int
) -> None:
    """Refuse an option of a source's that names one thing in its files, but is no text or number.

    Raises:
        InputError: a list, a mapping, or of other kinds than these.
    """
    if value is not None and not isinstance(value, kinds):
        expected = "text" if kinds is str else "text or a number"
        raise InputError(f"{path}: {option}: expected {expected}, got {shown(value)}")


def check_choice(
    path: str | Path, option: str, chosen: object, there: Collection[object], kinds: str
) -> None:
    """Refuse boxes of several labels or classes of which none is chosen, or one that is not there.

    Args:
        option: the source's, which chooses.
        chosen: its value; None for the only one, ``"all"`` for all.
        there: the labels or classes that the boxes have.
        kinds: what these are called.

    Raises:
        InputError: as said.
    """
    shown_there = some(map(shown, there))
    if chosen is None and len(there) > 1:
        raise InputError(
            f"{path}: holds boxes of {len(there)} {kinds} ({shown_there}), expected one; choose "
            f"one with {option}, or {option}: all"
        )
    if chosen not in (None, "all") and there and chosen not in there:
        raise InputError(
            f"{path}: {option} {shown(chosen)}: no box has it; they are of {shown_there}"
        )


def stated_size(where: str, width: object, height: object) -> Size | None:
    """Width and height that a file states of an image, whole or not; None where it states not both.

    Args:
        where: what holds it, for messages.

    Raises:
        InputError: one of them is neither a length nor one of :data:`NOT_STATED`.
    """
    sides = [side for side in (width, height) if side not in NOT_STATED]
    if all(is_number(side) and 0 < side < MAX_SIDE for side in sides):  # type: ignore[operator]
        return (float(sides[0]), float(sides[1])) if len(sides) == 2 else None  # type: ignore[arg-type]
    raise InputError(
        f"{where}: expected the image's width and height as numbers above 0, got "
        f"{shown(width)} and {shown(height)}"
    )


class LabelledBoxes:
    """Collects the boxes of a source's images.

    Args:
        path: the source, for messages.
        label: the label to take, as the files have it, or "all"; None: there may be only one.
        score: what the files call a box's score.
        option: what the source's option for the label is called.
    """

    def __init__(
        self, path: str | Path, label: str | int | None, score: str, option: str = "label"
    ) -> None:
        check_option(path, option, label)
        self.path, self.label, self.score, self.option = path, label, score, option
        self._keys: list[str] = []
        self._sizes: list[Size | None] = []
        self._num: list[int] = []
        self._rows: list[tuple[float, ...]] = []
        self._scores: list[float] = []
        self._labels: dict[Any, None] = {}
        self._first_is_scored: bool | None = None

    def begin(self, where: str, path: object, size: Size | None = None) -> None:
        """Begin an image; its boxes follow.

        Args:
            where: what names it, for messages.
            path: of the image.
            size: width and height that the file states, or None.
        """
        self._keys.append(path_key(path, where))
        self._sizes.append(size)
        self._num.append(0)

    def add(self, where: str, label: object, box: tuple[float, ...], score: object) -> None:
        """Add a box of the image that was begun.

        Args:
            where: what holds it, for messages.
            label: text or a number, or None.
            box: ``x0, y0, x1, y1``.
            score: a finite number, or None.

        Raises:
            InputError: another label or score, or a score where others have none.
        """
        if not (label is None or isinstance(label, str | int)):
            raise InputError(
                f'{where}: expected "{self.option}" as text or a number, got {shown(label)}'
            )
        if score is not None and not is_number(score):
            raise InputError(
                f'{where}: expected "{self.score}" as a finite number, got {shown(score)}'
            )
        self._labels[label] = None
        if self.label not in (None, "all", label):
            return
        if self._first_is_scored is None:
            self._first_is_scored = score is not None
        if (score is not None) != self._first_is_scored:
            others = "as others have" if self._first_is_scored else "others have none"
            raise InputError(f"{where}: expected {self.score} for all boxes or none; {others}")
        self._num[-1] += 1
        self._rows.append(box)
        self._scores.append(np.nan if score is None else float(score))  # type: ignore[arg-type]

    def finish(self, frame: str) -> PseudoBoxes:
        """The boxes; those of pixels become fractions by the sizes that the files state, if any do.

        Raises:
            InputError: several labels and none is chosen, no box of the label, or only some images
                have a size.
        """
        check_choice(self.path, self.option, self.label, self._labels, "labels")
        num = np.array(self._num, dtype=np.int64)
        boxes = np.array(self._rows, dtype=np.float64).reshape(-1, 4)
        scores = np.array(self._scores, dtype=np.float64) if self._first_is_scored else None
        stated = [size for size in self._sizes if size is not None]
        sizes = None
        if frame == "pixel" and stated:
            if len(stated) < len(self._keys):
                first = self._keys[self._sizes.index(None)]
                raise InputError(
                    f"{self.path}: {first}: expected width and height, as other images have"
                )
            sizes, frame = np.array(stated, dtype=np.float64), "fraction"
            boxes /= np.repeat(np.tile(sizes, 2), num, axis=0)
        return PseudoBoxes.from_entries(
            str(self.path), frame, self._keys, num, boxes, scores, sizes
        )
