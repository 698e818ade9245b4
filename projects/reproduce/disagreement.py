"""Entropy whose strength follows how many images disagree with their pseudo boxes.

No truth is looked at: an image disagrees where the sample of its largest log-odds is not one that a
pseudo box was assigned to. The more boxes are wrong, the more images do; a detector that learns the
boxes by heart agrees with all of them, whatever they are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wend.errors import InputError
from wend.losses import LossContext, entropy_loss, unsupervised_loss


def disagreeing(context: LossContext) -> Tensor:
    """Which images (N,) of a batch disagree, as floats; an image without samples does not.

    Raises:
        InputError: the detector says no labels, or not which image a sample is of.
    """
    labels, image = context.labels, context.image_index
    if labels is None or image is None:
        raise InputError("entropy by disagreement needs samples with labels and images")
    logits = context.logits.detach().float()
    number = int(image.max()) + 1 if len(image) else 0
    best = logits.new_full((number,), -torch.inf).scatter_reduce(0, image, logits, "amax")
    is_best = logits == best[image]
    agrees = logits.new_zeros(number).scatter_reduce(
        0, image, (is_best & (labels == 1)).to(logits), "amax"
    )
    return 1 - agrees


@unsupervised_loss("entropy_by_disagreement")
def entropy_by_disagreement(context: LossContext) -> Tensor:
    """The share of the batch's images that disagree, times the plain entropy of all samples."""
    images = disagreeing(context)
    share = images.mean() if len(images) else 0.0
    return share * entropy_loss(context.logits)


@unsupervised_loss("entropy_of_disagreeing")
def entropy_of_disagreeing(context: LossContext) -> Tensor:
    """The plain entropy of the samples of images that disagree, summed, divided by all samples."""
    images = disagreeing(context)
    losses = entropy_loss(context.logits, reduction="none")
    weights = images[context.image_index] if len(images) else torch.zeros_like(losses)
    return (weights * losses).sum() / max(losses.numel(), 1)
