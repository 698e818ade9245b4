"""Torchvision's detectors as functions from a batch of crops to candidates."""

from __future__ import annotations

from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from wend.errors import InputError
from wend.modeling.candidates.base import CandidateDetector, Constants
from wend.modeling.candidates.fcos import FCOSCandidates
from wend.modeling.candidates.rcnn import RCNNCandidates
from wend.modeling.candidates.tensors import TensorCandidates
from wend.modeling.detectors import Detector
from wend.modeling.fcos.output import HeadOutput
from wend.modeling.layers.box_choice import Choice
from wend.modeling.rcnn.proposals import ProposalLevel, proposal_levels
from wend.tv.detector import level_anchors
from wend.tv.models import BinaryFCOS, BinaryRCNN
from wend.tv.rcnn import SMALLEST_BOX


def candidate_detector(cfg: CfgNode, model: nn.Module, size: tuple[int, int]) -> CandidateDetector:
    """The model as a function of pixels; it shares the model's weights.

    Args:
        cfg: the model's config.
        model: as :func:`wend.tv.models.build_model` makes it, in evaluation mode, on the CPU.
        size: height and width of the crops.

    Raises:
        InputError: a detector of another kind.
    """
    shared: dict[str, Any] = {"size": size, "padded": size, "bgr": False}
    if isinstance(model, BinaryFCOS):
        return TVFCOSCandidates(model, **shared, **_normalization(model))
    if isinstance(model, BinaryRCNN):
        return TVRCNNCandidates(model, **shared, **_normalization(model))
    if isinstance(model, Detector):
        return TensorCandidates(
            detector=model,
            choice=Choice(drop_empty=True),
            pixel_mean=model.pixel_mean.flatten().tolist(),
            pixel_std=model.pixel_std.flatten().tolist(),
            **shared,
        )
    raise InputError(
        f"detector {cfg.MODEL.META_ARCHITECTURE}: cannot be exported; BinaryFCOS, BinaryRCNN and "
        f"subclasses of wend.modeling.detectors.Detector can"
    )


def _normalization(model: Any) -> dict[str, Any]:
    """Of torchvision's transform, which its detectors begin with."""
    return {"pixel_mean": model.transform.image_mean, "pixel_std": model.transform.image_std}


def _anchors(model: Any, generator: Any, size: tuple[int, int]) -> list[Tensor]:
    """The anchors of each level (R, 4) of a crop."""
    with torch.no_grad():
        features = list(model.backbone(torch.zeros(1, 3, *size)).values())
    return level_anchors(generator, features, size)


class TVFCOSCandidates(FCOSCandidates):
    """Torchvision's FCOS."""

    backbone: nn.Module
    head: nn.Module

    def __init__(self, model: Any, size: tuple[int, int], **shared: Any) -> None:
        super().__init__(
            anchors=_anchors(model, model.anchor_generator, size),
            most_per_level=model.topk_candidates,
            clip_candidates=True,
            choice=model.choice.inside_images(),
            size=size,
            **shared,
        )
        self.backbone, self.head = model.backbone, model.head

    def output(self, images: Tensor) -> HeadOutput:
        """The head's output."""
        output = self.head(list(self.backbone(images).values()))
        return HeadOutput(
            output["cls_logits"], output["bbox_regression"], output["bbox_ctrness"][..., 0]
        )


class TVRCNNCandidates(RCNNCandidates):
    """Torchvision's Faster R-CNN."""

    # parts of torchvision's, which has no types
    backbone: nn.Module
    rpn_head: nn.Module
    heads: Any

    def __init__(self, model: Any, size: tuple[int, int], **shared: Any) -> None:
        heads, rpn = model.roi_heads, model.rpn
        super().__init__(
            proposal_choice=rpn.choice(),
            min_side=SMALLEST_BOX,
            choice=heads.choice.inside_images(),
            size=size,
            **shared,
        )
        self.backbone, self.rpn_head, self.heads = model.backbone, rpn.head, heads
        self.rpn_coder = rpn.box_coder
        self.anchors = Constants(_anchors(model, rpn.anchor_generator, size))

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """The backbone's maps."""
        return self.backbone(images)

    def proposal_levels(self, features: dict[str, Tensor]) -> list[ProposalLevel]:
        """The region proposal network's output."""
        logits, deltas = self.rpn_head(list(features.values()))
        return proposal_levels(logits, deltas, [*self.anchors])

    def decode(self, deltas: Tensor, anchors: Tensor) -> Tensor:
        """Boxes of moved anchors."""
        return self.rpn_coder.decode_single(deltas, anchors)

    def head(
        self, features: dict[str, Tensor], regions: Tensor, objectness: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Torchvision's box head on regions."""
        scores, deltas = self.heads.head(features, regions, [self.size])
        return self.heads.decoded(deltas, regions[:, 1:]), scores.softmax(-1)[:, 1:]
