"""Detectron2's region proposal network for a whole batch at once.

Detectron2's own labels, draws and suppresses image by image; here the functions of
:mod:`wend.modeling.rcnn` do it, with the same results.

Shape letters: N = images, R = anchors of all feature maps, P = proposals of an image at most.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import torch
from detectron2.config import configurable
from detectron2.layers import ciou_loss, diou_loss
from detectron2.modeling import PROPOSAL_GENERATOR_REGISTRY
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.proposal_generator import RPN
from detectron2.structures import Boxes, ImageList, Instances
from detectron2.utils.events import get_event_storage
from fvcore.nn import giou_loss
from torch import Tensor

from wend.d2.instances import Truth
from wend.d2.log_window import is_line_due
from wend.errors import InputError
from wend.modeling.hooks import check_hooks
from wend.modeling.layers.box_selection import take
from wend.modeling.layers.image_batch import Size
from wend.modeling.layers.per_map_size import PerMapSize
from wend.modeling.rcnn.box_deltas import encoded
from wend.modeling.rcnn.matching import match
from wend.modeling.rcnn.proposals import (
    ProposalChoice,
    ProposalLevel,
    Proposals,
    choose_proposals,
    proposal_levels,
)
from wend.modeling.rcnn.rpn_losses import anchor_box_loss, anchor_delta_loss, objectness_loss
from wend.modeling.rcnn.sampling import subsample

REPLACED = {  # Detectron2's methods that go image by image, by what stands for them
    "label_and_sample_anchors": ("_subsample_labels",),
    "predict_proposals": ("_decode_proposals",),
}
BOX_LOSSES = {"giou": giou_loss, "diou": diou_loss, "ciou": ciou_loss}


def encoder(transform: Any) -> Callable[[Tensor, Tensor], Tensor]:
    """Boxes and their truth (B, 4) -> deltas (B, 4), of a transform of Detectron2's or a user's."""
    if type(transform) is Box2BoxTransform:  # whose own waits to see whether the boxes have sides
        return partial(encoded, weights=transform.weights)
    return transform.get_deltas


class ProposedInstances(Proposals, Sequence[Instances]):
    """Proposals that are Detectron2's list of ``Instances``, each made when it is asked for."""

    @classmethod
    def of(cls, proposals: Proposals) -> ProposedInstances:
        """The same proposals."""
        return cls(proposals.boxes, proposals.logits, proposals.is_proposal, proposals.sizes)

    @cached_property
    def _counts(self) -> list[int]:
        return self.counts()

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        count = self._counts[index]
        return Instances(
            self.sizes[index],
            proposal_boxes=Boxes(self.boxes[index, :count]),
            objectness_logits=self.logits[index, :count],
        )


@PROPOSAL_GENERATOR_REGISTRY.register()
class BatchedRPN(RPN):
    """Detectron2's ``RPN``, whose operations do not grow with the batch.

    Parameters, config entries and methods are Detectron2's, so that a subclass may override what it
    would override there. What the methods take and return as lists of images are views of one
    tensor: ``Truth``, ``ProposedInstances``, or tensors that ``torch.stack`` puts together again.
    Random samples are drawn otherwise, as likely as Detectron2's. ``rpn/num_pos_anchors`` and
    ``rpn/num_neg_anchors`` are those of the step whose line of the log is written.

    Args:
        rpn: arguments of Detectron2's ``RPN``.
    """

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        check_hooks(cls, BatchedRPN, REPLACED)

    @configurable
    def __init__(self, **rpn: Any) -> None:
        super().__init__(**rpn)
        self._known_anchors = PerMapSize[list[Boxes]]()

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        gt_instances: Sequence[Instances] | None = None,
    ) -> tuple[Sequence[Instances], dict[str, Tensor]]:
        """Proposals, and losses in training; see Detectron2's.

        Args:
            images: their ``image_sizes`` alone are used.
            features: feature maps by name.
            gt_instances: boxes to learn of each image, for training.
        """
        maps = [features[name] for name in self.in_features]
        anchors = self._anchors(maps)
        head_logits, head_deltas = self.rpn_head(maps)
        levels = proposal_levels(head_logits, head_deltas, [each.tensor for each in anchors])
        logits, deltas = [each.logits for each in levels], [each.deltas for each in levels]
        losses: dict[str, Tensor] = {}
        if self.training:
            assert gt_instances is not None, "an RPN needs gt_instances in training"
            labels, truth = self.label_and_sample_anchors(anchors, gt_instances)
            losses = self.losses(anchors, logits, labels, deltas, truth)
        return self.predict_proposals(anchors, logits, deltas, images.image_sizes), losses

    def _anchors(self, maps: list[Tensor]) -> list[Boxes]:
        """The anchors of each map."""
        generator = self.anchor_generator
        if type(generator) is not DefaultAnchorGenerator:  # a user's may depend on anything
            return generator(maps)
        precision = next(generator.buffers()).dtype
        return self._known_anchors.of(maps, partial(generator, maps), precision)

    @torch.no_grad()
    def label_and_sample_anchors(
        self, anchors: list[Boxes], gt_instances: Sequence[Instances]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Labels (R,) 1, 0 or -1 (not sampled) and matched boxes (R, 4) of each image's anchors."""
        truth = Truth.of(gt_instances)
        all_anchors = Boxes.cat(anchors)
        matcher = self.anchor_matcher
        matches = match(
            truth.boxes,
            all_anchors.tensor,
            thresholds=matcher.thresholds[1:-1],
            labels=matcher.labels,
            low_quality=matcher.allow_low_quality_matches,
        )
        labels = matches.labels
        if self.anchor_boundary_thresh >= 0:
            labels = torch.where(self._inside(all_anchors.tensor, truth.sizes), labels, -1)
        samples = subsample(labels, self.batch_size_per_image, self.positive_fraction)
        labels = samples.as_labels(labels.shape[1])
        if truth.boxes.boxes.shape[1]:
            boxes = take(truth.boxes.boxes, matches.box_index)
        else:
            boxes = all_anchors.tensor.new_zeros(*labels.shape, 4)
        return [*labels.unbind()], [*boxes.unbind()]

    def _inside(self, anchors: Tensor, sizes: Sequence[Size]) -> Tensor:
        """Whether anchors (R, 4) are within ``anchor_boundary_thresh`` of each image: (N, R)."""
        margin = self.anchor_boundary_thresh
        x0, y0, x1, y1 = anchors.unbind(1)
        lows = (x0 >= -margin) & (y0 >= -margin)
        ends = torch.tensor(sizes, dtype=anchors.dtype).to(anchors.device, non_blocking=True)
        return lows & (x1 < ends[:, 1:] + margin) & (y1 < ends[:, :1] + margin)

    def losses(
        self,
        anchors: list[Boxes],
        pred_objectness_logits: list[Tensor],
        gt_labels: list[Tensor],
        pred_anchor_deltas: list[Tensor],
        gt_boxes: list[Tensor],
    ) -> dict[str, Tensor]:
        """``loss_rpn_cls`` and ``loss_rpn_loc``; arguments are Detectron2's."""
        labels, truth = torch.stack(gt_labels), torch.stack(gt_boxes)
        logits, deltas = torch.cat(pred_objectness_logits, 1), torch.cat(pred_anchor_deltas, 1)
        is_positive = labels == 1
        self._log_anchors(num_pos_anchors=is_positive, num_neg_anchors=labels == 0)
        sums = {
            "loss_rpn_cls": objectness_loss(logits, labels),
            "loss_rpn_loc": self._box_loss(deltas, Boxes.cat(anchors).tensor, truth, is_positive),
        }
        normalizer = self.batch_size_per_image * len(labels)
        return {
            name: value / normalizer * self.loss_weight.get(name, 1.0)
            for name, value in sums.items()
        }

    def _box_loss(
        self, deltas: Tensor, anchors: Tensor, truth: Tensor, is_positive: Tensor
    ) -> Tensor:
        arguments, transform = (deltas, anchors, truth, is_positive), self.box2box_transform
        if self.box_reg_loss_type == "smooth_l1":
            return anchor_delta_loss(*arguments, encoder(transform), self.smooth_l1_beta)
        loss = BOX_LOSSES.get(self.box_reg_loss_type)
        if loss is None:
            raise InputError(
                f"config entry MODEL.RPN.BBOX_REG_LOSS_TYPE: expected smooth_l1, "
                f"{', '.join(BOX_LOSSES)}, got {self.box_reg_loss_type!r}"
            )
        return anchor_box_loss(*arguments, transform.apply_deltas, loss)

    def _log_anchors(self, **chosen: Tensor) -> None:
        """Put how many anchors (N, R) bool an image has, if they are asked for."""
        storage = get_event_storage()
        if is_line_due(storage):
            sums = torch.stack([mask.sum() for mask in chosen.values()]).tolist()
            for (name, mask), number in zip(chosen.items(), sums, strict=True):
                storage.put_scalar(f"rpn/{name}", number / len(mask))

    @torch.no_grad()
    def predict_proposals(
        self,
        anchors: list[Boxes],
        pred_objectness_logits: list[Tensor],
        pred_anchor_deltas: list[Tensor],
        image_sizes: Sequence[Size],
    ) -> ProposedInstances:
        """The proposals, best first; arguments are Detectron2's."""
        levels = [
            ProposalLevel(logits, deltas, boxes.tensor)
            for logits, deltas, boxes in zip(
                pred_objectness_logits, pred_anchor_deltas, anchors, strict=True
            )
        ]
        proposals = choose_proposals(
            levels,
            self.box2box_transform.apply_deltas,
            proposal_choice(self, training=self.training),
            image_sizes,
            must_be_finite=self.training,
        )
        return ProposedInstances.of(proposals)


def proposal_choice(rpn: RPN, *, training: bool) -> ProposalChoice:
    """How an RPN of Detectron2's chooses its proposals."""
    return ProposalChoice(
        most_per_level=rpn.pre_nms_topk[training],
        min_side=rpn.min_box_size,
        strictly=True,
        max_iou=rpn.nms_thresh,
        most=rpn.post_nms_topk[training],
    )
