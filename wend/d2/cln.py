"""CLN, UniDetector's class-agnostic localization network (Wang et al., CVPR 2023), with L_unsup.

OLN's localization (:mod:`wend.d2.cln_rpn`, and here an IoU score of each proposal) beside a
foreground/background classifier. UniDetector's R-CNN head is
``mmdet/models/roi_heads/bbox_heads/convfc_bbox_score_head.py`` (at eb182535); lines below are its.

Shape letters: B = proposals of all images.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import META_ARCH_REGISTRY, ROI_HEADS_REGISTRY
from torch import Tensor, nn

from wend.d2.cln_rpn import CLNRPN, CLNRPNHead
from wend.d2.faster_rcnn import BinaryOutputLayers, BinaryRCNN, BinaryROIHeads
from wend.errors import InputError
from wend.modeling.rcnn.head_losses import iou_score_loss
from wend.modeling.rcnn.region_samples import RegionSamples

Predictions = tuple[Tensor, ...]  # scores (B, 2), box deltas (B, 4), IoU log-odds (B,)


class CLNOutputLayers(BinaryOutputLayers):
    """Binary classifier (with L_unsup), box regressor and IoU score of the proposals.

    Args:
        input_shape: shape of the box head's output.
        iou_weight: weight of the IoU score's loss.
        cls_exponent: a of the final score ``cls^a · (rpn · iou)^(1-a)``, in [0, 1].
        binary: arguments of :class:`BinaryOutputLayers`.
    """

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        iou_weight: float = 1.0,
        cls_exponent: float = 0.3,
        **binary: Any,
    ) -> None:
        super().__init__(input_shape, **binary)
        if self.num_classes != 1:
            raise InputError(
                f"config entry MODEL.ROI_HEADS.NUM_CLASSES: CLN is class-agnostic and has 1, got "
                f"{self.num_classes}; use BinaryRCNN for more"
            )
        self.iou_score = nn.Linear(self.cls_score.in_features, 1)
        nn.init.normal_(self.iou_score.weight, std=0.01)
        nn.init.zeros_(self.iou_score.bias)
        self.iou_weight = iou_weight
        self.cls_exponent = cls_exponent

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """:class:`BinaryOutputLayers`' entries and ``WEND.CLN``'s."""
        return {
            **super().from_config(cfg, input_shape),
            "iou_weight": cfg.WEND.CLN.IOU_WEIGHT,
            "cls_exponent": cfg.WEND.CLN.CLS_EXPONENT,
        }

    def forward(self, x: Tensor) -> Predictions:
        """Features of the proposals (B, ...) -> predictions."""
        return *super().forward(x), self.iou_score(x.flatten(1))[:, 0].float()

    def supervised(self, predictions: Predictions, samples: RegionSamples) -> dict[str, Tensor]:
        """:class:`BinaryOutputLayers`' L_sup and the L1 loss of the IoU score.

        The score's target is the IoU of the proposal (not of the box decoded from it) with its
        matched box, on foreground proposals; the sum is divided by all B (lines 124-149, 247-254).
        """
        losses = super().supervised(predictions, samples)
        error = iou_score_loss(predictions[2], samples.boxes, samples.truth, samples.classes)
        return {**losses, "loss_iou": self.iou_weight * error}

    def foreground_scores(self, predictions: Predictions, objectness: Tensor) -> Tensor:
        """Final scores (B, 1) of the proposals: line 291.

        Args:
            predictions: of the proposals.
            objectness: log-odds (B,) of the RPN's centreness.
        """
        cls = super().foreground_scores(predictions, objectness)
        located = (objectness.sigmoid() * predictions[2].sigmoid()) ** (1 - self.cls_exponent)
        return cls**self.cls_exponent * located[:, None]


@ROI_HEADS_REGISTRY.register()
class CLNROIHeads(BinaryROIHeads):
    """Detectron2's ``StandardROIHeads`` with :class:`CLNOutputLayers` as its predictor."""

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        arguments = super()._init_box_head(cfg, input_shape)
        predictor = CLNOutputLayers(cfg, arguments["box_head"].output_shape)
        return {**arguments, "box_predictor": predictor}


@META_ARCH_REGISTRY.register()
class CLN(BinaryRCNN):
    """``CLNRPN`` (with ``CLNRPNHead``) and ``CLNROIHeads``; eq. (4) weights their losses.

    Args:
        rcnn: arguments of :class:`BinaryRCNN`.

    Raises:
        InputError: another proposal generator, RPN head or ROI heads.
    """

    batched_generators = MappingProxyType({})  # CLNRPN is one

    @configurable
    def __init__(self, **rcnn: Any) -> None:
        proposals = rcnn["proposal_generator"]
        for entry, part, expected in (
            ("MODEL.PROPOSAL_GENERATOR.NAME", proposals, CLNRPN),
            ("MODEL.RPN.HEAD_NAME", getattr(proposals, "rpn_head", None), CLNRPNHead),
            ("MODEL.ROI_HEADS.NAME", rcnn["roi_heads"], CLNROIHeads),
        ):
            if not isinstance(part, expected):
                raise InputError(
                    f"config entry {entry}: CLN needs {expected.__name__}, got "
                    f"{type(part).__name__}; see configs/CUB/cln_R50.yaml"
                )
        super().__init__(**rcnn)
