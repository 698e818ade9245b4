"""Which box each location is to learn, for all images of a batch at once.

The rules are those of Detectron2's FCOS and of torchvision's, which are the same.

Shape letters: N = images, P = most boxes of an image, R = locations of all levels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from wend.losses.padded_boxes import PaddedBoxes
from wend.modeling.fcos.locations import Locations

NEUTRAL = 2.0  # pixels from a location without a box to each side of the one that stands for it
PAIRS_AT_ONCE = 2**24  # of boxes and locations in memory together, unless an image has more


class Targets(NamedTuple):
    """What the locations of a batch are to learn.

    Attributes:
        box_index: (N, R) int64, index among the boxes of its image, -1: none, background.
        background: (N, R) bool.
        boxes: (N, R, 4), in outward form; of background a square around the location, so that what
            is computed of it is finite.
    """

    box_index: Tensor
    background: Tensor
    boxes: Tensor

    def classes(self, classes: Tensor) -> Tensor:
        """The class (N, R) of each location's box, of classes (N, P); any of background."""
        return _at_least_one(classes).gather(1, self.box_index.clamp(min=0))


def targets(truth: PaddedBoxes, locations: Locations, radius: float) -> Targets:
    """Match the locations of each image with its boxes.

    A location is for a box that it lies in, nearer to the box's centre than so many strides in x
    and in y, and of the scales of its level; for the smallest of several.

    Args:
        truth: boxes to learn, xyxy in pixels.
        locations: of the batch.
        radius: strides; where it is not positive, no location is for any box.
    """
    boxes = _at_least_one(truth.boxes).float()
    images, most = boxes.shape[:2]
    at_once = max(PAIRS_AT_ONCE // (most * max(len(locations.points), 1)), 1)
    parts = [_targets(part, locations, radius) for part in boxes.split(at_once)]
    if images <= at_once:
        return parts[0]
    return Targets(*(torch.cat(part) for part in zip(*parts, strict=True)))


@torch.no_grad()
def _targets(boxes: Tensor, locations: Locations, radius: float) -> Targets:
    outward = boxes * locations.signs  # (N, P, 4)
    # where there is no box all is 0, and no location lies in that
    nearest, farthest = (outward[:, :, None] - locations.points).aminmax(dim=3)  # (N, P, R)
    centres = (boxes[..., :2] + boxes[..., 2:]) / 2
    off = (locations.middles[:, :2] - centres[:, :, None]).abs().amax(3)
    matches = (nearest > 0) & (off < radius * locations.sides[:, 0])
    matches &= (farthest > locations.lower) & (farthest < locations.upper)
    areas = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    # the libraries' own way to the smallest: which box comes first of several depends on it
    quality, index = (matches * (1e8 - areas)[..., None]).max(1)
    background = quality < 1e-5
    matched = outward.gather(1, index[..., None].expand(-1, -1, 4))
    matched = torch.where(background[..., None], locations.points + NEUTRAL, matched)
    return Targets(index.masked_fill(background, -1), background, matched)


def _at_least_one(rows: Tensor) -> Tensor:
    """Rows (N, P, ...); (N, 1, ...) zeros where P is 0."""
    return rows if rows.shape[1] else rows.new_zeros(len(rows), 1, *rows.shape[2:])
