"""Small-loss selection: early in a training, wrong labels are those with a large loss.

A network learns what is regular before it learns its labels by heart (Arpit et al., ICML 2017), so
that the samples whose classification loss is large among a batch's are more often wrong than
others.

Shape letters: S = samples, N = images.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from wend.errors import InputError
from wend.losses.context import LossContext
from wend.losses.selection import kept, selected_share
from wend.losses.weights import sample_weights


@sample_weights("small_loss", node="SMALL_LOSS")
def small_loss(
    context: LossContext, *, drop: float = 0.3, start: float = 0.1, ramp: float = 0.2
) -> Tensor:
    """1 for the samples of a batch's images with the smallest classification loss, else 0.

    The share ``1 - R(t)`` of images that is dropped grows from 0 to ``drop``
    (:func:`wend.losses.selection.selected_share`). Images without a positive sample are neither
    ranked nor dropped: without a box there is no wrong one.

    Args:
        context: samples with labels and images.
        drop: share of images that is dropped in the end, about that of wrong boxes, in [0, 1).
        start: share of the training before which none is dropped, in [0, 1).
        ramp: share of the training in which ``drop`` is reached, in [0, 1].

    Returns:
        Weights (S,).

    Source: Han et al., "Co-teaching: Robust Training of Deep Neural Networks with Extremely Noisy
    Labels", NeurIPS 2018, algorithm 1, of one network that selects for itself.
    """
    if context.image_index is None:
        raise InputError("small_loss: the detector does not say which image a sample is of")
    share = selected_share(context.progress, drop=drop, start=start, ramp=ramp)
    losses, has_positive = image_losses(context)
    return kept(losses, has_positive, share).to(losses)[context.image_index]


def image_losses(context: LossContext) -> tuple[Tensor, Tensor]:
    """The classification loss of each image, and whether it has a positive sample, (N,) each.

    The mean cross entropy of its positive samples plus that of its background, so that a large
    box, which has more positives than a small one, does not count more.
    """
    index = context.image_index
    assert index is not None
    number = len(context.images) or len(context.image_ids)
    if not number and len(index):  # without a trainer nobody says how many images there are
        number = int(index.max()) + 1
    losses = _cross_entropy(context)
    means = []
    for label in (1, 0):
        is_of = (context.known_labels == label).to(losses)
        sums = losses.new_zeros(number).index_add_(0, index, losses * is_of)
        counts = losses.new_zeros(number).index_add_(0, index, is_of)
        means.append((sums / counts.clamp(min=1), counts > 0))
    (positive, has_positive), (background, _) = means
    return positive + background, has_positive


@sample_weights("small_loss_samples", node="SMALL_LOSS")
def small_loss_samples(
    context: LossContext, *, drop: float = 0.3, start: float = 0.1, ramp: float = 0.2
) -> Tensor:
    """1 for the samples of a batch with the smallest classification loss, else 0, image or not.

    Of the positive samples the share ``1 - R(t)`` is dropped (:func:`small_loss`), and as much
    background as positives: a box in the wrong place takes about as many samples for background
    as for foreground. For images of several objects, of which some boxes are right.
    """
    share = selected_share(context.progress, drop=drop, start=start, ramp=ramp)
    losses, labels = _cross_entropy(context), context.known_labels
    positive, background = labels == 1, labels == 0
    # the background's share has no limit but 1: fewer background samples than positives
    as_many = share * positive.sum() / background.sum().clamp(min=1)
    weights = kept(losses, positive, share) & kept(losses, background, as_many.clamp(max=1))
    return weights.to(losses)


def _cross_entropy(context: LossContext) -> Tensor:
    logits = context.logits.detach().float()
    return F.softplus(torch.where(context.known_labels == 1, -logits, logits))
