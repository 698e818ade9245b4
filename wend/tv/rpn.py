"""Torchvision's region proposal network for a whole batch at once.

Torchvision's own labels, draws and suppresses image by image; here the functions of
:mod:`wend.modeling.rcnn` do it, with the same results.

Shape letters: N = images, R = anchors of all feature maps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork

from wend.losses import share_of_mean
from wend.losses.padded_boxes import PaddedBoxes
from wend.modeling.hooks import check_hooks
from wend.modeling.layers.box_selection import take
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
from wend.modeling.rcnn.rpn_losses import anchor_delta_loss, objectness_loss
from wend.modeling.rcnn.sampling import subsample
from wend.tv.detector import level_anchors

REPLACED = {  # torchvision's methods that go image by image, by what stands for them
    "forward": (
        "assign_targets_to_anchors",
        "filter_proposals",
        "compute_loss",
        "_get_top_n_idx",
    ),
}
BETA = 1 / 9  # of the smooth L1 loss of boxes, torchvision's


class BatchedRPN(RegionProposalNetwork):
    """Torchvision's ``RegionProposalNetwork``, whose operations do not grow with the batch.

    Random samples are drawn otherwise, as likely as torchvision's.

    Args:
        arguments: torchvision's.

    Attributes:
        drawn: sampled anchors of the last training batch, by the number of which its losses are
            divided: a scalar, at least 1.
    """

    # torchvision's, which has no types
    anchor_generator: Any
    box_coder: Any
    proposal_matcher: Any
    fg_bg_sampler: Any
    drawn: Tensor

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        check_hooks(cls, BatchedRPN, REPLACED)

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._known_anchors = PerMapSize[Sequence[Tensor]]()

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        targets: PaddedBoxes | Sequence[Mapping[str, Tensor]] | None = None,
    ) -> tuple[Proposals, dict[str, Tensor]]:
        """Proposals, and ``loss_objectness`` and ``loss_rpn_box_reg`` in training.

        Args:
            images: the batch and the images' sizes.
            features: feature maps by name, all of which are used.
            targets: boxes to learn; of torchvision's a dict with ``boxes`` for each image.
        """
        maps = list(features.values())
        size = (images.tensors.shape[-2], images.tensors.shape[-1])
        make = partial(level_anchors, self.anchor_generator, maps, size)
        anchors = self._known_anchors.of(maps, make, size)
        logits, deltas = self.head(maps)
        levels = proposal_levels(logits, deltas, anchors)
        with torch.no_grad():
            proposals = choose_proposals(levels, self.decode, self.choice(), images.image_sizes)
        if not self.training:
            return proposals, {}
        assert targets is not None
        if not isinstance(targets, PaddedBoxes):
            targets = PaddedBoxes.of([target["boxes"] for target in targets])
        return proposals, self._losses(levels, targets)

    def decode(self, deltas: Tensor, anchors: Tensor) -> Tensor:
        """Boxes (B, 4) of anchors (B, 4), moved by deltas (B, 4), in float32."""
        return self.box_coder.decode_single(deltas.float(), anchors)

    def choice(self) -> ProposalChoice:
        """How proposals are chosen, in training or in evaluation."""
        return ProposalChoice(
            most_per_level=self.pre_nms_top_n(),
            min_side=self.min_size,
            strictly=False,
            max_iou=self.nms_thresh,
            most=self.post_nms_top_n(),
            order=torch.sigmoid,
            least=self.score_thresh,
            only_finite=False,
        )

    def _losses(self, levels: Sequence[ProposalLevel], truth: PaddedBoxes) -> dict[str, Tensor]:
        logits = torch.cat([level.logits for level in levels], 1)
        deltas = torch.cat([level.deltas for level in levels], 1)
        anchors = torch.cat([level.anchors for level in levels])
        labels, boxes = self._labels(anchors, truth)
        self.drawn = (labels >= 0).sum().clamp(min=1)
        losses = {
            "loss_objectness": objectness_loss(logits, labels),
            "loss_rpn_box_reg": anchor_delta_loss(
                deltas,
                anchors,
                boxes,
                labels == 1,
                partial(encoded, weights=self.box_coder.weights),
                BETA,
            ),
        }
        share = share_of_mean(self.drawn, self.drawn.device)
        return {name: share * loss / self.drawn for name, loss in losses.items()}

    @torch.no_grad()
    def _labels(self, anchors: Tensor, truth: PaddedBoxes) -> tuple[Tensor, Tensor]:
        """Labels (N, R) 1, 0 or -1 (not sampled) and matched boxes (N, R, 4) of anchors (R, 4)."""
        matcher, sampler = self.proposal_matcher, self.fg_bg_sampler
        matches = match(
            truth,
            anchors,
            thresholds=(matcher.low_threshold, matcher.high_threshold),
            labels=(0, -1, 1),
            low_quality=matcher.allow_low_quality_matches,
        )
        labels = matches.labels
        samples = subsample(labels, sampler.batch_size_per_image, sampler.positive_fraction)
        labels = samples.as_labels(labels.shape[1])
        if not truth.boxes.shape[1]:
            return labels, anchors.new_zeros(*labels.shape, 4)
        return labels, take(truth.boxes, matches.box_index)
