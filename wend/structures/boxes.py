"""Box arithmetic on NumPy arrays and torch tensors alike; what comes in comes out.

Shape letters: N, M = numbers of boxes. A box is ``x0, y0, x1, y1`` in pixels, continuous (no "+1"),
the top left corner of the image at (0, 0), unless a name says otherwise.

Torchvision has some of these; it is not imported because importing ``torchvision.ops`` loads all
of ``torchvision.models``, and the core must stay light. The tests compare with it.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

Array = TypeVar("Array", np.ndarray, "torch.Tensor")


def array_namespace(x: Array) -> ModuleType:
    """The module, torch or NumPy, whose functions an array takes; torch is not imported for it."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(x, torch.Tensor) else np


def xywh_to_xyxy(boxes: Array) -> Array:
    """``x, y, width, height`` (N, 4) to ``x0, y0, x1, y1`` (N, 4)."""
    x, y, w, h = (boxes[..., i] for i in range(4))
    return array_namespace(boxes).stack([x, y, x + w, y + h], -1)


def xyxy_to_xywh(boxes: Array) -> Array:
    """``x0, y0, x1, y1`` (N, 4) to ``x, y, width, height`` (N, 4)."""
    x0, y0, x1, y1 = (boxes[..., i] for i in range(4))
    return array_namespace(boxes).stack([x0, y0, x1 - x0, y1 - y0], -1)


def box_area(boxes: Array) -> Array:
    """Areas (N,) in square pixels; a box turned inside out has none."""
    return (boxes[..., 2] - boxes[..., 0]).clip(min=0) * (boxes[..., 3] - boxes[..., 1]).clip(min=0)


def clip_boxes(boxes: Array, width: float, height: float) -> Array:
    """Cut boxes (N, 4) at the frame ``0..width, 0..height``; one wholly outside gets no area."""
    if isinstance(boxes, np.ndarray):  # in one call, since it is made for each image that is read
        ends = np.array((width, height) * 2, np.result_type(boxes, width, height))
        return boxes.clip(0, ends)
    x0, y0, x1, y1 = (boxes[..., i] for i in range(4))
    clipped = [x0.clip(0, width), y0.clip(0, height), x1.clip(0, width), y1.clip(0, height)]
    return array_namespace(boxes).stack(clipped, -1)


def paired_iou(a: Array, b: Array) -> Array:
    """IoU of boxes ``a`` with boxes ``b``, shapes broadcast over all but the last dimension (4).

    Returns:
        Values in [0, 1]; 0 where either box has no area (never NaN).
    """
    xp = array_namespace(a)
    width = xp.minimum(a[..., 2], b[..., 2]) - xp.maximum(a[..., 0], b[..., 0])
    height = xp.minimum(a[..., 3], b[..., 3]) - xp.maximum(a[..., 1], b[..., 1])
    intersection = width.clip(min=0) * height.clip(min=0)
    union = box_area(a) + box_area(b) - intersection
    return xp.where(intersection > 0, intersection / xp.where(union > 0, union, 1.0), 0.0)


def box_iou(a: Array, b: Array) -> Array:
    """IoU of every box of ``a`` (N, 4) with every box of ``b`` (M, 4): (N, M), as torchvision's."""
    return paired_iou(a[:, None, :], b[None, :, :])
