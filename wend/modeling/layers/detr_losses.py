"""The supervised losses of Deformable DETR with one foreground class.

Shape letters: D = layers of the decoder, N = images, Q = queries, P = boxes of an image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from wend.losses import counts_per_process
from wend.losses.padded_boxes import PaddedBoxes
from wend.modeling.layers.box_matching import (
    centre_to_corners,
    focal_terms,
    generalized_iou,
    hungarian_matching,
    matching_cost,
)


class Matches(NamedTuple):
    """The boxes to learn that the queries of every decoder layer are matched with.

    Attributes:
        query: (D, N, P) int64, index of each box's query, 0 where it has none.
        is_matched: (D, N, P) bool, false there.
        wanted: (N, P, 4), the boxes to learn.
        labels: (D, N, Q) int64, 1 for queries that a box was matched to, else 0.
        box_index: (D, N, Q) int64, which of its image's boxes that is, -1 none.
        num_boxes: a scalar, which the losses are divided by: the mean over the processes.
    """

    query: Tensor
    is_matched: Tensor
    wanted: Tensor
    labels: Tensor
    box_index: Tensor
    num_boxes: Tensor


@dataclass(frozen=True, kw_only=True)
class DETRLosses:
    """Hungarian matching and losses of every decoder layer.

    Attributes:
        class_cost, l1_cost, giou_cost: see :func:`wend.modeling.layers.box_matching.matching_cost`.
        class_weight, l1_weight, giou_weight: weights of the losses.
        alpha, gamma: α and γ of the focal loss.
    """

    class_cost: float = 2.0
    l1_cost: float = 5.0
    giou_cost: float = 2.0
    class_weight: float = 2.0
    l1_weight: float = 5.0
    giou_weight: float = 2.0
    alpha: float = 0.25
    gamma: float = 2.0

    def __call__(self, logits: Tensor, boxes: Tensor, targets: PaddedBoxes) -> dict[str, Tensor]:
        """:meth:`losses` of the :meth:`match`."""
        return self.losses(logits, boxes, self.match(logits, boxes, targets))

    def losses(self, logits: Tensor, boxes: Tensor, matches: Matches) -> dict[str, Tensor]:
        """The losses, each summed over the batch and divided by its boxes (of all processes).

        Args:
            logits: foreground log-odds (D, N, Q). Half precision is computed in float32.
            boxes: (D, N, Q, 4), centre x, y, width and height in fractions of the image.
            matches: the result of :meth:`match`.

        Returns:
            ``loss_cls_d``, ``loss_l1_d`` and ``loss_giou_d`` of each layer d = 0 .. D - 1, with
            their weights; those of boxes are 0, with a gradient, where there is no box.
        """
        logits, boxes = _at_least_float32(logits, boxes)
        scale = 1 / matches.num_boxes
        foreground, background = focal_terms(logits, self.alpha, self.gamma)
        classes = torch.where(matches.labels == 1, foreground, background).sum((1, 2))
        predicted = boxes.gather(2, matches.query[..., None].expand(-1, -1, -1, 4))  # (D, N, P, 4)
        distance = (predicted - matches.wanted).abs().sum(-1)
        overlap = generalized_iou(centre_to_corners(predicted), centre_to_corners(matches.wanted))
        distance, excess = (
            torch.where(matches.is_matched, each, 0.0).sum((1, 2))
            for each in (distance, 1 - overlap)
        )
        losses = {
            "loss_cls": self.class_weight * scale * classes,
            "loss_l1": self.l1_weight * scale * distance,
            "loss_giou": self.giou_weight * scale * excess,
        }
        return {f"{name}_{d}": losses[name][d] for name in losses for d in range(len(logits))}

    @torch.no_grad()
    def match(self, logits: Tensor, boxes: Tensor, targets: PaddedBoxes) -> Matches:
        """The cheapest matches of every layer, and the boxes of all processes.

        Args:
            logits, boxes: see :meth:`losses`.
            targets: in the form of ``boxes``.
        """
        logits, boxes = _at_least_float32(logits, boxes)
        wanted = targets.boxes.to(boxes)
        cost = matching_cost(
            logits,
            boxes,
            wanted,
            class_cost=self.class_cost,
            l1_cost=self.l1_cost,
            giou_cost=self.giou_cost,
            alpha=self.alpha,
            gamma=self.gamma,
        )
        query, box = hungarian_matching(cost.flatten(0, 1), targets.counts * len(logits))
        query, box = query.view(*logits.shape[:2], -1), box.view(logits.shape)
        return Matches(
            query.clamp(min=0),
            query >= 0,
            wanted,
            (box >= 0).long(),
            box,
            counts_per_process(sum(targets.counts), device=logits.device)[0],
        )


def _at_least_float32(logits: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return logits.to(dtype), boxes.to(dtype)
