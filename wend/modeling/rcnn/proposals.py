"""The regions that an RPN proposes, of all images of a batch.

Shape letters: N = images, R = anchors of a feature map, K = those considered, the best; P =
proposals of an image at most.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from wend.modeling.layers.box_choice import apart, borders, cut_at
from wend.modeling.layers.box_selection import (
    best,
    best_first,
    not_suppressed,
    packed,
    take,
)
from wend.modeling.layers.image_batch import Size


@dataclass(frozen=True, eq=False)
class Proposals:
    """Proposals of N images, best first; what an image has fewer than P is none.

    Attributes:
        boxes: (N, P, 4) xyxy in pixels, inside of the image; 0 where there is no proposal.
        logits: (N, P), log-odds of the objectness (CLN: of the centreness); 0 where there is none.
        is_proposal: (N, P) bool, true for an image's own, which stand before the others.
        sizes: height and width of each image in pixels.
    """

    boxes: Tensor
    logits: Tensor
    is_proposal: Tensor
    sizes: Sequence[Size]

    def counts(self) -> list[int]:
        """Proposals of each image. Waits for the device."""
        return self.is_proposal.sum(1).tolist()


class ProposalLevel(NamedTuple):
    """What a region proposal network says on one feature map.

    Attributes:
        logits: (N, R), log-odds of the objectness.
        deltas: (N, R, 4), what moves the anchors.
        anchors: (R, 4), xyxy in pixels.
    """

    logits: Tensor
    deltas: Tensor
    anchors: Tensor


@dataclass(frozen=True)
class ProposalChoice:
    """How a region proposal network chooses its proposals.

    Attributes:
        most_per_level: considered of each feature map at most, the best.
        min_side: boxes with a shorter side are dropped; ``strictly``: also those of this side.
        max_iou: those that a better one of their map overlaps by more are suppressed.
        most: proposals of an image at most.
        order: log-odds -> the scores by which the boxes of several maps are put in order; None:
            the log-odds are.
        least: boxes that score less are dropped.
        only_finite: whether boxes and log-odds that are not finite are dropped, rather than cut to
            the image; NaN is in any case.
    """

    most_per_level: int
    min_side: float
    strictly: bool
    max_iou: float
    most: int
    order: Callable[[Tensor], Tensor] | None = None
    least: float | None = None
    only_finite: bool = True


def proposal_levels(
    logits: Sequence[Tensor], deltas: Sequence[Tensor], anchors: Sequence[Tensor]
) -> list[ProposalLevel]:
    """What a region proposal network says, in the order of the anchors.

    Args:
        logits: of each feature map (N, A, H, W), A anchors for each location.
        deltas: of each map (N, A·4, H, W).
        anchors: of each map (H·W·A, 4).
    """
    return [
        ProposalLevel(
            own_logits.permute(0, 2, 3, 1).flatten(1),
            own_deltas.unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3),
            own_anchors,
        )
        for own_logits, own_deltas, own_anchors in zip(logits, deltas, anchors, strict=True)
    ]


def choose_proposals(
    levels: Sequence[ProposalLevel],
    decode: Callable[[Tensor, Tensor], Tensor],
    choice: ProposalChoice,
    sizes: Sequence[Size],
    *,
    must_be_finite: bool = False,
) -> Proposals:
    """The best boxes of each feature map, decoded and suppressed, and of those the best.

    As Detectron2's ``find_top_rpn_proposals`` and torchvision's ``filter_proposals`` choose them.

    Args:
        levels: the network's output, finest map first.
        decode: deltas and anchors (N·K, 4) -> boxes (N·K, 4).
        choice: how many, and which.
        sizes: height and width of each image; one alone where they are all the same.
        must_be_finite: whether a box or log-odds that is not finite is an error; it waits for the
            device.

    Raises:
        FloatingPointError: see ``must_be_finite``.
    """
    all_logits, all_boxes = [], []
    for level in levels:
        logits, index = best(level.logits, choice.most_per_level)
        deltas, anchors = take(level.deltas, index), level.anchors[index]
        boxes = decode(deltas.flatten(0, 1), anchors.flatten(0, 1)).view(anchors.shape)
        all_logits.append(logits)
        all_boxes.append(boxes)
    counts = [each.shape[1] for each in all_logits]
    boxes, logits = torch.cat(all_boxes, 1), torch.cat(all_logits, 1)
    finite = boxes.isfinite().all(-1) & logits.isfinite()
    if must_be_finite and not bool(finite.all()):
        raise FloatingPointError(
            "Predicted boxes or scores contain Inf/NaN. Training has diverged."
        )
    boxes = cut_at(boxes, borders(sizes, boxes))
    sides = boxes[..., 2:] - boxes[..., :2]
    large = sides > choice.min_side if choice.strictly else sides >= choice.min_side
    usable = large.all(-1) & (finite if choice.only_finite else ~logits.isnan())
    scores = logits if choice.order is None else choice.order(logits)
    if choice.least is not None:
        usable = usable & (scores >= choice.least)
    compared = boxes
    if len(levels) > 1:
        of_level = np.repeat(np.arange(len(levels)), counts)
        compared = apart(boxes, usable, torch.from_numpy(of_level).to(boxes.device))
    of_levels = zip(compared.split(counts, 1), usable.split(counts, 1), counts, strict=True)
    all_kept = [
        not_suppressed(own, usable_, choice.max_iou, most=min(choice.most, count))
        for own, usable_, count in of_levels
    ]
    kept = torch.cat(all_kept, 1)
    if len(levels) > 1:
        _, logits, boxes, kept = best_first(scores, logits, boxes, kept)
    count = min(choice.most, logits.shape[1])
    boxes, logits, kept = packed(kept, count, boxes, logits, kept)
    return Proposals(boxes, logits, kept, sizes)
