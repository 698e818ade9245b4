"""The terms of FCOS's L_sup, each the sum over all locations of a batch.

Values and gradients are those of Detectron2's and torchvision's, which pick the positive locations
out: here all are computed, and what is not to be learned is 0 by construction.

Shape letters: N = images, R = locations of all levels, K = classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from wend.modeling.fcos.locations import Locations
from wend.modeling.fcos.targets import NEUTRAL, Targets

EPS = 1e-7  # square pixels; of both libraries' GIoU loss
CERTAIN = 200.0  # log-odds; cross entropy with the target 1 is 0 there, in float32


def class_targets(targets: Targets, num_classes: int, classes: Tensor | None = None) -> Tensor:
    """What the logits are to be: (N, R, K) float, 1 at the class of a location's box, else 0.

    Args:
        targets: of the batch.
        num_classes: K.
        classes: (N, P) int64, the class of each box in [0, K); needed where K is greater than 1.
    """
    positive = (~targets.background)[..., None].float()
    if num_classes == 1:
        return positive
    assert classes is not None
    space = positive.new_zeros(*targets.background.shape, num_classes)
    return space.scatter_(2, targets.classes(classes)[..., None], positive)


def focal_loss(logits: Tensor, wanted: Tensor, *, alpha: float, gamma: float) -> Tensor:
    """Sigmoid focal loss, eq. (5) of arXiv:1708.02002, summed.

    Args:
        logits: (N, R, K).
        wanted: of the same shape, 1 or 0.
        alpha: weight of 1 in [0, 1], that of 0 is 1 - α; below 0: both are 1.
        gamma: γ >= 0.
    """
    logits = logits.float()
    is_wanted = wanted > 0
    missed = 1 - logits.sigmoid()  # of 1; the libraries' 1 - p_t, to the last bit
    wrong = torch.where(is_wanted, missed, 1 - missed)
    loss = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * wrong**gamma
    if alpha >= 0:
        loss = torch.where(is_wanted, alpha, 1 - alpha) * loss
    return loss.sum()


def box_loss(distances: Tensor, targets: Targets, locations: Locations) -> Tensor:
    """Generalized IoU loss of positive locations' boxes, arXiv:1902.09630, summed.

    Args:
        distances: (N, R, 4), in sides of the locations' squares.
        targets, locations: of the batch.
    """
    reach = distances.float() * locations.sides
    # background predicts its own target: a loss of 1 - 1, and no gradient
    reach = reach.masked_fill(targets.background[..., None], NEUTRAL)
    boxes = locations.points + reach
    shared, hull = torch.minimum(boxes, targets.boxes), torch.maximum(boxes, targets.boxes)
    every = torch.stack([boxes, targets.boxes, shared, hull])
    sides = (every[..., :2] + every[..., 2:]).clamp(min=0)  # (4, N, R, 2)
    area, wanted, inner, outer = (sides[..., 0] * sides[..., 1]).unbind()
    union = area + wanted - inner
    giou = inner / (union + EPS) - (outer - union) / (outer + EPS)
    return (1 - giou).sum()


def centreness_loss(centreness: Tensor, targets: Targets, locations: Locations) -> Tensor:
    """Binary cross entropy of positive locations' centreness, eq. (3) of arXiv:2006.09214, summed.

    Args:
        centreness: (N, R), log-odds.
        targets, locations: of the batch.
    """
    with torch.no_grad():
        distances = targets.boxes - locations.points
        low, high = distances[..., :2], distances[..., 2:]
        ratios = torch.minimum(low, high) / torch.maximum(low, high)
        wanted = (ratios[..., 0] * ratios[..., 1]).sqrt()  # 1 of background
    certain = centreness.float().masked_fill(targets.background, CERTAIN)
    return F.binary_cross_entropy_with_logits(certain, wanted, reduction="sum")
