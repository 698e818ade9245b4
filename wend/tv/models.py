"""Torchvision's FCOS and Faster R-CNN with one foreground class and the unsupervised loss.

FCOS has one sigmoid channel, label 0; Faster R-CNN has background 0 and foreground 1. A detector is
registered as on Detectron2; ``fixed`` are its entries that torchvision cannot do otherwise.

Shape letters: N = images, R = locations or proposals of all N images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FasterRCNN, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.fcos import FCOS, FCOSHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.ops import MultiScaleRoIAlign

from wend.config import check_carries_loss, localization_loss, view_of
from wend.errors import InputError
from wend.losses import (
    LocalizationLoss,
    WeighedOutputs,
    image_indices,
    scale_gradient,
    share_of_mean,
    weighted,
)
from wend.modeling.detectors import DETECTORS, Detector
from wend.modeling.sampling import keep_exact_ratio
from wend.registry import Registry
from wend.tv.adapter import adapted, images_of
from wend.tv.backbones import (
    FeatureBackbone,
    PyramidBackbone,
    SimplePyramidBackbone,
    build_feature_backbone,
)

META_ARCH_REGISTRY: Registry[Callable[[CfgNode], nn.Module]] = Registry("detector")


class JointLoss(nn.Module):
    """Mixed into a detector, before torchvision's class: eq. (4) weights its losses.

    Attributes:
        localization_loss: L_unsup and η of eq. (4); the detector sets it.
        loss_weights: λ of eq. (1) of terms, 1 of the others.
    """

    localization_loss: LocalizationLoss
    loss_weights: Mapping[str, float] = MappingProxyType({})

    def forward(self, images: list[Tensor], targets: list[dict[str, Any]] | None = None) -> Any:
        """Losses in training, detections in evaluation; see torchvision's."""
        if not self.training:
            return super().forward(images, targets)
        assert targets is not None
        loss = self.localization_loss
        device = next(self.parameters()).device
        loss.start_batch(images_of(targets, device, loss.progress))
        return loss.joint(weighted(super().forward(images, targets), self.loss_weights))


def _transform_arguments(cfg: CfgNode) -> dict[str, Any]:
    """Images come cropped, with pixels in 0..255: torchvision is only to normalize them."""
    return {
        "image_mean": cfg.MODEL.PIXEL_MEAN,
        "image_std": cfg.MODEL.PIXEL_STD,
        "min_size": view_of(cfg).test_side,  # of images in testing, which so stay as they are
        "max_size": view_of(cfg).test_side,
        "size_divisible": 1,
        "_skip_resize": True,
    }


class StrideAnchors(AnchorGenerator):
    """Torchvision's anchors, a map's stride apart, as Detectron2's.

    Torchvision takes image side // cells for the stride: 56 of a map of stride 64 that has 4 cells
    for 224 pixels.

    Args:
        sizes: of each map, sides of its anchors.
        aspect_ratios: of each map.
        strides: of each map.
    """

    def __init__(
        self,
        sizes: tuple[tuple[int, ...], ...],
        aspect_ratios: tuple[tuple[float, ...], ...],
        strides: Sequence[int],
    ) -> None:
        super().__init__(sizes, aspect_ratios)
        self.strides = list(strides)

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """The anchors (R, 4) of each image."""
        dtype, device = feature_maps[0].dtype, feature_maps[0].device
        strides = [[torch.tensor(stride, device=device)] * 2 for stride in self.strides]
        self.set_cell_anchors(dtype, device)
        anchors = self.grid_anchors([[*each.shape[-2:]] for each in feature_maps], strides)
        return [torch.cat(anchors) for _ in image_list.image_sizes]


class BinaryFCOSHead(FCOSHead):
    """Torchvision's FCOS head whose classifier also carries the unsupervised loss."""

    def __init__(self, in_channels: int, fcos: CfgNode, loss: LocalizationLoss) -> None:
        super().__init__(in_channels, num_anchors=1, num_classes=1, num_convs=fcos.NUM_CONVS)
        nn.init.constant_(self.regression_head.bbox_reg.bias, fcos.INITIAL_DISTANCE)
        self.localization_loss = loss
        self.loss_weights = {  # λ of eq. (1)
            "classification": fcos.CLASS_WEIGHT,
            "bbox_regression": fcos.BOX_WEIGHT,
            "bbox_ctrness": fcos.CENTERNESS_WEIGHT,
        }

    def compute_loss(
        self,
        targets: list[dict[str, Tensor]],
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        matched_idxs: list[Tensor],
    ) -> dict[str, Tensor]:
        """Torchvision's losses as chosen and weighed, and L_unsup on the class logits (N, R, 1)."""
        loss, logits = self.localization_loss, head_outputs["cls_logits"]
        loss.count_positives(matched_idxs, [len(target["boxes"]) for target in targets])
        labels = (torch.stack(matched_idxs) >= 0).long()
        context = loss.context(  # weights have no gradient
            logits[..., 0].detach(),
            labels=labels,
            sample_boxes=lambda: self._predicted_boxes(head_outputs, anchors),
        )
        weights = loss.weights(context)
        by_image = None if weights is None else weights.view_as(labels)
        weighed = {name: scale_gradient(each, by_image) for name, each in head_outputs.items()}
        share = share_of_mean(labels.sum(), labels.device)
        own = super().compute_loss(targets, weighed, anchors, matched_idxs)
        losses = {name: share * term for name, term in own.items()}
        context = context.changed(logits=logits[..., 0].flatten())
        losses["classification"] = loss.classification(
            losses["classification"], context, weights, share / labels.sum().clamp(min=1)
        )
        losses = weighted(losses, self.loss_weights)
        unsupervised = loss.unsupervised_of(
            context, supervised=losses["classification"], shared=[logits]
        )
        return {**losses, **unsupervised}

    @torch.no_grad()
    def _predicted_boxes(self, outputs: dict[str, Tensor], anchors: list[Tensor]) -> Tensor:
        """The box of each location (N·R, 4), xyxy."""
        deltas = outputs["bbox_regression"].float()
        return self.box_coder.decode(deltas, torch.stack(anchors)).flatten(0, 1)


@META_ARCH_REGISTRY.register()
class BinaryFCOS(JointLoss, FCOS):
    """FCOS with one foreground class, its losses weighted by eq. (4)."""

    foreground_label = 0
    fixed = MappingProxyType(
        {
            "WEND.FCOS.NUM_CLASSES": 1,
            "WEND.FCOS.CONV_DIM": 0,
            "WEND.FCOS.REDUCE_DIM": 0,
            "WEND.FCOS.NORM": "GN",
            "WEND.FCOS.PRIOR_PROB": 0.01,
            "WEND.FCOS.FOCAL_LOSS_ALPHA": 0.25,
            "WEND.FCOS.FOCAL_LOSS_GAMMA": 2.0,
        }
    )

    def __init__(self, cfg: CfgNode) -> None:
        fcos = cfg.WEND.FCOS
        backbone = build_feature_backbone(cfg, fcos.IN_FEATURES)
        if backbone.out_channels % 32:
            raise InputError(
                f"config entry WEND.FCOS.NORM: GN needs a multiple of 32 channels, the feature map "
                f"has {backbone.out_channels}"
            )
        loss = localization_loss(cfg)
        super().__init__(
            backbone,
            num_classes=1,
            anchor_generator=StrideAnchors(
                sizes=tuple((stride,) for stride in backbone.chosen_strides),
                aspect_ratios=((1.0,),) * len(backbone.names),
                strides=backbone.chosen_strides,
            ),
            head=BinaryFCOSHead(backbone.out_channels, fcos, loss),
            center_sampling_radius=fcos.CENTER_SAMPLING_RADIUS,
            score_thresh=fcos.SCORE_THRESH_TEST,
            nms_thresh=fcos.NMS_THRESH_TEST,
            topk_candidates=fcos.TOPK_CANDIDATES_TEST,
            detections_per_img=cfg.TEST.DETECTIONS_PER_IMAGE,
            **_transform_arguments(cfg),
        )
        self.localization_loss = loss


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
            **_transform_arguments(cfg),
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


def leaves_parts_unused(model: nn.Module) -> bool:
    """Whether a detector's backbone may have parameters that no loss depends on.

    So it is where torchvision's detectors read no map as coarse as the coarsest, or not every level
    of a pyramid; of others it is not known.
    """
    backbone = model.backbone if isinstance(model, JointLoss) else None
    if isinstance(backbone, SimplePyramidBackbone):
        unread = set(backbone.channels) - set(backbone.names)
        return any(backbone.strides[name] <= 32 for name in unread)
    if isinstance(backbone, PyramidBackbone):
        if set(backbone.names) < set(backbone.channels):
            return True
        backbone = backbone.bottom_up
    if not isinstance(backbone, FeatureBackbone):
        return True
    return max(backbone.strides.values()) > max(backbone.chosen_strides)


@DETECTORS.follow
def _register_adapted(name: str, detector: type[Detector]) -> None:
    META_ARCH_REGISTRY.register(name)(adapted(name, detector))


def find_detector(cfg: CfgNode) -> Callable[[CfgNode], nn.Module]:
    """The class of ``MODEL.META_ARCHITECTURE``; InputError, which lists the names, if not there."""
    try:
        return META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)
    except InputError as error:
        raise type(error)(
            f"config entry MODEL.META_ARCHITECTURE: {error}; others need --engine detectron2"
        ) from error


def build_model(cfg: CfgNode) -> nn.Module:
    """The detector that the config names, on its device."""
    model = find_detector(cfg)(cfg)
    check_carries_loss(cfg, model)
    return model.to(cfg.MODEL.DEVICE)
