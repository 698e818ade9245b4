"""The losses of region proposal networks on the sampled anchors of a batch.

They are those of Detectron2's ``RPN``, of torchvision's ``RegionProposalNetwork`` and of OLN's RPN
(CLN). All are sums, which the detector divides as it does; anchors that are not sampled are masked
and not left out, which would wait for the device.

Shape letters: N = images, R = anchors of an image.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from wend.losses.box_iou import paired_iou
from wend.modeling.rcnn.box_deltas import distances_to_sides, harmless
from wend.modeling.rcnn.head_losses import smooth_l1


def objectness_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross entropy of the sampled anchors, summed.

    Args:
        logits: (N, R) log-odds of the objectness.
        labels: (N, R): 1 positive, 0 negative, -1 not sampled.
    """
    sampled = labels >= 0
    logits = torch.where(sampled, logits, 0.0).float()  # what is not sampled may be no number
    losses = F.binary_cross_entropy_with_logits(logits, (labels > 0).float(), reduction="none")
    return torch.where(sampled, losses, 0.0).sum()


def anchor_delta_loss(
    deltas: Tensor,
    anchors: Tensor,
    truth: Tensor,
    is_positive: Tensor,
    encode: Callable[[Tensor, Tensor], Tensor],
    beta: float,
) -> Tensor:
    """:func:`smooth_l1` of the positive anchors' deltas, summed.

    Args:
        deltas: (N, R, 4) predicted.
        anchors: (R, 4), xyxy.
        truth: (N, R, 4) the box that each is matched with.
        is_positive: (N, R) bool.
        encode: anchors and boxes (N·R, 4) -> deltas (N·R, 4).
        beta: see :func:`smooth_l1`.
    """
    chosen = is_positive[..., None]
    sources = anchors.expand(len(truth), -1, -1).flatten(0, 1)
    targets = encode(sources, harmless(truth, is_positive).flatten(0, 1)).view(truth.shape)
    losses = smooth_l1(torch.where(chosen, deltas, 0.0).float(), targets, beta)
    return torch.where(chosen, losses, 0.0).sum()


def anchor_box_loss(
    deltas: Tensor,
    anchors: Tensor,
    truth: Tensor,
    is_positive: Tensor,
    decode: Callable[[Tensor, Tensor], Tensor],
    loss: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """A loss of the positive anchors' decoded boxes, summed.

    Args:
        deltas, anchors, truth, is_positive: see :func:`anchor_delta_loss`.
        decode: deltas and anchors (N·R, 4) -> boxes (N·R, 4).
        loss: predicted and true boxes (N·R, 4) -> (N·R,).
    """
    deltas = torch.where(is_positive[..., None], deltas, 0.0).flatten(0, 1)
    boxes = decode(deltas, anchors.expand(len(truth), -1, -1).flatten(0, 1))
    losses = loss(boxes, harmless(truth, is_positive).flatten(0, 1))
    return torch.where(is_positive.flatten(), losses, 0.0).sum()


def centreness(distances: Tensor) -> Tensor:
    """Centreness of points in their boxes: 1 in the centre, 0 on the sides and outside.

    ``sqrt(min(l, r) / max(l, r) · min(t, b) / max(t, b))``: of UniDetector's
    ``mmdet/models/dense_heads/oln_rpn_head.py`` (at eb182535) lines 350-364.

    Args:
        distances: (..., 4) from each point to the left, top, right and bottom side, in any unit.

    Returns:
        (...) in [0, 1].
    """
    sides = distances.clamp(min=0).unflatten(-1, (2, 2))  # 2 ends, 2 axes: l, t and r, b
    ratio = sides.amin(-2) / sides.amax(-2).clamp(min=1e-12)
    return ratio.prod(-1).sqrt()


def centreness_losses(
    logits: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    truth: Tensor,
    is_positive: Tensor,
    decode: Callable[[Tensor, Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """L1 of the positive anchors' centreness, and 1 - IoU of their boxes: both summed.

    The boxes of anchors whose centre is outside have no loss: no distances >= 0 reach them.

    Args:
        logits: (N, R) log-odds of the centreness.
        deltas: (N, R, 4) distances to the sides.
        anchors, truth, is_positive, decode: see :func:`anchor_box_loss`.
    """
    distances = distances_to_sides(anchors, truth)
    errors = (torch.where(is_positive, logits, 0.0).sigmoid() - centreness(distances)).abs()
    inside = is_positive & (distances.amin(-1) > 0)
    located = anchor_box_loss(
        deltas, anchors, truth, inside, decode, lambda boxes, true: 1 - paired_iou(boxes, true)
    )
    return torch.where(is_positive, errors, 0.0).sum(), located
