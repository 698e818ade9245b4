"""Binary FCOS: Detectron2's FCOS with one foreground class, reachable from YAML, with L_unsup.

The paper's head sits directly on C5 with one 3x3 convolution in each tower (facts that its table
1 proves: 99,128,390 parameters with ResNet50). FPN levels, more convolutions and lean towers
(``WEND.FCOS.CONV_DIM``, or ``REDUCE_DIM`` before them) follow from the config.

Shape letters: N = images, M = pseudo boxes of all images, P = most boxes of an image, R = locations
of all levels, K = classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec, cat, get_norm
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from detectron2.modeling.box_regression import Box2BoxTransformLinear
from detectron2.modeling.meta_arch.fcos import FCOS, FCOSHead
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from wend.config import check_binary, localization_loss
from wend.d2.features import chosen_features
from wend.d2.frames import OwnCrops
from wend.d2.joint_loss import JointLoss
from wend.errors import InputError
from wend.losses import LocalizationLoss, scale_gradient, weighted


class ReducedFCOSHead(FCOSHead):
    """FCOS's head behind one 1x1 convolution (with norm and ReLU) that both towers share.

    Args:
        input_shape: shapes of the feature maps, which have equal channels.
        reduce_dim: channels that reach the towers.
        norm: norm of this convolution and of the towers.
        head: arguments of Detectron2's ``FCOSHead``.
    """

    def __init__(
        self, *, input_shape: list[ShapeSpec], reduce_dim: int, norm: str, **head: Any
    ) -> None:
        reduced = [ShapeSpec(channels=reduce_dim, stride=shape.stride) for shape in input_shape]
        super().__init__(input_shape=reduced, norm=norm, **head)
        self.reduce = Conv2d(
            input_shape[0].channels,
            reduce_dim,
            kernel_size=1,
            bias=not norm,
            norm=get_norm(norm, reduce_dim),
            activation=nn.functional.relu,
        )
        nn.init.kaiming_normal_(self.reduce.weight, mode="fan_out", nonlinearity="relu")
        if self.reduce.bias is not None:
            nn.init.zeros_(self.reduce.bias)

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Logits, box deltas and centreness of each level."""
        return super().forward([self.reduce(feature) for feature in features])


def _build_head(fcos: CfgNode, shapes: list[ShapeSpec]) -> FCOSHead:
    """``WEND.FCOS``'s head on feature maps of these shapes; InputError where they do not fit."""
    channels = [shape.channels for shape in shapes]
    if len(set(channels)) > 1:
        raise InputError(
            f"config entry WEND.FCOS.IN_FEATURES: expected feature maps of equal channels, as the "
            f"head is shared; {', '.join(fcos.IN_FEATURES)} have {channels}; use one, or a pyramid"
        )
    tower = fcos.CONV_DIM or fcos.REDUCE_DIM or channels[0]
    for width in {tower, fcos.REDUCE_DIM}:
        if fcos.NORM == "GN" and width % 32:
            raise InputError(
                f"config entry WEND.FCOS.NORM: GN needs towers of a multiple of 32 channels, got "
                f"{width}; set WEND.FCOS.CONV_DIM and REDUCE_DIM so, or WEND.FCOS.NORM ''"
            )
    arguments = {
        "input_shape": shapes,
        "num_classes": fcos.NUM_CLASSES,
        "conv_dims": [tower] * fcos.NUM_CONVS,
        "norm": fcos.NORM,
        "prior_prob": fcos.PRIOR_PROB,
    }
    if fcos.REDUCE_DIM:
        head = ReducedFCOSHead(reduce_dim=fcos.REDUCE_DIM, **arguments)
    else:
        head = FCOSHead(**arguments)
    nn.init.constant_(head.bbox_pred.bias, fcos.INITIAL_DISTANCE)
    return head


@META_ARCH_REGISTRY.register()
class BinaryFCOS(JointLoss, FCOS):
    """FCOS whose classifier also carries the unsupervised loss; eq. (4) weights its losses.

    Args:
        localization_loss: L_unsup and η of eq. (4).
        loss_weights: λ of eq. (1): name of a loss of Detectron2's FCOS -> its weight, 1 where it
            is left out.
        own_crops, closer_look: see :class:`wend.d2.frames.PredictsOnCrops`.
        fcos: arguments of Detectron2's ``FCOS``.
    """

    classes_entry = "WEND.FCOS.NUM_CLASSES"
    # Detectron2's, which has no types
    num_classes: int
    loss_normalizer: float
    _num_positives: float  # of the batch, the mean over the processes
    box2box_transform: Box2BoxTransformLinear
    _match_anchors: ClassVar[Callable[..., Tensor]]

    @configurable
    def __init__(
        self,
        *,
        localization_loss: LocalizationLoss,
        loss_weights: Mapping[str, float] = MappingProxyType({}),
        own_crops: OwnCrops | None = None,
        closer_look: float = 0.0,
        **fcos: Any,
    ) -> None:
        super().__init__(**fcos)
        self.loss_weights = loss_weights
        self.own_crops = own_crops
        self.closer_look = closer_look
        check_binary("WEND.FCOS.NUM_CLASSES", self.num_classes, localization_loss)
        self.localization_loss = localization_loss

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """``WEND.FCOS``'s detector."""
        fcos = cfg.WEND.FCOS
        backbone = build_backbone(cfg)
        shapes = chosen_features(
            cfg, "WEND.FCOS.IN_FEATURES", fcos.IN_FEATURES, backbone.output_shape()
        )
        return {
            "localization_loss": localization_loss(cfg),
            "loss_weights": {
                "loss_fcos_cls": fcos.CLASS_WEIGHT,
                "loss_fcos_loc": fcos.BOX_WEIGHT,
                "loss_fcos_ctr": fcos.CENTERNESS_WEIGHT,
            },
            "own_crops": OwnCrops.of_config(cfg),
            "closer_look": cfg.WEND.CLOSER_LOOK,
            "backbone": backbone,
            "head": cls.build_head(cfg, shapes),
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

    @classmethod
    def build_head(cls, cfg: CfgNode, shapes: list[ShapeSpec]) -> nn.Module:
        """The head on feature maps of these shapes; here a subclass may build another.

        Raises:
            InputError: ``WEND.FCOS`` does not fit the maps.
        """
        return _build_head(cfg.WEND.FCOS, shapes)

    @torch.no_grad()
    def label_anchors(
        self, anchors: list[Boxes], gt_instances: list[Instances]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Detectron2's labels and boxes of each image (R,) and (R, 4), for all images at once.

        Detectron2 loops over the images: 256 of them in the paper's batch.
        """
        counts = [len(instances) for instances in gt_instances]
        if not sum(counts):
            labels, matched = super().label_anchors(anchors, gt_instances)
            none = [torch.full_like(each, -1) for each in labels]
            self.localization_loss.count_positives(none, counts)
            return labels, matched
        all_boxes = Boxes.cat([instances.gt_boxes for instances in gt_instances])
        quality = self._match_anchors(all_boxes, anchors)  # (M, R)
        # (N, P, R) -> (N, R): the box that each location is for, as long as the quality is not 0
        quality, chosen = pad_sequence(quality.split(counts), batch_first=True).max(1)
        boxes = pad_sequence(all_boxes.tensor.split(counts), batch_first=True)  # (N, P, 4)
        classes = pad_sequence(
            [instances.gt_classes for instances in gt_instances], batch_first=True
        )  # (N, P)
        background = quality < 1e-5
        self.localization_loss.count_positives([*chosen.masked_fill(background, -1)], counts)
        labels = classes.gather(1, chosen).masked_fill(background, self.num_classes)
        matched = boxes.gather(1, chosen[..., None].expand(-1, -1, 4))
        return list(labels), list(matched)

    def losses(
        self,
        anchors: list[Boxes],
        pred_logits: list[Tensor],
        gt_labels: list[Tensor],
        pred_anchor_deltas: list[Tensor],
        gt_boxes: list[Tensor],
        pred_centerness: list[Tensor],
    ) -> dict[str, Tensor]:
        """FCOS's own losses as chosen and weighed, and L_unsup on all locations.

        Args:
            pred_logits: logits of each level (N, R of the level, K); foreground log-odds if K = 1.
            anchors, gt_labels, pred_anchor_deltas, gt_boxes, pred_centerness: see Detectron2's.
        """
        # float32: under autocast the area of a decoded box would overflow half precision
        pred_anchor_deltas = [deltas.float() for deltas in pred_anchor_deltas]
        loss = self.localization_loss
        labels = (torch.stack(gt_labels) != self.num_classes).long()
        context = loss.context(  # weights have no gradient
            cat(pred_logits, dim=1)[..., 0].detach(),
            labels=labels,
            sample_boxes=lambda: self._predicted_boxes(anchors, pred_anchor_deltas),
        )
        assert context.num_positives is not None
        self._num_positives = float(context.num_positives)
        weights = loss.weights(context)
        by_image = None if weights is None else weights.view_as(labels)  # (N, R)
        losses = super().losses(
            anchors,
            _weighed(pred_logits, by_image),
            gt_labels,
            _weighed(pred_anchor_deltas, by_image),
            gt_boxes,
            _weighed(pred_centerness, by_image),
        )
        context = context.changed(
            logits=cat(pred_logits, dim=1)[..., 0].flatten(),
            num_positives=self.loss_normalizer,  # a moving average, which L_cls is divided by
        )
        losses["loss_fcos_cls"] = loss.classification(
            losses["loss_fcos_cls"], context, weights, 1 / self.loss_normalizer
        )
        losses = weighted(losses, self.loss_weights)
        unsupervised = loss.unsupervised_of(
            context, supervised=losses["loss_fcos_cls"], shared=pred_logits
        )
        return {**losses, **unsupervised}

    def _ema_update(
        self, name: str, value: float, initial_value: float, momentum: float = 0.9
    ) -> float:
        """Detectron2's moving average of a batch's positives, which the losses are divided by.

        It begins with those of the first batch, not with 300, and is that of all processes.
        """
        if name == "loss_normalizer":
            value = initial_value = self._num_positives
        return super()._ema_update(name, value, initial_value, momentum)

    @torch.no_grad()
    def _predicted_boxes(self, anchors: list[Boxes], deltas: list[Tensor]) -> Tensor:
        """The box of each location (N·R, 4), xyxy."""
        all_deltas = cat(deltas, dim=1)  # (N, R, 4)
        sources = Boxes.cat(anchors).tensor.expand_as(all_deltas)
        return self.box2box_transform.apply_deltas(all_deltas.flatten(0, 1), sources.flatten(0, 1))


def _weighed(levels: list[Tensor], weights: Tensor | None) -> list[Tensor]:
    """Predictions (N, R of the level, C) whose gradients are multiplied by weights (N, R)."""
    if weights is None:
        return levels
    parts = weights.split([level.shape[1] for level in levels], dim=1)
    return [scale_gradient(level, part) for level, part in zip(levels, parts, strict=True)]
