"""Which box to learn each anchor or proposal belongs to, for all images of a batch at once.

The rules are those of Detectron2's ``Matcher`` and of torchvision's, which are the same.

Shape letters: N = images, P = most boxes of an image, R = anchors or proposals of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from wend.losses.box_iou import pairwise_iou
from wend.losses.padded_boxes import PaddedBoxes

PAIRS_AT_ONCE = 2**24  # whose IoU is in memory together, unless an image has more


class Matches(NamedTuple):
    """What anchors or proposals are matched with.

    Attributes:
        box_index: (N, R) int64, the box of its image with the largest IoU, the first of
            equal ones; 0 in an image without boxes.
        labels: (N, R) int64: 1 positive, 0 negative, -1 ignored.
    """

    box_index: Tensor
    labels: Tensor


def match(
    truth: PaddedBoxes,
    boxes: Tensor,
    *,
    thresholds: Sequence[float],
    labels: Sequence[int],
    low_quality: bool = False,
) -> Matches:
    """Match anchors or proposals with the boxes of their images.

    Args:
        truth: boxes to learn.
        boxes: (N, R, 4), or (R, 4) where all images have the same ones, xyxy.
        thresholds: IoU, ascending.
        labels: of boxes whose largest IoU is less than the first threshold, then of those at or
            above each: one more than thresholds. In an image without boxes all have the first.
        low_quality: whether the boxes that have the largest IoU with a box to learn, all of them
            where several have it, are positive whatever that IoU is, even 0. They stay matched with
            the box that they overlap most.
    """
    images, most = truth.is_box.shape
    count = boxes.shape[-2]
    if not most or not count:
        index = truth.index.new_zeros(images, count)
        return Matches(index, index + labels[0])
    at_once = max(PAIRS_AT_ONCE // (most * count), 1)
    shared = boxes.dim() == 2
    parts = [
        _match(
            truth.boxes[start : start + at_once],
            truth.is_box[start : start + at_once],
            boxes if shared else boxes[start : start + at_once],
            thresholds,
            labels,
            low_quality,
        )
        for start in range(0, images, at_once)
    ]
    if len(parts) == 1:
        return parts[0]
    return Matches(*(torch.cat(part) for part in zip(*parts, strict=True)))


def _match(
    truth: Tensor,
    is_box: Tensor,
    boxes: Tensor,
    thresholds: Sequence[float],
    labels: Sequence[int],
    low_quality: bool,
) -> Matches:
    # less than any IoU where there is no box
    iou = torch.where(is_box[..., None], pairwise_iou(truth, boxes), -1.0)  # (N, P, R)
    largest, index = iou.max(1)
    label = torch.full_like(index, labels[0])
    for threshold, other in zip(thresholds, labels[1:], strict=True):
        label = label.masked_fill(largest >= threshold, other)
    if low_quality:
        of_box = torch.where(is_box, iou.amax(2), 2.0)  # (N, P); 2: no IoU is
        label = label.masked_fill((iou == of_box[..., None]).any(1), 1)
    return Matches(index, label)
