"""How far methods agree on their boxes, and the method that the others agree with most.

No truth is needed: methods that look at an image in different ways and err in different ways agree
where they are right. How often that picks the right one: ``docs/own_photos.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from tabulate import tabulate

from wend.structures.box_table import BoxTable
from wend.structures.boxes import paired_iou


@dataclass(frozen=True)
class Agreement:
    """Mean IoU of the best boxes of M methods on the images where both have one.

    Attributes:
        names: M methods.
        iou: (M, M) mean IoU, 1 on the diagonal.
    """

    names: tuple[str, ...]
    iou: np.ndarray

    @property
    def with_others(self) -> np.ndarray:
        """Mean (M,) of each method's agreement with the others; 0 where there are none."""
        others = len(self.names) - 1
        return (self.iou.sum(1) - 1) / max(others, 1)

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
        return tabulate(rows, ["mean IoU with", *self.names, "the others"], disable_numparse=True)


def agreement(tables: Mapping[str, BoxTable]) -> Agreement:
    """The agreement of methods' best boxes, given as tables of the same images."""
    names = tuple(tables)
    iou = np.eye(len(names))
    for i, first in enumerate(names):
        for j, second in enumerate(names[:i]):
            iou[i, j] = iou[j, i] = _mean_iou(tables[first], tables[second])
    return Agreement(names, iou)


def _mean_iou(a: BoxTable, b: BoxTable) -> float:
    both = np.flatnonzero((a.counts > 0) & (b.counts > 0))
    if not len(both):
        return 0.0
    return float(paired_iou(a.boxes[a.offsets[both]], b.boxes[b.offsets[both]]).mean())
