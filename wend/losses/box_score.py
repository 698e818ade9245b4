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
    means = [scores.float().mean() for scores in images.scores if len(scores)]
    weights = torch.ones(len(images), device=images.device)
    if means:
        has_boxes = torch.tensor([len(scores) > 0 for scores in images.scores])
        weights[has_boxes.to(weights.device)] = torch.stack(means).pow(exponent).clamp(min=floor)
    return weights
