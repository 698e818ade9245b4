"""What becomes of the boxes to learn from, image by image, on their way into the crop.

Counts travel with each example, from a loader's worker to the loop; :mod:`.first_epoch` adds them
up. Shape letter: P = boxes of an image.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

LOST = {  # field of BoxCounts -> what such boxes are, and what to do where they are many
    "fractions": (
        "lie within 0..1 of the image's pixels",
        "are these fractions of the image, read as pixels? Say so where the boxes are declared "
        "(frame: fraction), or write them in pixels",
    ),
    "thin": (
        "are at most a pixel wide or high",
        "'wend boxes report' shows their shapes; make them again, or take a larger WEND.RESIZE "
        "and WEND.CROP",
    ),
    "cut": (
        "were cut off by the random crop",
        "do they lie at the images' borders? Take a WEND.CROP nearer to WEND.RESIZE",
    ),
}


class BoxCounts(NamedTuple):
    """Counts of images and their boxes; sums of them are counts, too.

    Attributes:
        images: how many images.
        without_box: of them, those that have no box.
        emptied: of them, those that had boxes and lost all of them.
        boxes: boxes to learn from, the lost ones counted.
        fractions, thin, cut: lost boxes, each counted once; see :data:`LOST`.
    """

    images: int = 0
    without_box: int = 0
    emptied: int = 0
    boxes: int = 0
    fractions: int = 0
    thin: int = 0
    cut: int = 0

    @property
    def lost(self) -> int:
        """Boxes that no detector sees."""
        return self.fractions + self.thin + self.cut

    @classmethod
    def of_image(cls, boxes: np.ndarray, in_frame: np.ndarray, lost: np.ndarray) -> BoxCounts:
        """The counts of an image.

        Args:
            boxes: (P, 4) xyxy in original pixels.
            in_frame: (P, 4) xyxy in pixels of the crop, not clipped to it.
            lost: (P,) bool.
        """
        number = len(boxes)
        if not lost.any():
            return cls(1, without_box=int(not number), boxes=number)
        # a box of whole numbers, such as 0, 0, 1, 1, is no fraction
        small = ((boxes >= 0) & (boxes <= 1)).all(1) & (boxes % 1 != 0).any(1)
        sides = np.minimum(boxes[:, 2:] - boxes[:, :2], in_frame[:, 2:] - in_frame[:, :2]).min(1)
        fractions, thin = lost & small, lost & ~small & (sides <= 1)
        return cls(
            images=1,
            emptied=int(lost.all()),
            boxes=number,
            fractions=int(fractions.sum()),
            thin=int(thin.sum()),
            cut=int((lost & ~fractions & ~thin).sum()),
        )

    @classmethod
    def total(cls, counts: Iterable[BoxCounts]) -> BoxCounts:
        """The sum of counts."""
        return cls(*map(sum, zip(cls(), *counts, strict=True)))
