"""Detectron2's lists of ``Instances`` as tensors of a batch, and back.

Parts of Detectron2 and of its users take and return such lists; they are converted here, once,
where they meet ours.

Shape letters: N = images, P = most boxes of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import overload

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor

from wend.losses.padded_boxes import PaddedBoxes
from wend.modeling.layers.box_batch import BoxBatch
from wend.modeling.layers.image_batch import Size
from wend.modeling.rcnn.proposals import Proposals
from wend.modeling.rcnn.region_samples import RegionSamples


class Truth(Sequence[Instances]):
    """The boxes to learn of a training batch, as tensors; as Detectron2's list where it is read.

    Args:
        given: of each image with ``gt_boxes`` and ``gt_classes``, on any device.
        boxes: the same boxes on the detector's device.

    Attributes:
        boxes: as given.
    """

    def __init__(self, given: Sequence[Instances], boxes: PaddedBoxes) -> None:
        self.boxes = boxes
        self._given = given
        self._moved: dict[int, Instances] = {}

    @classmethod
    def of(cls, given: Sequence[Instances]) -> Truth:
        """Of instances that are on the detector's device."""
        if isinstance(given, cls):
            return given
        return cls(given, PaddedBoxes.of([each.gt_boxes.tensor for each in given]))

    @cached_property
    def classes(self) -> Tensor:
        """Classes (N, P) int64 of the boxes; 0 where an image has fewer than P."""
        index = self.boxes.index
        classes = torch.cat([each.gt_classes for each in self._given])
        if not len(classes):
            return torch.zeros_like(index)
        return classes.to(index.device, non_blocking=True)[index] * self.boxes.is_box

    @property
    def sizes(self) -> list[Size]:
        """Height and width of each image in pixels."""
        return [each.image_size for each in self._given]

    def __len__(self) -> int:
        return len(self._given)

    @overload
    def __getitem__(self, index: int) -> Instances: ...

    @overload
    def __getitem__(self, index: slice) -> list[Instances]: ...

    def __getitem__(self, index: int | slice) -> Instances | list[Instances]:
        """The instances of an image, on the detector's device."""
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        index = range(len(self))[index]
        if index not in self._moved:
            self._moved[index] = self._given[index].to(self.boxes.boxes.device)
        return self._moved[index]


def proposals_of(proposals: Proposals | Sequence[Instances]) -> Proposals:
    """Proposals of any generator, of Detectron2's with ``proposal_boxes``."""
    if isinstance(proposals, Proposals):
        return proposals
    boxes = PaddedBoxes.of([each.proposal_boxes.tensor for each in proposals])
    if all(each.has("objectness_logits") for each in proposals):
        logits = boxes.padded([each.objectness_logits for each in proposals])
    else:
        logits = boxes.boxes.new_zeros(boxes.is_box.shape)
    sizes = [each.image_size for each in proposals]
    return Proposals(boxes.boxes, logits, boxes.is_box, sizes)


def samples_of(samples: RegionSamples | Sequence[Instances], background: int) -> RegionSamples:
    """Samples of Detectron2's heads, with ``proposal_boxes``, ``gt_classes`` and ``gt_boxes``.

    Args:
        samples: of each image.
        background: its class.
    """
    if isinstance(samples, RegionSamples):
        return samples
    boxes = torch.cat([each.proposal_boxes.tensor for each in samples])
    truth = torch.cat(
        [
            (each.gt_boxes if each.has("gt_boxes") else each.proposal_boxes).tensor
            for each in samples
        ]
    )
    classes = torch.cat([each.gt_classes for each in samples])
    classes = torch.where(classes == background, -1, classes)
    counts = torch.tensor([len(each) for each in samples])
    image = torch.arange(len(counts)).repeat_interleave(counts).to(boxes.device, boxes.dtype)
    unknown = torch.full_like(classes, -1)
    regions = torch.cat([image[:, None], boxes], 1)
    none_counted = unknown.new_empty(len(samples), 0)
    return RegionSamples(regions, classes, truth, unknown, none_counted)


def instances_of(batch: BoxBatch, sizes: Sequence[Size]) -> list[Instances]:
    """Predicted boxes as Detectron2's detectors return them. Waits for the device.

    Args:
        batch: boxes in pixels of images of these sizes.
        sizes: height and width of each image.
    """
    classes = batch.classes
    if classes is None:
        classes = torch.zeros_like(batch.scores, dtype=torch.int64)
    return [
        Instances(
            size,
            pred_boxes=Boxes(batch.boxes[index, :count]),
            scores=batch.scores[index, :count],
            pred_classes=classes[index, :count],
        )
        for index, (size, count) in enumerate(zip(sizes, batch.counts(), strict=True))
    ]


def sampled_instances(
    samples: RegionSamples, truth: Truth, sizes: Sequence[Size], background: int
) -> list[Instances]:
    """Samples as Detectron2's own heads of masks and keypoints take them.

    Args:
        samples: of all images.
        truth: the boxes that they are matched with; whatever it says of them comes along.
        sizes: height and width of each image.
        background: its class.
    """
    image_index, result = samples.image_index, []
    for index, (size, own) in enumerate(zip(sizes, truth, strict=True)):
        rows = image_index == index
        classes = samples.classes[rows]
        image = Instances(size, proposal_boxes=Boxes(samples.boxes[rows]))
        image.gt_classes = torch.where(classes < 0, background, classes)
        if len(own):
            matched = samples.box_index[rows].clamp(min=0)
            for name, values in own.get_fields().items():
                if name.startswith("gt_") and not image.has(name):
                    image.set(name, values[matched])
        result.append(image)
    return result
