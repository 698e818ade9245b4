"""Binary FCOS: Detectron2's FCOS with one foreground class, reachable from YAML, with L_unsup.

The paper's head sits directly on C5 with one 3x3 convolution in each tower (facts that its table
1 proves: 99,128,390 parameters with ResNet50). FPN levels, more convolutions and a lean tower
follow from the config.

Shape letters: N = images, R = locations of all levels, K = classes.
"""

from __future__ import annotations

from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.layers import cat
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from detectron2.modeling.meta_arch.fcos import FCOS, FCOSHead
from detectron2.structures import Boxes
from torch import Tensor, nn

from wend.config import check_binary, localization_loss
from wend.errors import InputError
from wend.losses import LocalizationLoss


@META_ARCH_REGISTRY.register()
class BinaryFCOS(FCOS):
    """FCOS whose classifier also carries the unsupervised loss.

    Args:
        localization_loss: L_unsup and η of eq. (4).
        fcos: arguments of Detectron2's ``FCOS``.
    """

    @configurable
    def __init__(self, *, localization_loss: LocalizationLoss, **fcos: Any) -> None:
        super().__init__(**fcos)
        check_binary("WEND.FCOS.NUM_CLASSES", self.num_classes, localization_loss)
        self.localization_loss = localization_loss

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """``WEND.FCOS``'s detector."""
        fcos = cfg.WEND.FCOS
        backbone = build_backbone(cfg)
        available = backbone.output_shape()
        unknown = [name for name in fcos.IN_FEATURES if name not in available]
        if unknown or not fcos.IN_FEATURES:
            raise InputError(
                f"config entry WEND.FCOS.IN_FEATURES: expected some of the feature maps of "
                f"{cfg.MODEL.BACKBONE.NAME}, {', '.join(available)}; got {fcos.IN_FEATURES}"
            )
        shapes = [available[name] for name in fcos.IN_FEATURES]
        channels = fcos.CONV_DIM or shapes[0].channels
        if fcos.NORM == "GN" and channels % 32:
            raise InputError(
                f"config entry WEND.FCOS.NORM: GN needs towers of a multiple of 32 channels, got "
                f"{channels}; set WEND.FCOS.CONV_DIM, or WEND.FCOS.NORM ''"
            )
        head = FCOSHead(
            input_shape=shapes,
            num_classes=fcos.NUM_CLASSES,
            conv_dims=[channels] * fcos.NUM_CONVS,
            norm=fcos.NORM,
            prior_prob=fcos.PRIOR_PROB,
        )
        nn.init.constant_(head.bbox_pred.bias, fcos.INITIAL_DISTANCE)
        return {
            "localization_loss": localization_loss(cfg),
            "backbone": backbone,
            "head": head,
            "head_in_features": list(fcos.IN_FEATURES),
            "num_classes": fcos.NUM_CLASSES,
            "center_sampling_radius": fcos.CENTER_SAMPLING_RADIUS,
            "focal_loss_alpha": fcos.FOCAL_LOSS_ALPHA,
            "focal_loss_gamma": fcos.FOCAL_LOSS_GAMMA,
            "test_score_thresh": fcos.SCORE_THRESH_TEST,
            "test_topk_candidates": fcos.TOPK_CANDIDATES_TEST,
            "test_nms_thresh": fcos.NMS_THRESH_TEST,
            "max_detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    def losses(
        self,
        anchors: list[Boxes],
        pred_logits: list[Tensor],
        gt_labels: list[Tensor],
        pred_anchor_deltas: list[Tensor],
        gt_boxes: list[Tensor],
        pred_centerness: list[Tensor],
    ) -> dict[str, Tensor]:
        """Eq. (4): FCOS's own losses times η, and L_unsup on all locations.

        Args:
            pred_logits: for each level (N, R of the level, K); with K = 1 the foreground log-odds.
            anchors, gt_labels, pred_anchor_deltas, gt_boxes, pred_centerness: see Detectron2's.
        """
        losses = super().losses(
            anchors, pred_logits, gt_labels, pred_anchor_deltas, gt_boxes, pred_centerness
        )
        losses.update(self.localization_loss.unsupervised(cat(pred_logits, dim=1)[..., 0]))
        return self.localization_loss.joint(losses)
