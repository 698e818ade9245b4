"""Boxes to learn that no R-CNN can learn: those without an area."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wend.errors import InputError


def check_areas(boxes: Sequence[Tensor], image_ids: Sequence[object]) -> None:
    """Refuse boxes without an area, as torchvision's detectors do.

    No anchor overlaps one, so that a region proposal network would take every anchor that overlaps
    nothing for its best, and the logarithm of its sides is infinite. Waits for the device where the
    boxes are on one; a loader's are not.

    Args:
        boxes: of each image (P, 4), xyxy in pixels; P may be 0.
        image_ids: of the same images, None for one without.

    Raises:
        InputError: a box with a side that is not > 0, or no number.
    """
    rows = torch.cat([*boxes])
    if not len(rows) or (rows[:, 2:] - rows[:, :2]).amin().item() > 0:
        return
    for index, (each, image_id) in enumerate(zip(boxes, image_ids, strict=True)):
        flat = ~(each[:, 2:] > each[:, :2]).all(1)
        if flat.any():
            name = f"image {index} of the batch" if image_id is None else f"image {image_id}"
            raise InputError(
                f"{name}: expected boxes to learn with x0 < x1 and y0 < y1, got "
                f"{each[flat][0].tolist()}; a mapper has to leave such boxes out, as ours do"
            )
