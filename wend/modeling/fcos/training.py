"""FCOS's loss terms of a batch: L_sup as chosen and weighed, and L_unsup on all locations.

Shape letters: N = images, R = locations of all levels, K = classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from wend.losses import LocalizationLoss, scale_gradient, weighted
from wend.modeling.fcos.locations import Locations
from wend.modeling.fcos.losses import box_loss, centreness_loss, class_targets, focal_loss
from wend.modeling.fcos.output import HeadOutput
from wend.modeling.fcos.targets import targets


@dataclass(frozen=True)
class Supervision:
    """How an engine's FCOS learns.

    Attributes:
        names: of the terms of classes, boxes and centreness.
        radius: strides from a box's centre within which locations are positive.
        alpha, gamma: of the focal loss.
        weights: λ of eq. (1): name of a term -> its weight, 1 where it is left out.
    """

    names: tuple[str, str, str]
    radius: float
    alpha: float
    gamma: float
    weights: Mapping[str, float]


def loss_terms(
    output: HeadOutput,
    locations: Locations,
    loss: LocalizationLoss,
    how: Supervision,
    *,
    normalizer: Callable[[Tensor], Tensor],
    classes: Tensor | None = None,
) -> dict[str, Tensor]:
    """The terms of a batch's losses, before η of eq. (4).

    Args:
        output: the head's, with gradients.
        locations: of the batch.
        loss: has the batch's images, with their boxes.
        how: names and numbers.
        normalizer: what the terms of L_sup are divided by, of the number of positive locations
            (a scalar, the mean over the processes, at least one of all).
        classes: (N, P), see :func:`class_targets`.
    """
    num_classes = output.logits.shape[-1]
    learnt = targets(loss.images.padded, locations, how.radius)
    loss.count_positives(learnt.box_index)
    foreground = output.logits[..., 0]
    context = loss.context(  # weights have no gradient
        foreground.detach(),
        labels=(~learnt.background).long(),
        sample_boxes=lambda: locations.boxes(output.distances.detach()).flatten(0, 1),
    )
    weights = loss.weights(context)
    by_image = None if weights is None else weights.view_as(learnt.background)
    logits, distances, centreness = (scale_gradient(each, by_image) for each in output)
    assert isinstance(context.num_positives, Tensor)
    number = normalizer(context.num_positives)
    wanted = class_targets(learnt, num_classes, classes)
    own = (
        focal_loss(logits, wanted, alpha=how.alpha, gamma=how.gamma),
        box_loss(distances, learnt, locations),
        centreness_loss(centreness, learnt, locations),
    )
    terms = {name: term / number for name, term in zip(how.names, own, strict=True)}
    context = context.changed(logits=foreground.flatten(), num_positives=number)
    name = how.names[0]
    terms[name] = loss.classification(terms[name], context, weights, 1 / number)
    terms = weighted(terms, how.weights)
    unsupervised = loss.unsupervised_of(context, supervised=terms[name], shared=[output.logits])
    return {**terms, **unsupervised}
