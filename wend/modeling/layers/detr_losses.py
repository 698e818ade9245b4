"""The supervised losses of Deformable DETR with one foreground class.

Shape letters: D = layers of the decoder, N = images, Q = queries, P = boxes of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, distributed
from torch.nn.utils.rnn import pad_sequence

from wend.modeling.layers.box_matching import (
    centre_to_corners,
    focal_terms,
    generalized_iou,
    hungarian_matching,
    matching_cost,
)


def boxes_per_process(count: int, device: torch.device) -> Tensor:
    """Mean number of boxes per process over all processes, at least 1: a scalar."""
    total, processes = torch.tensor(float(count), device=device), 1
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(total)
        processes = distributed.get_world_size()
    return (total / processes).clamp(min=1)


class Supervised(NamedTuple):
    """L_sup of every decoder layer, with the labels and the number that it was computed with.

    Attributes:
        losses: ``loss_cls_d``, ``loss_l1_d`` and ``loss_giou_d`` of each layer d = 0 .. D - 1, with
            their weights; those of boxes are 0, with a gradient, where there is no box.
        labels: (D, N, Q) int64, 1 for queries that a box was matched to, else 0.
        num_boxes: a scalar, which the losses are divided by.
    """

    losses: dict[str, Tensor]
    labels: Tensor
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

    def __call__(self, logits: Tensor, boxes: Tensor, targets: Sequence[Tensor]) -> Supervised:
        """The losses, each summed over the batch and divided by its boxes (of all processes).

        Args:
            logits: foreground log-odds (D, N, Q). Half precision is computed in float32.
            boxes: (D, N, Q, 4), centre x, y, width and height in fractions of the image.
            targets: for each image (P, 4), in the same form; P may be 0.
        """
        dtype = torch.promote_types(logits.dtype, torch.float32)
        layers, logits, boxes = len(logits), logits.to(dtype), boxes.to(dtype)
        count = sum(len(target) for target in targets)
        num_boxes = boxes_per_process(count, logits.device)
        scale = 1 / num_boxes
        image, query, predicted, wanted = self._matches(logits, boxes, targets)
        is_matched = torch.zeros_like(logits, dtype=torch.bool).flatten(0, 1)
        is_matched[image, query] = True
        foreground, background = focal_terms(logits, self.alpha, self.gamma)
        classes = torch.where(is_matched.view_as(logits), foreground, background).sum((1, 2))
        distance = (predicted - wanted).abs().sum(-1)
        overlap = generalized_iou(centre_to_corners(predicted), centre_to_corners(wanted))
        by_layer = (layers, len(image) // layers)  # each layer has as many matches
        losses = {
            "loss_cls": self.class_weight * scale * classes,
            "loss_l1": self.l1_weight * scale * distance.view(by_layer).sum(1),
            "loss_giou": self.giou_weight * scale * (1 - overlap).view(by_layer).sum(1),
        }
        by_name = {f"{name}_{d}": losses[name][d] for name in losses for d in range(layers)}
        return Supervised(by_name, is_matched.view_as(logits).long(), num_boxes)

    def _matches(
        self, logits: Tensor, boxes: Tensor, targets: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Each match's index in (D·N), query, predicted and pseudo box (4), layer by layer."""
        padded = pad_sequence(
            [target.to(boxes) for target in targets], batch_first=True
        )  # (N, P, 4)
        with torch.no_grad():
            cost = matching_cost(
                logits,
                boxes,
                padded,
                class_cost=self.class_cost,
                l1_cost=self.l1_cost,
                giou_cost=self.giou_cost,
                alpha=self.alpha,
                gamma=self.gamma,
            )
        counts = [len(target) for target in targets] * len(logits)
        matches = hungarian_matching(cost.flatten(0, 1), counts)  # one copy to the CPU for all
        image, query, box = (index.to(boxes.device) for index in matches)
        return image, query, boxes.flatten(0, 1)[image, query], padded[image % len(targets), box]
