"""Binary FCOS: Detectron2's FCOS with one foreground class, reachable from YAML, with L_unsup.

The paper's head sits directly on C5 with one 3x3 convolution in each tower (facts that its table
1 proves: 99,128,390 parameters with ResNet50). FPN levels, more convolutions and lean towers
(``WEND.FCOS.CONV_DIM``, or ``REDUCE_DIM`` before them) follow from the config.

The arithmetic is :mod:`wend.modeling.fcos`'s, for a whole batch at once.

Shape letters: N = images, P = most boxes of an image.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from detectron2.modeling.box_regression import Box2BoxTransformLinear
from detectron2.modeling.meta_arch.fcos import FCOS, FCOSHead
from detectron2.structures import ImageList
from torch import Tensor, nn

from wend.config import check_binary, localization_loss
from wend.d2.features import chosen_features
from wend.d2.frames import Batch, OwnCrops
from wend.d2.image_list import image_list
from wend.d2.joint_loss import JointLoss
from wend.errors import InputError
from wend.losses import LocalizationLoss
from wend.modeling.fcos.boxes import candidates
from wend.modeling.fcos.locations import Locations
from wend.modeling.fcos.output import HeadOutput
from wend.modeling.fcos.training import Supervision, loss_terms
from wend.modeling.hooks import check_hooks
from wend.modeling.layers.box_batch import BoxBatch
from wend.modeling.layers.box_choice import Choice, chosen
from wend.modeling.layers.per_map_size import PerMapSize

MOMENTUM = 0.9  # of Detectron2's moving average of the positives
REPLACED = {  # Detectron2's methods that go image by image or level by level
    "terms": (
        "forward_training",
        "label_anchors",
        "_match_anchors",
        "losses",
        "compute_ctrness_targets",
        "_ema_update",
    ),
    "predicted": (
        "forward_inference",
        "inference_single_image",
        "_decode_multi_level_predictions",
        "_decode_per_level_predictions",
    ),
}


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
    backbone: nn.Module
    head: nn.Module
    head_in_features: list[str]
    anchor_generator: nn.Module
    box2box_transform: Any
    num_classes: int
    center_sampling_radius: float
    focal_loss_alpha: float
    focal_loss_gamma: float
    test_score_thresh: float
    test_topk_candidates: int
    test_nms_thresh: float
    max_detections_per_image: int
    loss_normalizer: Tensor | float

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        check_hooks(cls, BinaryFCOS, REPLACED)

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
        coder = self.box2box_transform
        if not isinstance(coder, Box2BoxTransformLinear) or not coder.normalize_by_size:
            raise InputError(
                f"box2box_transform: expected a Box2BoxTransformLinear that normalizes by size, "
                f"got {type(coder).__name__}; BinaryFCOS has no other"
            )
        self.loss_weights = loss_weights
        self.own_crops = own_crops
        self.closer_look = closer_look
        check_binary("WEND.FCOS.NUM_CLASSES", self.num_classes, localization_loss)
        self.localization_loss = localization_loss
        self._locations = PerMapSize[Locations]()

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

    def preprocess_image(self, batched_inputs: Batch) -> ImageList:
        """Normalized and padded images."""
        return image_list(self, batched_inputs)

    def head_output(self, batched_inputs: Batch) -> tuple[HeadOutput, Locations]:
        """What the head says of a batch, and where."""
        maps = self.backbone(self.preprocess_image(batched_inputs).tensor)
        maps = [maps[name] for name in self.head_in_features]
        output = HeadOutput.of_maps(*self.head(maps))
        return output, self._locations.of(maps, partial(self._locations_of, maps))

    def _locations_of(self, maps: list[Tensor]) -> Locations:
        return Locations.of_anchors([boxes.tensor for boxes in self.anchor_generator(maps)])

    def terms(self, batched_inputs: Batch) -> dict[str, Tensor]:
        """FCOS's own losses as chosen and weighed, and L_unsup on all locations."""
        output, locations = self.head_output(batched_inputs)
        return loss_terms(
            output,
            locations,
            self.localization_loss,
            Supervision(
                names=("loss_fcos_cls", "loss_fcos_loc", "loss_fcos_ctr"),
                radius=self.center_sampling_radius,
                alpha=self.focal_loss_alpha,
                gamma=self.focal_loss_gamma,
                weights=self.loss_weights,
            ),
            normalizer=self._moving_average,
            classes=self._classes(batched_inputs) if self.num_classes > 1 else None,
        )

    def _classes(self, batched_inputs: Batch) -> Tensor:
        """The classes (N, P) of the boxes."""
        classes = torch.cat([entry["instances"].gt_classes for entry in batched_inputs])
        truth = self.localization_loss.images.padded
        return truth.padded([classes.to(truth.index.device, non_blocking=True)])

    def _moving_average(self, positives: Tensor) -> Tensor:
        """Detectron2's moving average of a batch's positives, which the losses are divided by.

        It begins with those of the first batch, not with 300, and is that of all processes. It
        stays on the device, in the float64 that Python's numbers have.
        """
        if positives.device.type != "mps":  # which has no float64
            positives = positives.double()
        old = vars(self).get("loss_normalizer")  # of a checkpoint: a number
        if old is None:
            old = positives
        old = torch.as_tensor(old, dtype=positives.dtype, device=positives.device)
        self.loss_normalizer = old * MOMENTUM + positives * (1 - MOMENTUM)
        return self.loss_normalizer.float()

    def predicted(self, batched_inputs: Batch) -> BoxBatch:
        """The boxes of a batch, in pixels of its images, which nothing has cut yet."""
        output, locations = self.head_output(batched_inputs)
        boxes, scores, classes = candidates(
            output,
            locations,
            most_per_level=self.test_topk_candidates,
            above=self.test_score_thresh,
        )
        return chosen(boxes, scores, self.choice, classes=classes)

    @property
    def choice(self) -> Choice:
        """How boxes are chosen among the candidates."""
        return Choice(
            above=self.test_score_thresh,
            max_iou=self.test_nms_thresh,
            most=self.max_detections_per_image,
        )
