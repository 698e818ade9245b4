"""Torchvision's FCOS with one foreground class, of label 0 and one sigmoid channel, and L_unsup.

The arithmetic is :mod:`wend.modeling.fcos`'s, for a whole batch at once. ``fixed`` are the config's
entries that torchvision cannot do otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOS, FCOSHead

from wend.config import localization_loss
from wend.errors import InputError
from wend.modeling.fcos.boxes import candidates
from wend.modeling.fcos.locations import Locations
from wend.modeling.fcos.output import HeadOutput
from wend.modeling.fcos.training import Supervision, loss_terms
from wend.modeling.hooks import check_hooks
from wend.modeling.layers.box_batch import BoxBatch
from wend.modeling.layers.box_choice import Choice, borders, chosen, cut_at
from wend.modeling.layers.image_batch import ImageBatch, Size
from wend.modeling.layers.per_map_size import PerMapSize
from wend.tv.backbones import build_feature_backbone
from wend.tv.detector import (
    META_ARCH_REGISTRY,
    JointLoss,
    Normalization,
    StrideAnchors,
    level_anchors,
    transform_arguments,
)

FOCAL_LOSS = {"alpha": 0.25, "gamma": 2.0}  # torchvision's
REPLACED = {"terms": ("compute_loss",), "predicted": ("postprocess_detections",)}


class BinaryFCOSHead(FCOSHead):
    """Torchvision's FCOS head of one class, whose boxes start at ``WEND.FCOS.INITIAL_DISTANCE``."""

    def __init__(self, in_channels: int, fcos: CfgNode) -> None:
        super().__init__(in_channels, num_anchors=1, num_classes=1, num_convs=fcos.NUM_CONVS)
        nn.init.constant_(self.regression_head.bbox_reg.bias, fcos.INITIAL_DISTANCE)


@META_ARCH_REGISTRY.register()
class BinaryFCOS(JointLoss, FCOS):
    """FCOS with one foreground class, its losses weighted by eq. (4)."""

    # torchvision's, which has no types
    backbone: nn.Module
    head: nn.Module
    anchor_generator: AnchorGenerator
    center_sampling_radius: float
    score_thresh: float
    topk_candidates: int
    nms_thresh: float
    detections_per_img: int
    foreground_label = 0
    fixed = MappingProxyType(
        {
            "WEND.FCOS.NUM_CLASSES": 1,
            "WEND.FCOS.CONV_DIM": 0,
            "WEND.FCOS.REDUCE_DIM": 0,
            "WEND.FCOS.NORM": "GN",
            "WEND.FCOS.PRIOR_PROB": 0.01,
            "WEND.FCOS.FOCAL_LOSS_ALPHA": FOCAL_LOSS["alpha"],
            "WEND.FCOS.FOCAL_LOSS_GAMMA": FOCAL_LOSS["gamma"],
        }
    )

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        check_hooks(cls, BinaryFCOS, REPLACED)

    def __init__(self, cfg: CfgNode) -> None:
        fcos = cfg.WEND.FCOS
        backbone = build_feature_backbone(cfg, "WEND.FCOS.IN_FEATURES")
        if backbone.out_channels % 32:
            raise InputError(
                f"config entry WEND.FCOS.NORM: GN needs a multiple of 32 channels, the feature map "
                f"has {backbone.out_channels}"
            )
        super().__init__(
            backbone,
            num_classes=1,
            anchor_generator=StrideAnchors(
                sizes=tuple((stride,) for stride in backbone.chosen_strides),
                aspect_ratios=((1.0,),) * len(backbone.names),
                strides=backbone.chosen_strides,
            ),
            head=BinaryFCOSHead(backbone.out_channels, fcos),
            center_sampling_radius=fcos.CENTER_SAMPLING_RADIUS,
            score_thresh=fcos.SCORE_THRESH_TEST,
            nms_thresh=fcos.NMS_THRESH_TEST,
            topk_candidates=fcos.TOPK_CANDIDATES_TEST,
            detections_per_img=cfg.TEST.DETECTIONS_PER_IMAGE,
            **transform_arguments(cfg),
        )
        self.localization_loss = localization_loss(cfg)
        self.loss_weights = {
            "classification": fcos.CLASS_WEIGHT,
            "bbox_regression": fcos.BOX_WEIGHT,
            "bbox_ctrness": fcos.CENTERNESS_WEIGHT,
        }
        self.normalization = Normalization(cfg)
        self._locations = PerMapSize[Locations]()

    def head_output(self, images: Sequence[Tensor]) -> tuple[HeadOutput, Locations, ImageBatch]:
        """What the head says of a batch, where, and the batch."""
        batch = self.normalization(images)
        maps = self.backbone(batch.tensor)
        maps = [maps] if isinstance(maps, Tensor) else list(maps.values())
        output = self.head(maps)
        size = (batch.tensor.shape[-2], batch.tensor.shape[-1])
        locations = self._locations.of(maps, partial(self._locations_of, maps, size), size)
        return (
            HeadOutput(
                output["cls_logits"], output["bbox_regression"], output["bbox_ctrness"][..., 0]
            ),
            locations,
            batch,
        )

    def _locations_of(self, maps: list[Tensor], size: Size) -> Locations:
        return Locations.of_anchors(level_anchors(self.anchor_generator, maps, size))

    def terms(self, images: list[Tensor], targets: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Torchvision's losses as chosen and weighed, and L_unsup on all locations."""
        output, locations, _ = self.head_output(images)
        return loss_terms(
            output,
            locations,
            self.localization_loss,
            Supervision(
                names=("classification", "bbox_regression", "bbox_ctrness"),
                radius=self.center_sampling_radius,
                alpha=FOCAL_LOSS["alpha"],
                gamma=FOCAL_LOSS["gamma"],
                weights=self.loss_weights,
            ),
            normalizer=lambda positives: positives,
        )

    def predicted(self, images: Sequence[Tensor]) -> BoxBatch:
        """The boxes of a batch, in pixels of its images."""
        output, locations, batch = self.head_output(images)
        boxes, scores, _ = candidates(
            output, locations, most_per_level=self.topk_candidates, above=self.score_thresh
        )
        # torchvision's boxes are cut before they are compared
        best = chosen(cut_at(boxes, borders(batch.sizes, boxes)), scores, self.choice)
        return self.normalization.in_pixels_of(images, best)

    @property
    def choice(self) -> Choice:
        """How boxes are chosen among the candidates."""
        return Choice(
            above=self.score_thresh, max_iou=self.nms_thresh, most=self.detections_per_img
        )
