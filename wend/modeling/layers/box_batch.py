"""The boxes that a detector predicts of a batch, in one form for every detector and engine.

Shape letters: N = images, D = boxes of an image at most.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class BoxBatch:
    """Predicted boxes of N images, best first; what an image has fewer than D is not kept.

    Attributes:
        boxes: (N, D, 4) xyxy, in pixels of the images that the detector was given.
        scores: (N, D), in [0, 1].
        kept: (N, D) bool, true for an image's own boxes, which stand before the others.
        classes: (N, D) int64, index of each box's class; None: there is one class.
    """

    boxes: Tensor
    scores: Tensor
    kept: Tensor
    classes: Tensor | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def counts(self) -> list[int]:
        """Boxes of each image. Waits for the device."""
        return self.kept.sum(1).tolist()
