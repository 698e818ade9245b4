"""SCR on Detectron2: one box regressed from the pooled feature map
(:mod:`wend.modeling.layers.scr_head`).

Shape letters: N = images.
"""

from __future__ import annotations

from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from detectron2.modeling.meta_arch.dense_detector import DenseDetector
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor

from wend.config import localization_loss
from wend.d2.features import chosen_features
from wend.d2.frames import PredictsOnCrops
from wend.losses import LocalizationLoss
from wend.modeling.layers.scr_head import (
    SCRHead,
    check_no_unsupervised,
    scr_boxes,
    scr_loss,
    scr_targets,
)


@META_ARCH_REGISTRY.register()
class SCR(PredictsOnCrops, DenseDetector):
    """Single-class regression; every image gets one box, of score 1.

    Args:
        localization_loss: η of eq. (4); its L_unsup must be "none".
        loss: "l2", "l1" or "smooth_l1".
        loss_weight: its weight; 50 in PSOL.
        dense_detector: arguments of Detectron2's ``DenseDetector``, with one feature map.
    """

    @configurable
    def __init__(
        self,
        *,
        localization_loss: LocalizationLoss,
        loss: str = "l2",
        loss_weight: float = 50.0,
        **dense_detector: Any,
    ) -> None:
        super().__init__(**dense_detector)
        check_no_unsupervised(localization_loss)
        self.localization_loss = localization_loss
        self.loss = loss
        self.loss_weight = loss_weight

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """``WEND.SCR``'s detector."""
        scr = cfg.WEND.SCR
        backbone = build_backbone(cfg)
        (shape,) = chosen_features(
            cfg, "WEND.SCR.IN_FEATURE", [scr.IN_FEATURE], backbone.output_shape()
        )
        return {
            "localization_loss": localization_loss(cfg),
            "loss": scr.LOSS,
            "loss_weight": scr.LOSS_WEIGHT,
            "backbone": backbone,
            "head": SCRHead(shape.channels, scr.HIDDEN_DIM),
            "head_in_features": [scr.IN_FEATURE],
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    def forward_training(
        self,
        images: ImageList,
        features: list[Tensor],
        predictions: Tensor,
        gt_instances: list[Instances],
    ) -> dict[str, Tensor]:
        """The one supervised term; ``predictions`` are x, y, w, h in fractions (N, 4)."""
        boxes = [one.gt_boxes.tensor for one in gt_instances]
        targets = scr_targets(boxes, images.image_sizes)
        loss = self.loss_weight * scr_loss(predictions, targets, self.loss)
        return self.localization_loss.joint({"loss_box_reg": loss})

    def forward_inference(
        self, images: ImageList, features: list[Tensor], predictions: Tensor
    ) -> list[Instances]:
        """One detection an image."""
        boxes = scr_boxes(predictions, images.image_sizes)
        return [
            Instances(
                size,
                pred_boxes=Boxes(box[None]),
                scores=box.new_ones(1),
                pred_classes=box.new_zeros(1).long(),
            )
            for size, box in zip(images.image_sizes, boxes, strict=True)
        ]
