"""How samples overlap the pseudo boxes of their images, for all images of a batch at once.

Shape letters: S = samples, N = images, P = most boxes of an image.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from wend.errors import InputError
from wend.losses.context import LossContext


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Areas in square pixels; 0 where an image has fewer than P boxes.

    Attributes:
        inner: (S, P) of what a sample's box and a pseudo box share.
        sample: (S, 1) of the samples' boxes.
        box: (S, P) of the pseudo boxes.
    """

    inner: Tensor
    sample: Tensor
    box: Tensor

    def iou(self) -> Tensor:
        """Intersection over union (S, P), in [0, 1]; 0 of two boxes without area."""
        union = self.sample + self.box - self.inner
        return self.inner / union.clamp(min=torch.finfo(union.dtype).tiny)

    def of_sample(self) -> Tensor:
        """The share of a sample's box that lies in each pseudo box (S, P), in [0, 1]."""
        return self.inner / self.sample.clamp(min=torch.finfo(self.sample.dtype).tiny)


def overlaps(context: LossContext, name: str, *, grow: float = 1.0) -> Overlaps:
    """The overlaps of a context's samples with the boxes of their images.

    Args:
        context: samples with boxes, and their images.
        name: who asks, for the error.
        grow: the pseudo boxes are so many times as wide and high, about their centres.

    Raises:
        InputError: the detector does not say where its samples are.
    """
    if context.sample_boxes is None or context.image_index is None:
        raise InputError(f"{name}: the detector does not say which boxes its samples have")
    samples = context.sample_boxes.float()
    boxes = per_sample(context, context.images.padded.boxes).float()
    if grow != 1:
        centre, half = (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]) / 2
        boxes = torch.cat([centre - grow * half, centre + grow * half], -1)
    low = torch.maximum(samples[:, None, :2], boxes[..., :2])
    high = torch.minimum(samples[:, None, 2:], boxes[..., 2:])
    return Overlaps((high - low).clamp(min=0).prod(-1), _areas(samples)[:, None], _areas(boxes))


def per_sample(context: LossContext, values: Tensor) -> Tensor:
    """Values of the boxes of each sample's image (S, P, ...).

    Args:
        context: the samples.
        values: those of each image's boxes (N, P, ...).
    """
    index = context.image_index
    assert index is not None
    if not len(values):  # no images are known
        return values.new_zeros(len(index), 0, *values.shape[2:], device=index.device)
    return values[index]


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)
