"""How far methods agree on their boxes, and the method that the others agree with most.

No truth is needed: methods that look at an image in different ways and err in different ways agree
where they are right. Boxes agree by chance, too, since objects tend to lie in the middle: what
counts is the agreement beyond that of one method's box with the other's box *of another image*, as
in Cohen's kappa. Of few images that is an estimate with a wide interval: another method than the
first takes its place only where the interval of the difference excludes zero. How often that picks
the right method: ``docs/own_photos.md``.

Shape letters: M = methods, I = images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from tabulate import tabulate

from wend.evaluation.statistics import paired_difference
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
        of_images: (M, I) each method's agreement beyond chance with the others on each image, of
            which that with the others is about the mean; NaN where there is nothing to compare.
    """

    names: tuple[str, ...]
    iou: np.ndarray
    beyond: np.ndarray
    of_images: np.ndarray

    @property
    def with_others(self) -> np.ndarray:
        """Mean (M,) of each method's agreement beyond chance; 0 where there are no others."""
        others = len(self.names) - 1
        return (self.beyond.sum(1) - 1) / max(others, 1)

    @property
    def most(self) -> int:
        """Index of the method that the others agree with most."""
        return int(self.with_others.argmax())

    @property
    def chosen(self) -> str:
        """That method, or the first where the 95 % interval of their difference holds zero."""
        ours, firsts = self.of_images[[self.most, 0]]
        both = np.isfinite(ours) & np.isfinite(firsts)
        if not both.any():
            return self.names[0]
        low = paired_difference(ours[both], firsts[both]).low
        return self.names[self.most if low is not None and low > 0 else 0]

    @property
    def reason(self) -> str:
        """Why it is chosen, in words behind its name."""
        most = self.names[self.most]
        if self.chosen == most:
            return "which the others agree with most"
        return (
            f"the default; the others agree more with {most}, but the 95 % interval of the "
            f"difference holds zero"
        )

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
    pairs = np.full((len(names), len(names), len(sizes)), np.nan)
    for i, first in enumerate(names):
        for j, second in enumerate(names[:i]):
            images, *boxes = _best_fractions(tables[first], tables[second], sizes)
            if not len(images):
                iou[i, j] = iou[j, i] = beyond[i, j] = beyond[j, i] = 0.0
                continue
            same, excess = _agreement(*boxes)
            pairs[i, j, images] = pairs[j, i, images] = excess
            iou[i, j] = iou[j, i] = same.mean()
            beyond[i, j] = beyond[j, i] = excess.mean()
    compared = np.isfinite(pairs)
    number = compared.sum(1)
    total = np.where(compared, pairs, 0.0).sum(1)
    of_images = np.where(number > 0, total / np.maximum(number, 1), np.nan)
    return Agreement(names, iou, beyond, of_images)


def _best_fractions(
    a: BoxTable, b: BoxTable, sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The images (n,) where both methods have a box; their best (n, 4) in fractions of them."""
    both = np.flatnonzero((a.counts > 0) & (b.counts > 0))
    sides = np.tile(sizes[both], 2)
    return both, a.boxes[a.offsets[both]] / sides, b.boxes[b.offsets[both]] / sides


def _agreement(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """IoU (n,) of paired boxes (n, 4), and what of it is beyond chance."""
    same = paired_iou(a, b)
    shifts = np.unique(np.linspace(1, len(a) - 1, SHIFTS).astype(int)) if len(a) > 1 else ()
    chance = np.mean([paired_iou(a, np.roll(b, s, 0)) for s in shifts] or [np.zeros(len(a))], 0)
    most = 1 - chance.mean()
    return same, (same - chance) / most if most > 0 else np.zeros(len(a))
