"""Torchvision's Faster R-CNN with one foreground class, of label 1, and L_unsup.

``fixed`` are the config's entries that torchvision cannot do otherwise.

Shape letters: N = images, R = proposals of all N images.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler
from torchvision.models.detection.faster_rcnn import FasterRCNN, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.ops import MultiScaleRoIAlign

from wend.config import localization_loss
from wend.errors import InputError
from wend.losses import (
    LocalizationLoss,
    WeighedOutputs,
    image_indices,
    scale_gradient,
    share_of_mean,
)
from wend.modeling.sampling import keep_exact_ratio
from wend.tv.backbones import build_feature_backbone
from wend.tv.detector import META_ARCH_REGISTRY, JointLoss, StrideAnchors, transform_arguments


class BinaryRoIHeads(RoIHeads):
    """Torchvision's box heads whose classifier also carries the unsupervised loss.

    Args:
        loss: L_unsup.
        exact_ratio: the positives are exactly the ``positive_fraction`` of a batch's samples, not
            at most that of an image's (``WEND.RCNN.RATIO``).
        arguments: torchvision's.
    """

    def __init__(
        self, loss: LocalizationLoss, *, exact_ratio: bool = False, **arguments: Any
    ) -> None:
        super().__init__(**arguments)
        self.localization_loss = loss
        self.exact_ratio = exact_ratio

    def subsample(self, labels: list[Tensor]) -> list[Tensor]:
        """Indices of each image's sampled proposals; see torchvision's."""
        sampled = super().subsample(labels)
        if not self.exact_ratio:
            return sampled
        is_positive = [label[index] > 0 for label, index in zip(labels, sampled, strict=True)]
        kept = keep_exact_ratio(is_positive, self.fg_bg_sampler.positive_fraction)
        return [index[mask] for index, mask in zip(sampled, kept, strict=True)]

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Detections and losses, boxes only; class scores are (R, 2), background first."""
        if self.training:
            proposals, matched, labels, deltas = self.select_training_samples(proposals, targets)
            self.localization_loss.count_positives(
                [
                    box.masked_fill(label < 1, -1)
                    for box, label in zip(matched, labels, strict=True)
                ],
                [len(target["boxes"]) for target in targets or ()],
            )
        pooled = self.box_roi_pool(features, proposals, image_shapes)
        scores, predicted = self.box_predictor(self.box_head(pooled))
        if self.training:
            return [], self._losses(scores, predicted, proposals, labels, deltas)
        detections = self.postprocess_detections(scores, predicted, proposals, image_shapes)
        return [
            {"boxes": boxes, "scores": scores, "labels": labels}
            for boxes, scores, labels in zip(*detections, strict=True)
        ], {}

    def _losses(
        self,
        scores: Tensor,
        predicted: Tensor,
        proposals: list[Tensor],
        labels: list[Tensor],
        deltas: list[Tensor],
    ) -> dict[str, Tensor]:
        """Torchvision's losses as chosen and weighed, and L_unsup on the sampled proposals."""
        loss = self.localization_loss
        context = loss.context(
            # a softmax over two scores is a sigmoid of their difference: the foreground's log-odds
            scores[:, 1] - scores[:, 0],
            labels=torch.cat(labels),
            image_index=image_indices([len(sampled) for sampled in labels], scores.device),
            sample_boxes=lambda: torch.cat(proposals),
        )
        weights = loss.weights(context)
        weighed = (scale_gradient(each, weights) for each in (scores, predicted))
        share = share_of_mean(len(scores), scores.device)
        own, regression = (share * each for each in fastrcnn_loss(*weighed, labels, deltas))
        classifier = loss.classification(own, context, weights, share / max(len(scores), 1))
        unsupervised = loss.unsupervised_of(context, supervised=classifier, shared=[scores])
        return {"loss_classifier": classifier, "loss_box_reg": regression, **unsupervised}


class CountedSampler(BalancedPositiveNegativeSampler):
    """Torchvision's sampler of an RPN's anchors, which knows how many it drew.

    Attributes:
        drawn: samples of the last batch, by the number of which torchvision divides: a scalar.
    """

    drawn: Tensor

    def __call__(self, matched_idxs: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Masks of the positives and of the negatives of each image."""
        positive, negative = super().__call__(matched_idxs)
        self.drawn = torch.cat([*positive, *negative]).sum()
        return positive, negative


def _share_proposal_losses(rpn: Any, arguments: Any, outputs: Any) -> Any:
    """An RPN's losses, which it divides by this process's samples, over the mean of samples."""
    if not rpn.training:
        return outputs
    proposals, losses = outputs
    share = share_of_mean(rpn.fg_bg_sampler.drawn, rpn.fg_bg_sampler.drawn.device)
    return proposals, {name: share * term for name, term in losses.items()}


@META_ARCH_REGISTRY.register()
class BinaryRCNN(JointLoss, FasterRCNN):
    """Faster R-CNN with one foreground class, its losses (RPN's too) weighted by eq. (4)."""

    foreground_label = 1
    fixed = MappingProxyType(
        {
            "MODEL.ROI_HEADS.NAME": "BinaryROIHeads",
            "MODEL.ROI_HEADS.NUM_CLASSES": 1,
            "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
            "MODEL.ROI_BOX_HEAD.NUM_FC": 2,
        }
    )

    def __init__(self, cfg: CfgNode) -> None:
        rpn, roi, head = cfg.MODEL.RPN, cfg.MODEL.ROI_HEADS, cfg.MODEL.ROI_BOX_HEAD
        if not roi.IN_FEATURES or not set(roi.IN_FEATURES) <= set(rpn.IN_FEATURES):
            raise InputError(
                f"config entries MODEL.RPN.IN_FEATURES and MODEL.ROI_HEADS.IN_FEATURES: the "
                f"torchvision engine needs those of the R-CNN among those of the RPN, got "
                f"{rpn.IN_FEATURES} and {roi.IN_FEATURES}"
            )
        backbone = build_feature_backbone(cfg, rpn.IN_FEATURES)
        levels = len(backbone.names)
        anchors = cfg.MODEL.ANCHOR_GENERATOR
        sizes = anchors.SIZES * levels if len(anchors.SIZES) == 1 else anchors.SIZES
        ratios = anchors.ASPECT_RATIOS
        ratios = ratios * levels if len(ratios) == 1 else ratios
        width = backbone.out_channels * head.POOLER_RESOLUTION**2
        boxes = {
            "box_roi_pool": MultiScaleRoIAlign(
                list(roi.IN_FEATURES), head.POOLER_RESOLUTION, head.POOLER_SAMPLING_RATIO
            ),
            "box_head": TwoMLPHead(width, head.FC_DIM),
            "box_predictor": FastRCNNPredictor(head.FC_DIM, num_classes=2),
        }
        super().__init__(
            backbone,
            rpn_anchor_generator=StrideAnchors(
                tuple(map(tuple, sizes)), tuple(map(tuple, ratios)), backbone.chosen_strides
            ),
            rpn_pre_nms_top_n_train=rpn.PRE_NMS_TOPK_TRAIN,
            rpn_pre_nms_top_n_test=rpn.PRE_NMS_TOPK_TEST,
            rpn_post_nms_top_n_train=rpn.POST_NMS_TOPK_TRAIN,
            rpn_post_nms_top_n_test=rpn.POST_NMS_TOPK_TEST,
            rpn_nms_thresh=rpn.NMS_THRESH,
            rpn_fg_iou_thresh=rpn.IOU_THRESHOLDS[1],
            rpn_bg_iou_thresh=rpn.IOU_THRESHOLDS[0],
            rpn_batch_size_per_image=rpn.BATCH_SIZE_PER_IMAGE,
            rpn_positive_fraction=rpn.POSITIVE_FRACTION,
            **boxes,
            **transform_arguments(cfg),
        )
        self.loss_weights = {
            "loss_box_reg": head.BBOX_REG_LOSS_WEIGHT,
            "loss_objectness": rpn.LOSS_WEIGHT,
            "loss_rpn_box_reg": rpn.LOSS_WEIGHT * rpn.BBOX_REG_LOSS_WEIGHT,
        }
        self.localization_loss = localization_loss(cfg)
        proposals: Any = self.rpn
        proposals.fg_bg_sampler = CountedSampler(rpn.BATCH_SIZE_PER_IMAGE, rpn.POSITIVE_FRACTION)
        proposals.register_forward_hook(_share_proposal_losses)
        weigh = WeighedOutputs(self.localization_loss.weigh_images)
        self.get_submodule("rpn.head").register_forward_hook(weigh)
        self.roi_heads = BinaryRoIHeads(
            self.localization_loss,
            exact_ratio=cfg.WEND.RCNN.RATIO == "exact",
            fg_iou_thresh=roi.IOU_THRESHOLDS[0],
            bg_iou_thresh=roi.IOU_THRESHOLDS[0],
            batch_size_per_image=roi.BATCH_SIZE_PER_IMAGE,
            positive_fraction=roi.POSITIVE_FRACTION,
            bbox_reg_weights=None,
            score_thresh=roi.SCORE_THRESH_TEST,
            nms_thresh=roi.NMS_THRESH_TEST,
            detections_per_img=cfg.TEST.DETECTIONS_PER_IMAGE,
            **boxes,
        )
