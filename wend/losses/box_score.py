"""Images whose pseudo boxes have low scores teach less.

Shape letters: N = images.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wend.losses.context import ImagesContext
from wend.losses.weights import image_weights


@image_weights("box_score", node="BOX_SCORE")
def box_score(images: ImagesContext, *, exponent: float = 1.0, floor: float = 0.0) -> Tensor:
    """The mean score of an image's boxes, to a power, and at least a floor: ``max(s^e, floor)``.

    Args:
        images: boxes of the batch with scores in [0, 1], 1 where their source has none.
        exponent: e >= 0; above 1 the uncertain count less, 0 is no weight.
        floor: in [0, 1].

    Returns:
        Weights (N,); 1 for an image without boxes.
    """
    counts = images.padded.is_box.sum(1)
    means = images.padded_scores.float().sum(1) / counts
    return torch.where(counts > 0, means.pow(exponent).clamp(min=floor), 1.0)
