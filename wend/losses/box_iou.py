"""Intersection over union of tensors, in few operations, with finite gradients.

:func:`wend.structures.boxes.paired_iou` is the same for NumPy and torch, in twice as many.
"""

from __future__ import annotations

import torch
from torch import Tensor


def paired_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """IoU (...) of boxes and others (..., 4), xyxy, broadcast; 0 where they share no area."""
    low = torch.maximum(boxes[..., :2], others[..., :2])
    high = torch.minimum(boxes[..., 2:], others[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    areas, other_areas = ((each[..., 2:] - each[..., :2]).prod(-1) for each in (boxes, others))
    union = (areas + other_areas - shared).clamp(min=torch.finfo(shared.dtype).tiny)
    return shared / union


def pairwise_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """IoU of boxes (N, P, 4) and others (N, R, 4) or (R, 4), xyxy -> (N, P, R)."""
    return paired_iou(boxes[..., :, None, :], others[..., None, :, :])
