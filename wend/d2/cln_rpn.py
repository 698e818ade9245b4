"""The RPN of CLN: where a box is, without asking what it is (OLN, Kim et al., arXiv:2108.06753).

One square anchor per location, distances to the four sides of the box (IoU loss), and the
centreness of the location in its box as objectness (L1); no classification. UniDetector's is
``mmdet/models/dense_heads/oln_rpn_head.py`` with the settings of
``configs/singledataset/clip_decouple_faster_rcnn_r50_c4_1x_coco_1ststage.py`` (at eb182535); lines
below are of the former.

Shape letters: N = images.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import PROPOSAL_GENERATOR_REGISTRY, RPN_HEAD_REGISTRY
from detectron2.modeling.box_regression import Box2BoxTransformLinear
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.proposal_generator.rpn import StandardRPNHead
from detectron2.structures import Boxes
from torch import Tensor, nn

from wend.d2.rpn import BatchedRPN
from wend.errors import InputError
from wend.modeling.rcnn.rpn_losses import centreness_losses


@RPN_HEAD_REGISTRY.register()
class CLNRPNHead(StandardRPNHead):
    """Detectron2's RPN head with normalized hidden features; its boxes start at the anchors.

    Args:
        normalize: L2-normalize the hidden features over channels (line 84).
        head: arguments of Detectron2's ``StandardRPNHead``.
    """

    @configurable
    def __init__(self, *, normalize: bool = True, **head: Any) -> None:
        super().__init__(**head)
        self.normalize = normalize
        # Half an anchor to each side. From 0, behind Box2BoxTransformLinear's ReLU, some
        # distances would never get a gradient.
        nn.init.constant_(self.anchor_deltas.bias, 0.5)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: list[ShapeSpec]) -> dict[str, Any]:
        """Detectron2's entries and ``WEND.CLN.NORMALIZE_FEATURES``."""
        arguments = super().from_config(cfg, input_shape)
        return {**arguments, "normalize": cfg.WEND.CLN.NORMALIZE_FEATURES}

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Feature maps (N, C, H, W) -> log-odds of the centreness (N, 1, H, W), distances to the
        sides in anchors (N, 4, H, W), in float32.
        """
        hidden = [self.conv(feature) for feature in features]
        if self.normalize:
            hidden = [F.normalize(feature, dim=1) for feature in hidden]
        # Box2BoxTransformLinear would decode half precision to boxes that are whole pixels off
        logits = [self.objectness_logits(x).float() for x in hidden]
        return logits, [self.anchor_deltas(x).float() for x in hidden]


@PROPOSAL_GENERATOR_REGISTRY.register()
class CLNRPN(BatchedRPN):
    """Detectron2's RPN that learns localization alone, on the anchors that overlap a box.

    There is no negative sample. Where a box has no anchor with ``WEND.CLN.OBJECTNESS_IOU``, its
    best ones are taken (the paper's rule, section 3.2, and Detectron2's). Proposals carry the
    centreness as ``objectness_logits``.

    Args:
        rpn: arguments of Detectron2's ``RPN``; ``loss_weight`` has "loss_rpn_ctr" and
            "loss_rpn_loc".
    """

    @configurable
    def __init__(self, **rpn: Any) -> None:
        super().__init__(**rpn)
        if any(number != 1 for number in self.anchor_generator.num_anchors):
            raise InputError(
                "config entries MODEL.ANCHOR_GENERATOR.SIZES and ASPECT_RATIOS: CLN has one anchor "
                f"per location of each feature map, got {max(self.anchor_generator.num_anchors)}; "
                "set SIZES such as [[128]] and ASPECT_RATIOS [[1.0]]"
            )

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Detectron2's entries and ``WEND.CLN``'s for the matching and the losses.

        Unused: ``MODEL.RPN.{IOU_THRESHOLDS, IOU_LABELS, POSITIVE_FRACTION, LOSS_WEIGHT,
        BBOX_REG_LOSS_WEIGHT, BBOX_REG_LOSS_TYPE, BBOX_REG_WEIGHTS}``.
        """
        cln = cfg.WEND.CLN
        return {
            **super().from_config(cfg, input_shape),
            "anchor_matcher": Matcher(
                [cln.OBJECTNESS_IOU], [-1, 1], allow_low_quality_matches=True
            ),
            "positive_fraction": 1.0,
            "box2box_transform": Box2BoxTransformLinear(normalize_by_size=True),
            "loss_weight": {
                "loss_rpn_ctr": cln.RPN_OBJECTNESS_WEIGHT,
                "loss_rpn_loc": cln.RPN_LOC_WEIGHT,
            },
        }

    def losses(
        self,
        anchors: list[Boxes],
        pred_objectness_logits: list[Tensor],
        gt_labels: list[Tensor],
        pred_anchor_deltas: list[Tensor],
        gt_boxes: list[Tensor],
    ) -> dict[str, Tensor]:
        """L1 of the centreness and 1 - IoU of the boxes, over the anchors that may be sampled.

        The boxes of anchors whose centre is outside have no loss: no distances >= 0 reach them.

        Args:
            anchors, pred_objectness_logits, gt_labels, pred_anchor_deltas, gt_boxes: see
                Detectron2's; labels are 1 (sampled) and -1.
        """
        labels, truth = torch.stack(gt_labels), torch.stack(gt_boxes)
        logits, deltas = torch.cat(pred_objectness_logits, 1), torch.cat(pred_anchor_deltas, 1)
        sampled = labels == 1
        self._log_anchors(num_pos_anchors=sampled)
        centre, located = centreness_losses(
            logits,
            deltas,
            Boxes.cat(anchors).tensor,
            truth,
            sampled,
            self.box2box_transform.apply_deltas,
        )
        losses = {"loss_rpn_ctr": centre, "loss_rpn_loc": located}
        normalizer = self.batch_size_per_image * len(labels)
        return {name: loss * (self.loss_weight[name] / normalizer) for name, loss in losses.items()}
