"""The regions that an RPN proposes, of all images of a batch.

Shape letters: N = images, P = proposals of an image at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from wend.modeling.layers.image_batch import Size


@dataclass(frozen=True, eq=False)
class Proposals:
    """Proposals of N images, best first; what an image has fewer than P is none.

    Attributes:
        boxes: (N, P, 4) xyxy in pixels, inside of the image; 0 where there is no proposal.
        logits: (N, P), log-odds of the objectness (CLN: of the centreness); 0 where there is none.
        is_proposal: (N, P) bool, true for an image's own, which stand before the others.
        sizes: height and width of each image in pixels.
    """

    boxes: Tensor
    logits: Tensor
    is_proposal: Tensor
    sizes: Sequence[Size]

    def counts(self) -> list[int]:
        """Proposals of each image. Waits for the device."""
        return self.is_proposal.sum(1).tolist()
