"""The boxes that a detector predicts of a batch, in one form for every detector and engine.

Shape letters: N = images, D = boxes of an image at most, B = kept boxes of all images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wend.structures.box_table import BoxTable


@dataclass(frozen=True, eq=False)
class BoxBatch:
    """Predicted boxes of N images, best first; what an image has fewer than D is not kept.

    Attributes:
        boxes: (N, D, 4) xyxy, in pixels of the images that the detector was given.
        scores: (N, D), in [0, 1].
        kept: (N, D) bool, true for an image's own boxes, which stand before the others.
        classes: (N, D) int64, index of each box's class; None: there is one class.
    """

    boxes: Tensor
    scores: Tensor
    kept: Tensor
    classes: Tensor | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def counts(self) -> list[int]:
        """Boxes of each image. Waits for the device."""
        return self.kept.sum(1).tolist()

    def on_host(self) -> BoxTable:
        """The kept boxes, by one copy from the device; they stay in their type of numbers.

        Waits for the device.
        """
        boxes = self.boxes.to(torch.promote_types(self.boxes.dtype, torch.float32))
        columns = [boxes, self.scores[..., None], self.kept[..., None]]
        if self.classes is not None:
            columns.append(self.classes[..., None])
        rows = torch.cat(columns, -1).detach().cpu().numpy()  # (N, D, 6 or 7)
        kept = rows[..., 5] > 0
        rows = rows[kept]
        return BoxTable(
            np.cumsum([0, *kept.sum(1)]),
            rows[:, :4],
            rows[:, 4].astype(np.float64),
            None if self.classes is None else rows[:, 6].astype(np.int64),
        )
