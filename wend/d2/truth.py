"""The boxes to learn of a batch, as one tensor and as Detectron2's list of ``Instances``.

Shape letters: N = images, P = most boxes of an image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from detectron2.structures import Boxes, Instances
from torch import Tensor

from wend.losses.padded_boxes import PaddedBoxes
from wend.modeling.layers.image_batch import Size


@dataclass(frozen=True, eq=False)
class Truth(Sequence[Instances]):
    """Boxes to learn of N images; an image's ``Instances`` are made when they are asked for.

    Attributes:
        padded: the boxes.
        sizes: height and width of each image in pixels.
        classes: (N, P) int64 index of each box's class, anything where there is no box; None: all
            are of class 0.
    """

    padded: PaddedBoxes
    sizes: Sequence[Size]
    classes: Tensor | None = None

    @classmethod
    def of(cls, instances: Iterable[Instances]) -> Truth:
        """Of Detectron2's ``Instances`` with ``gt_boxes``, and perhaps ``gt_classes``."""
        if isinstance(instances, cls):
            return instances
        images = list(instances)
        padded = PaddedBoxes.of([image.gt_boxes.tensor for image in images])
        has_classes = all(image.has("gt_classes") for image in images)
        classes = padded.padded([image.gt_classes for image in images]) if has_classes else None
        return cls(padded, [image.image_size for image in images], classes)

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        count = self.padded.counts[index]
        boxes = self.padded.boxes[index, :count]
        if self.classes is None:
            classes = self.padded.index.new_zeros(count)
        else:
            classes = self.classes[index, :count]
        return Instances(self.sizes[index], gt_boxes=Boxes(boxes), gt_classes=classes)
