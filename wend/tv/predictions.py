"""What a detector predicts of a batch, as torchvision's detectors return it and in one table.

Shape letters: P = boxes of an image, B = boxes of all images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from wend.modeling.layers.box_batch import BoxBatch
from wend.structures.box_table import BoxTable
from wend.structures.late_list import LateList

Outputs = Sequence[dict[str, Tensor]]  # of each image boxes (P, 4), scores (P,) and labels (P,)


class Predictions(LateList[dict[str, Tensor]]):
    """For each of N images a dict of boxes, scores and labels, as of any detector of torchvision.

    The dicts are made when one is read, on the detector's device, and stay as their readers leave
    them. :attr:`table` has all boxes at once, on the host.

    Args:
        batch: the boxes, in pixels of the images.
        label: of boxes where there is one class.
    """

    def __init__(self, batch: BoxBatch, label: int) -> None:
        super().__init__(len(batch))
        self._batch, self._label = batch, label

    def make(self) -> Iterator[dict[str, Tensor]]:
        """The dict of each image, which holds the kept boxes alone."""
        batch, counts = self._batch, self._batch.counts()
        boxes, scores = batch.boxes[batch.kept], batch.scores[batch.kept]
        if batch.classes is None:
            labels = torch.full_like(scores, self._label, dtype=torch.int64)
        else:
            labels = batch.classes[batch.kept]
        each = (column.split(counts) for column in (boxes, scores, labels))
        for of_image in zip(*each, strict=True):
            yield dict(zip(("boxes", "scores", "labels"), of_image, strict=True))

    @property
    def table(self) -> BoxTable:
        """Boxes (B, 4) and scores (B,) of all images, as they stand in the dicts, if any was read.

        Waits for the device.
        """
        return _table(self) if self.is_made else self._batch.on_host()


def table_of(outputs: Outputs) -> BoxTable:
    """Boxes (B, 4) and scores (B,) of what any detector of torchvision's returns, on the host.

    They are in pixels of the images; boxes of half precision as float32.
    """
    return outputs.table if isinstance(outputs, Predictions) else _table(outputs)


def _table(outputs: Outputs) -> BoxTable:
    boxes = torch.cat([output["boxes"] for output in outputs])
    scores = torch.cat([output["scores"] for output in outputs])
    return BoxTable(
        np.cumsum([0, *(len(output["boxes"]) for output in outputs)]),
        boxes.to(torch.promote_types(boxes.dtype, torch.float32)).detach().cpu().numpy(),
        scores.detach().double().cpu().numpy(),
    )
