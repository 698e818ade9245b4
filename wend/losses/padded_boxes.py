"""Boxes of the images of a batch as one tensor.

Shape letters: N = images, P = most boxes of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class PaddedBoxes:
    """Boxes of N images, those of an image first.

    Attributes:
        boxes: (N, P, 4) xyxy; 0 where an image has fewer than P.
        is_box: (N, P) bool, false there.
        counts: boxes of each image.
        index: (N, P) int64, where a box stands among those of all images; 0 where there is none.
    """

    boxes: Tensor
    is_box: Tensor
    counts: tuple[int, ...]
    index: Tensor

    @classmethod
    def of(cls, boxes: Sequence[Tensor]) -> PaddedBoxes:
        """Pad boxes of each image (its boxes, 4), on one device, in a fixed number of operations.

        Raises:
            ValueError: there is no image.
        """
        if not len(boxes):
            raise ValueError("expected the boxes of at least one image, got none")
        counts = [len(each) for each in boxes]
        device = boxes[0].device
        places = np.arange(max(counts))
        is_box = places < np.array(counts)[:, None]
        starts = np.cumsum([0, *counts[:-1]])[:, None]
        index = np.where(is_box, starts + places, 0)
        moved = torch.from_numpy(np.stack([index, is_box])).to(device, non_blocking=True)
        index_, is_box_ = moved[0], moved[1].bool()
        if not sum(counts):
            return cls(boxes[0].new_zeros(*is_box.shape, 4), is_box_, tuple(counts), index_)
        padded = torch.cat([*boxes])[index_] * is_box_[..., None]
        return cls(padded, is_box_, tuple(counts), index_)

    @classmethod
    def none(cls, images: int) -> PaddedBoxes:
        """Of so many images, for which no boxes are given."""
        index = torch.zeros(images, 0, dtype=torch.int64)
        return cls(torch.zeros(images, 0, 4), index.bool(), (0,) * images, index)

    def padded(self, values: Sequence[Tensor]) -> Tensor:
        """Values of each image's boxes (its boxes, ...) as (N, P, ...), 0 where there is none.

        Args:
            values: of the same images' boxes, one for each, numbers.
        """
        if not len(values):
            return self.boxes.new_zeros(self.is_box.shape)
        if not sum(self.counts):
            return values[0].new_zeros(*self.is_box.shape, *values[0].shape[1:])
        rows = torch.cat([*values])[self.index]
        mask = self.is_box.reshape(*self.is_box.shape, *(1,) * (rows.dim() - 2))
        return torch.where(mask, rows, torch.zeros((), dtype=rows.dtype, device=rows.device))
