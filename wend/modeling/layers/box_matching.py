"""One-to-one matching of predicted boxes with boxes to learn (DETR, Carion et al. 2020).

Shape letters: B = images (times layers of the decoder), Q = predictions, P = boxes. Boxes are
centre x, y, width and height in fractions of the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def centre_to_corners(boxes: Tensor) -> Tensor:
    """``centre x, y, width, height`` (..., 4) to ``x0, y0, x1, y1`` (..., 4)."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], -1)


def corners_to_centre(boxes: Tensor) -> Tensor:
    """``x0, y0, x1, y1`` (..., 4) to ``centre x, y, width, height`` (..., 4)."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(low + high) / 2, high - low], -1)


def generalized_iou(a: Tensor, b: Tensor) -> Tensor:
    """Generalized IoU (arXiv:1902.09630) of boxes ``x0, y0, x1, y1``, shapes (..., 4) broadcast.

    Returns:
        Values in [-1, 1]; two boxes without area at one point have 0, with finite gradients.
    """
    tiny = torch.finfo(a.dtype).tiny
    area_a, area_b = ((x[..., 2:] - x[..., :2]).prod(-1) for x in (a, b))
    inner = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    outer = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    intersection, hull = inner.clamp(min=0).prod(-1), outer.prod(-1)
    union = area_a + area_b - intersection
    return intersection / union.clamp(min=tiny) - (hull - union) / hull.clamp(min=tiny)


def focal_terms(logits: Tensor, alpha: float, gamma: float) -> tuple[Tensor, Tensor]:
    """Focal loss (arXiv:1708.02002) of log-odds as foreground and as background, each their shape.

    Args:
        logits: foreground log-odds, any shape.
        alpha: weight of the foreground in [0, 1].
        gamma: focusing parameter >= 0; gradients are finite for each.
    """
    log_p, log_1_minus_p = F.logsigmoid(logits), F.logsigmoid(-logits)
    foreground = -alpha * torch.exp(gamma * log_1_minus_p) * log_p
    background = -(1 - alpha) * torch.exp(gamma * log_p) * log_1_minus_p
    return foreground, background


def matching_cost(
    logits: Tensor,
    boxes: Tensor,
    targets: Tensor,
    *,
    class_cost: float,
    l1_cost: float,
    giou_cost: float,
    alpha: float,
    gamma: float,
) -> Tensor:
    """Deformable DETR's cost of matching each prediction with each box.

    Args:
        logits: (B, Q).
        boxes: (B, Q, 4).
        targets: (B, P, 4).
        class_cost, l1_cost, giou_cost: weights of the focal loss as foreground less that as
            background, of the L1 distance and of minus the generalized IoU.
        alpha, gamma: see :func:`focal_terms`.

    Returns:
        (B, Q, P).
    """
    foreground, background = focal_terms(logits, alpha, gamma)
    pairs = boxes[..., :, None, :], targets[..., None, :, :]
    distance = (pairs[0] - pairs[1]).abs().sum(-1)
    giou = generalized_iou(*(centre_to_corners(side) for side in pairs))
    classes = (foreground - background)[..., None]
    return class_cost * classes + l1_cost * distance - giou_cost * giou


def hungarian_matching(cost: Tensor, counts: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Cheapest one-to-one matching of each image; the predictions left over are background.

    Costs that are not finite (a training that diverged) count as very high, so that the losses are
    computed and say so.

    Args:
        cost: (B, Q, P), the boxes of an image first in P. Comes to the host in one copy.
        counts: boxes of each image (B), at most P. Of more than Q boxes Q are matched.

    Returns:
        The prediction of each box (B, P) and the box of each prediction (B, Q), -1: none; int64, on
        the device of the costs.
    """
    from scipy.optimize import linear_sum_assignment  # takes 0.2 s to import

    images, predictions, boxes = cost.shape
    matrices = np.nan_to_num(cost.detach().cpu().numpy(), nan=1e6, posinf=1e6, neginf=-1e6)
    matches = np.full((images, boxes + predictions), -1)
    for match, matrix, count in zip(matches, matrices, counts, strict=True):
        rows, columns = linear_sum_assignment(matrix[:, :count])
        match[columns] = rows
        match[boxes + rows] = columns
    moved = torch.from_numpy(matches).to(cost.device, non_blocking=True)
    return moved[:, :boxes], moved[:, boxes:]
