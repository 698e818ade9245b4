"""Torchvision's FCOS with one foreground class, of label 0 and one sigmoid channel, and L_unsup.

``fixed`` are the config's entries that torchvision cannot do otherwise.

Shape letters: N = images, R = locations of all levels.
"""

from __future__ import annotations

from types import MappingProxyType

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torchvision.models.detection.fcos import FCOS, FCOSHead

from wend.config import localization_loss
from wend.errors import InputError
from wend.losses import LocalizationLoss, scale_gradient, share_of_mean, weighted
from wend.tv.backbones import build_feature_backbone
from wend.tv.detector import META_ARCH_REGISTRY, JointLoss, StrideAnchors, transform_arguments


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
            **transform_arguments(cfg),
        )
        self.localization_loss = loss
