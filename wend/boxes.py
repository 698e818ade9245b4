"""Box arithmetic on NumPy arrays and torch tensors alike; what comes in comes out.

Shape letters: N, M = numbers of boxes. A box is ``x0, y0, x1, y1`` in pixels, continuous (no "+1"),
the top left corner of the image at (0, 0), unless a name says otherwise.

Torchvision has some of these; it is not imported because importing ``torchvision.ops`` loads all
of ``torchvision.models``, and the core must stay light. The tests compare with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

Array = TypeVar("Array", np.ndarray, torch.Tensor)


def _namespace(x: Array):
    return torch if isinstance(x, torch.Tensor) else np


def xywh_to_xyxy(boxes: Array) -> Array:
    """``x, y, width, height`` (N, 4) to ``x0, y0, x1, y1`` (N, 4)."""
    x, y, w, h = (boxes[..., i] for i in range(4))
    return _namespace(boxes).stack([x, y, x + w, y + h], -1)


def xyxy_to_xywh(boxes: Array) -> Array:
    """``x0, y0, x1, y1`` (N, 4) to ``x, y, width, height`` (N, 4)."""
    x0, y0, x1, y1 = (boxes[..., i] for i in range(4))
    return _namespace(boxes).stack([x0, y0, x1 - x0, y1 - y0], -1)


def box_area(boxes: Array) -> Array:
    """Areas (N,) in square pixels; a box turned inside out has none."""
    return (boxes[..., 2] - boxes[..., 0]).clip(min=0) * (boxes[..., 3] - boxes[..., 1]).clip(min=0)


def clip_boxes(boxes: Array, width: float, height: float) -> Array:
    """Cut boxes (N, 4) at the frame ``0..width, 0..height``; one wholly outside gets no area."""
    x0, y0, x1, y1 = (boxes[..., i] for i in range(4))
    clipped = [x0.clip(0, width), y0.clip(0, height), x1.clip(0, width), y1.clip(0, height)]
    return _namespace(boxes).stack(clipped, -1)


def paired_iou(a: Array, b: Array) -> Array:
    """IoU of boxes ``a`` with boxes ``b``, shapes broadcast over all but the last dimension (4).

    Returns:
        Values in [0, 1]; 0 where either box has no area (never NaN).
    """
    xp = _namespace(a)
    width = xp.minimum(a[..., 2], b[..., 2]) - xp.maximum(a[..., 0], b[..., 0])
    height = xp.minimum(a[..., 3], b[..., 3]) - xp.maximum(a[..., 1], b[..., 1])
    intersection = width.clip(min=0) * height.clip(min=0)
    union = box_area(a) + box_area(b) - intersection
    return xp.where(intersection > 0, intersection / xp.where(union > 0, union, 1.0), 0.0)


def box_iou(a: Array, b: Array) -> Array:
    """IoU of every box of ``a`` (N, 4) with every box of ``b`` (M, 4): (N, M), as torchvision's."""
    return paired_iou(a[:, None, :], b[None, :, :])


@dataclass(frozen=True)
class Frame:
    """The axis-aligned map from an image's original pixels to a frame, and back.

    ``x' = scale_x · x + offset_x`` (likewise y), then ``x' -> width - x'`` if flipped. The fields
    are numbers, or arrays (N,) that map each of N boxes with its own image's scale.

    Attributes:
        width, height: the frame's size in its own pixels.
        scale_x, scale_y: frame pixels for each original pixel, > 0.
        offset_x, offset_y: frame position of the original's top left corner, before a flip.
        flip: mirrored left to right.
    """

    width: float
    height: float
    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float
    flip: bool = False

    def to_frame(self, boxes: Array) -> Array:
        """Boxes (N, 4) in original pixels to frame pixels, not clipped."""
        x0 = boxes[..., 0] * self.scale_x + self.offset_x
        x1 = boxes[..., 2] * self.scale_x + self.offset_x
        y0 = boxes[..., 1] * self.scale_y + self.offset_y
        y1 = boxes[..., 3] * self.scale_y + self.offset_y
        if self.flip:
            x0, x1 = self.width - x1, self.width - x0
        return _namespace(boxes).stack([x0, y0, x1, y1], -1)

    def to_original(self, boxes: Array) -> Array:
        """Boxes (N, 4) in frame pixels to original pixels: the inverse of :meth:`to_frame`."""
        x0, y0, x1, y1 = (boxes[..., i] for i in range(4))
        if self.flip:
            x0, x1 = self.width - x1, self.width - x0
        xs = [(x - self.offset_x) / self.scale_x for x in (x0, x1)]
        ys = [(y - self.offset_y) / self.scale_y for y in (y0, y1)]
        return _namespace(boxes).stack([xs[0], ys[0], xs[1], ys[1]], -1)


def resize_and_crop(
    width: float,
    height: float,
    resize: int = 256,
    crop: int = 224,
    *,
    left: int | None = None,
    top: int | None = None,
    flip: bool = False,
) -> Frame:
    """The paper's frame (appendix A): squash to ``resize``², then cut ``crop``² out.

    Args:
        width, height: the image's size in original pixels (numbers, or arrays (N,)).
        resize: side of the square that the image is squashed to; its aspect is not kept.
        crop: side of the square cut out of it, at most ``resize``.
        left, top: the crop's corner in the resized image, 0..resize-crop; the centre by default,
            rounded as torchvision's ``CenterCrop`` does.
        flip: mirrored after the crop.

    Raises:
        ValueError: the crop does not lie inside the resized image.
    """
    centre = round((resize - crop) / 2)
    left = centre if left is None else left
    top = centre if top is None else top
    if not 0 < crop <= resize:
        raise ValueError(f"expected 0 < crop <= resize, got crop {crop} and resize {resize}")
    if not (0 <= left <= resize - crop and 0 <= top <= resize - crop):
        raise ValueError(
            f"a crop of {crop}x{crop} at ({left}, {top}) does not lie inside the resized image of "
            f"{resize}x{resize}; expected corners in 0..{resize - crop}"
        )
    return Frame(crop, crop, resize / width, resize / height, -left, -top, flip)
