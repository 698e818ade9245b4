"""R-CNN's deltas: how far a box's centre and sides are from those of an anchor or a proposal.

Shape letters: ... = any dimensions, which broadcast.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def encoded(boxes: Tensor, truth: Tensor, weights: Sequence[float]) -> Tensor:
    """R-CNN's deltas (..., 4) from boxes to their truth, both (..., 4), xyxy.

    Args:
        boxes: with sides > 0.
        truth: with sides > 0.
        weights: of x, y, width and height.
    """
    sides, true_sides = boxes[..., 2:] - boxes[..., :2], truth[..., 2:] - truth[..., :2]
    moved = (truth[..., :2] + 0.5 * true_sides) - (boxes[..., :2] + 0.5 * sides)
    (x, y), (width, height) = moved.unbind(-1), sides.unbind(-1)
    grown = torch.log(true_sides / sides)
    parts = [
        weights[0] * x / width,
        weights[1] * y / height,
        weights[2] * grown[..., 0],
        weights[3] * grown[..., 1],
    ]
    return torch.stack(parts, -1)


def distances_to_sides(anchors: Tensor, truth: Tensor) -> Tensor:
    """From the anchors' centres to the left, top, right and bottom sides of their truth (..., 4).

    In sides of the anchor; negative where the centre is beyond a side.

    Args:
        anchors, truth: (..., 4), xyxy.
    """
    centres = 0.5 * (anchors[..., :2] + anchors[..., 2:])
    sides = anchors[..., 2:] - anchors[..., :2]
    distances = torch.cat([centres - truth[..., :2], truth[..., 2:] - centres], -1)
    return distances / torch.cat([sides, sides], -1)


def harmless(boxes: Tensor, chosen: Tensor) -> Tensor:
    """The chosen boxes; a unit square for the others, whose loss is to stay finite.

    Args:
        boxes: (..., 4).
        chosen: (...) bool.
    """
    square = torch.arange(4, device=boxes.device) >= 2  # of the device: a list would be copied
    return torch.where(chosen[..., None], boxes, square.to(boxes.dtype))
