"""Torchvision's Faster R-CNN with one foreground class, of label 1, and L_unsup.

``fixed`` are the config's entries that torchvision cannot do otherwise.

Shape letters: B = proposals of all images.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

from fvcore.common.config import CfgNode
from torch import Tensor
from torchvision.models.detection.faster_rcnn import FasterRCNN, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import MultiScaleRoIAlign, roi_align
from torchvision.ops.poolers import _setup_scales

from wend.config import localization_loss
from wend.errors import InputError
from wend.losses import (
    LocalizationLoss,
    WeighedOutputs,
    scale_gradient,
    share_of_mean,
    weighted,
)
from wend.modeling.hooks import check_hooks
from wend.modeling.layers.box_batch import BoxBatch
from wend.modeling.layers.box_choice import Choice, borders, chosen
from wend.modeling.layers.image_batch import Size
from wend.modeling.rcnn.box_deltas import encoded
from wend.modeling.rcnn.head_boxes import head_candidates
from wend.modeling.rcnn.head_losses import class_cross_entropy, delta_loss
from wend.modeling.rcnn.pooling import pooled, regions_of
from wend.modeling.rcnn.proposals import Proposals
from wend.modeling.rcnn.region_samples import Sampling, sample_regions
from wend.tv.backbones import build_feature_backbone
from wend.tv.detector import (
    META_ARCH_REGISTRY,
    JointLoss,
    Normalization,
    StrideAnchors,
    transform_arguments,
)
from wend.tv.rpn import BatchedRPN

SMALLEST_BOX = 1e-2  # pixels: boxes with a shorter side are none, as in torchvision's roi_heads.py
BETA = 1 / 9  # of the smooth L1 loss of boxes, torchvision's
REPLACED = {  # torchvision's methods that go image by image, by what stands for them
    "terms": (
        "forward",
        "select_training_samples",
        "assign_targets_to_proposals",
        "subsample",
        "add_gt_proposals",
    ),
    "predicted": ("postprocess_detections",),
}


class BinaryRoIHeads(RoIHeads):
    """Torchvision's box heads whose classifier also carries the unsupervised loss.

    All images of a batch are sampled, pooled and chosen from at once.

    Args:
        loss: L_unsup.
        exact_ratio: the positives are exactly the ``positive_fraction`` of a batch's samples, not
            at most that of an image's (``WEND.RCNN.RATIO``).
        arguments: torchvision's.
    """

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        check_hooks(cls, BinaryRoIHeads, REPLACED)

    def __init__(
        self, loss: LocalizationLoss, *, exact_ratio: bool = False, **arguments: Any
    ) -> None:
        super().__init__(**arguments)
        self.localization_loss = loss
        self.exact_ratio = exact_ratio

    def head(
        self, features: dict[str, Tensor], regions: Tensor, sizes: Sequence[Size]
    ) -> tuple[Tensor, Tensor]:
        """Class scores (B, 2), background first, and box deltas (B, 2, 4), in float32.

        Args:
            features: feature maps by name.
            regions: (B, 5), index of the image in the batch and box.
            sizes: height and width of each image.
        """
        maps, pool = [features[name] for name in self.box_roi_pool.featmap_names], self.box_roi_pool
        if pool.scales is None:  # of the first batch, as in torchvision
            scale, level = pool.canonical_scale, pool.canonical_level
            pool.scales, pool.map_levels = _setup_scales(maps, [*sizes], scale, level)
        poolers = [
            partial(
                roi_align,
                output_size=pool.output_size,
                spatial_scale=scale,
                sampling_ratio=pool.sampling_ratio,
            )
            for scale in pool.scales
        ]
        crops = pooled(maps, poolers, regions, lambda boxes: pool.map_levels([boxes]))
        scores, deltas = self.box_predictor(self.box_head(crops))
        return scores.float(), deltas.float().unflatten(1, (-1, 4))

    def decoded(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """The foreground's boxes (B, 1, 4) of deltas (B, 2, 4) and proposals (B, 4)."""
        return self.box_coder.decode_single(deltas[:, 1], boxes)[:, None]

    def terms(self, features: dict[str, Tensor], proposals: Proposals) -> dict[str, Tensor]:
        """Torchvision's losses as chosen and weighed, and L_unsup on the sampled proposals.

        Args:
            features: feature maps by name.
            proposals: of the images of :meth:`LocalizationLoss.start_batch`.
        """
        loss, matcher, sampler = self.localization_loss, self.proposal_matcher, self.fg_bg_sampler
        sampling = Sampling(
            thresholds=(matcher.low_threshold, matcher.high_threshold),
            labels=(0, -1, 1),
            number=sampler.batch_size_per_image,
            fraction=sampler.positive_fraction,
            exact=self.exact_ratio,
        )
        samples = sample_regions(proposals, loss.images.padded, sampling)
        loss.count_positives(samples.matched)
        scores, deltas = self.head(features, samples.regions, proposals.sizes)
        labels = samples.classes + 1  # 0: background
        context = loss.context(
            # a softmax over two scores is a sigmoid of their difference: the foreground's log-odds
            scores[:, 1] - scores[:, 0],
            labels=labels,
            image_index=samples.image_index,
            sample_boxes=samples.boxes,
            box_index=samples.box_index,
        )
        weights = loss.weights(context)
        weighed, weighed_deltas = (scale_gradient(each, weights) for each in (scores, deltas))
        share = share_of_mean(len(samples), scores.device)
        own = share * class_cross_entropy(weighed, labels)
        classifier = loss.classification(own, context, weights, share / max(len(samples), 1))
        regression = share * delta_loss(
            weighed_deltas[:, 1:],
            samples.boxes,
            samples.truth,
            samples.classes,
            partial(encoded, weights=self.box_coder.weights),
            BETA,
        )
        unsupervised = loss.unsupervised_of(context, supervised=classifier, shared=[scores])
        return {"loss_classifier": classifier, "loss_box_reg": regression, **unsupervised}

    def predicted(self, features: dict[str, Tensor], proposals: Proposals) -> BoxBatch:
        """The boxes of a batch, in pixels of its images."""
        places, regions = regions_of(proposals.boxes, proposals.is_proposal)
        scores, deltas = self.head(features, regions, proposals.sizes)
        candidates = head_candidates(
            self.decoded(deltas, regions[:, 1:]),
            scores.softmax(-1)[:, 1:],
            places,
            proposals.is_proposal.shape,
            borders(proposals.sizes, proposals.boxes),
            SMALLEST_BOX,
        )
        return chosen(candidates.boxes, candidates.scores, self.choice)

    @property
    def choice(self) -> Choice:
        """How boxes are chosen among the candidates."""
        return Choice(
            above=self.score_thresh, max_iou=self.nms_thresh, most=self.detections_per_img
        )


@META_ARCH_REGISTRY.register()
class BinaryRCNN(JointLoss, FasterRCNN):
    """Faster R-CNN with one foreground class, its losses (RPN's too) weighted by eq. (4)."""

    foreground_label = 1
    # of torchvision's, which has no types
    backbone: Any
    rpn: Any
    roi_heads: Any
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
        backbone = build_feature_backbone(cfg, "MODEL.RPN.IN_FEATURES")
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
        proposals = {
            "pre_nms_top_n": {
                "training": rpn.PRE_NMS_TOPK_TRAIN,
                "testing": rpn.PRE_NMS_TOPK_TEST,
            },
            "post_nms_top_n": {
                "training": rpn.POST_NMS_TOPK_TRAIN,
                "testing": rpn.POST_NMS_TOPK_TEST,
            },
            "nms_thresh": rpn.NMS_THRESH,
            "fg_iou_thresh": rpn.IOU_THRESHOLDS[1],
            "bg_iou_thresh": rpn.IOU_THRESHOLDS[0],
            "batch_size_per_image": rpn.BATCH_SIZE_PER_IMAGE,
            "positive_fraction": rpn.POSITIVE_FRACTION,
        }
        super().__init__(
            backbone,
            rpn_anchor_generator=StrideAnchors(
                tuple(map(tuple, sizes)), tuple(map(tuple, ratios)), backbone.chosen_strides
            ),
            **boxes,
            **transform_arguments(cfg),
        )
        self.loss_weights = {
            "loss_box_reg": head.BBOX_REG_LOSS_WEIGHT,
            "loss_objectness": rpn.LOSS_WEIGHT,
            "loss_rpn_box_reg": rpn.LOSS_WEIGHT * rpn.BBOX_REG_LOSS_WEIGHT,
        }
        self.localization_loss = localization_loss(cfg)
        self.normalization = Normalization(cfg)
        self.rpn = BatchedRPN(
            anchor_generator=self.rpn.anchor_generator,
            head=self.rpn.head,
            **proposals,
        )
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

    def terms(self, images: list[Tensor], targets: list[dict[str, Any]]) -> dict[str, Tensor]:
        """The losses of the RPN and of the box heads, before η of eq. (4)."""
        features, proposals, losses = self._proposals(images)
        of_heads = self.roi_heads.terms(features, proposals)
        return weighted({**of_heads, **losses}, self.loss_weights)

    def predicted(self, images: Sequence[Tensor]) -> BoxBatch:
        """The boxes of a batch, in pixels of its images."""
        features, proposals, _ = self._proposals(images)
        boxes = self.roi_heads.predicted(features, proposals)
        return self.normalization.in_pixels_of(images, boxes)

    def _proposals(
        self, images: Sequence[Tensor]
    ) -> tuple[dict[str, Tensor], Proposals, dict[str, Tensor]]:
        """Feature maps by name, proposals, and the RPN's losses in training."""
        batch = self.normalization(images)
        features = self.backbone(batch.tensor)
        truth = self.localization_loss.images.padded if self.training else None
        proposals, losses = self.rpn(ImageList(batch.tensor, batch.sizes), features, truth)
        return features, proposals, losses
