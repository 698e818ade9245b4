"""How far methods agree on their boxes, and the method that the others agree with most.

No truth is needed: methods that look at an image in different ways and err in different ways agree
where they are right. Boxes agree by chance, too, since objects tend to lie in the middle: what
counts is the agreement beyond that of one method's box with the other's box *of another image*, as
in Cohen's kappa. How often that picks the right method: ``docs/own_photos.md``.

Shape letters: M = methods, I = images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from tabulate import tabulate

from wend.structures.box_table import BoxTable
from wend.structures.boxes import paired_iou

SHIFTS = 32  # other images, at most, that chance is measured on


@dataclass(frozen=True)
class Agreement:
    """The agreement of the best boxes of M methods on the images where both have one.

    Attributes:
        names: M methods.
        iou: (M, M) mean IoU, 1 on the diagonal.
        beyond: (M, M) what of it is beyond chance, (IoU - chance) / (1 - chance), at most 1.
    """

    names: tuple[str, ...]
    iou: np.ndarray
    beyond: np.ndarray

    @property
    def with_others(self) -> np.ndarray:
        """Mean (M,) of each method's agreement beyond chance; 0 where there are no others."""
        others = len(self.names) - 1
        return (self.beyond.sum(1) - 1) / max(others, 1)

    @property
    def chosen(self) -> str:
        """The method that agrees most with the others; of equal ones the first."""
        return self.names[int(self.with_others.argmax())]

    def table(self) -> str:
        """The numbers, for people."""
        rows = [
            [name, *(f"{value:.3f}" for value in row), f"{mean:.3f}"]
            for name, row, mean in zip(self.names, self.iou, self.with_others, strict=True)
        ]
        head = ["mean IoU with", *self.names, "beyond chance, with the others"]
        return tabulate(rows, head, disable_numparse=True)


def agreement(tables: Mapping[str, BoxTable], sizes: np.ndarray) -> Agreement:
    """The agreement of methods' best boxes.

    Args:
        tables: of the same images, in original pixels.
        sizes: (I, 2) width and height of the images.
    """
    names = tuple(tables)
    iou, beyond = np.eye(len(names)), np.eye(len(names))
    for i, first in enumerate(names):
        for j, second in enumerate(names[:i]):
            pair = _best_fractions(tables[first], tables[second], sizes)
            iou[i, j], beyond[i, j] = iou[j, i], beyond[j, i] = _agreement(*pair)
    return Agreement(names, iou, beyond)


def _best_fractions(a: BoxTable, b: BoxTable, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both methods' best boxes (n, 4) in fractions of the images where both have one."""
    both = np.flatnonzero((a.counts > 0) & (b.counts > 0))
    sides = np.tile(sizes[both], 2)
    return a.boxes[a.offsets[both]] / sides, b.boxes[b.offsets[both]] / sides


def _agreement(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Mean IoU of paired boxes (n, 4), and what of it is beyond chance; 0 where there are none."""
    if not len(a):
        return 0.0, 0.0
    same = float(paired_iou(a, b).mean())
    shifts = np.unique(np.linspace(1, len(a) - 1, SHIFTS).astype(int)) if len(a) > 1 else ()
    chance = float(np.mean([paired_iou(a, np.roll(b, s, 0)).mean() for s in shifts] or [0.0]))
    return same, (same - chance) / (1 - chance) if chance < 1 else 0.0
