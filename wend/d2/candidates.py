"""Detectron2's detectors as functions from a batch of crops to candidates."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.structures import ImageList
from torch import Tensor, nn

from wend.d2.faster_rcnn import BinaryRCNN, BinaryROIHeads
from wend.d2.fcos import BinaryFCOS
from wend.d2.rpn import proposal_choice
from wend.errors import InputError
from wend.modeling.candidates.base import CandidateDetector, Constants
from wend.modeling.candidates.fcos import FCOSCandidates
from wend.modeling.candidates.rcnn import RCNNCandidates
from wend.modeling.candidates.tensors import TensorCandidates
from wend.modeling.detectors import Detector
from wend.modeling.fcos.output import HeadOutput
from wend.modeling.layers.box_choice import Choice
from wend.modeling.rcnn.proposals import ProposalLevel, proposal_levels


def candidate_detector(cfg: CfgNode, model: Any, size: tuple[int, int]) -> CandidateDetector:
    """The model as a function of pixels; it shares the model's weights.

    Args:
        cfg: the model's config.
        model: as Detectron2's ``build_model`` makes it, in evaluation mode, on the CPU.
        size: height and width of the crops.

    Raises:
        InputError: a detector of another kind, or one of several classes.
    """
    backbone = model.backbone
    padded = ImageList.from_tensors(
        [torch.empty(3, *size, device="meta")],
        backbone.size_divisibility,
        padding_constraints=backbone.padding_constraints,
    ).tensor.shape[-2:]
    shared: dict[str, Any] = {
        "size": size,
        "padded": tuple(padded),
        "pixel_mean": model.pixel_mean.flatten().tolist(),
        "pixel_std": model.pixel_std.flatten().tolist(),
        "bgr": cfg.INPUT.FORMAT == "BGR",
    }
    if isinstance(model, BinaryFCOS):
        _check_classes("WEND.FCOS.NUM_CLASSES", model.num_classes)
        return D2FCOSCandidates(model, **shared)
    if isinstance(model, BinaryRCNN):
        if not isinstance(model.roi_heads, BinaryROIHeads):
            raise InputError(
                f"config entry MODEL.ROI_HEADS.NAME: {type(model.roi_heads).__name__} cannot be "
                f"exported; BinaryROIHeads and CLNROIHeads can"
            )
        _check_classes("MODEL.ROI_HEADS.NUM_CLASSES", model.roi_heads.num_classes)
        return D2RCNNCandidates(model, **shared)
    if isinstance(model, Detector):
        return TensorCandidates(detector=model, choice=Choice(), **shared)
    raise InputError(
        f"detector {cfg.MODEL.META_ARCHITECTURE}: cannot be exported; BinaryFCOS, BinaryRCNN, CLN "
        f"and subclasses of wend.modeling.detectors.Detector can"
    )


def _check_classes(entry: str, classes: int) -> None:
    if classes != 1:
        raise InputError(
            f"config entry {entry}: a detector of {classes} classes cannot be exported, only one "
            f"with one foreground class"
        )


class D2FCOSCandidates(FCOSCandidates):
    """Detectron2's FCOS."""

    backbone: nn.Module
    head: nn.Module

    def __init__(self, model: Any, padded: tuple[int, int], **shared: Any) -> None:
        names = list(model.head_in_features)
        super().__init__(
            anchors=_anchors(model, model.anchor_generator, names, padded),
            most_per_level=model.test_topk_candidates,
            clip_candidates=False,
            choice=model.choice.inside_images(),
            padded=padded,
            **shared,
        )
        self.backbone, self.head, self.names = model.backbone, model.head, names

    def output(self, images: Tensor) -> HeadOutput:
        """The head's output."""
        features = self.backbone(images)
        return HeadOutput.of_maps(*self.head([features[name] for name in self.names]))


def _anchors(model: Any, generator: Any, names: list[str], padded: tuple[int, int]) -> list[Tensor]:
    """The anchors of each level (R, 4) of a batch of this size."""
    with torch.no_grad():
        features = model.backbone(torch.zeros(1, len(model.pixel_mean), *padded))
    return [boxes.tensor for boxes in generator([features[name] for name in names])]


class D2RCNNCandidates(RCNNCandidates):
    """Detectron2's Faster R-CNN, and CLN."""

    # parts of Detectron2's, which has no types
    backbone: nn.Module
    rpn_head: nn.Module
    heads: Any

    def __init__(self, model: Any, padded: tuple[int, int], **shared: Any) -> None:
        rpn, heads = model.proposal_generator, model.roi_heads
        super().__init__(
            proposal_choice=proposal_choice(rpn, training=False),
            choice=heads.choice.inside_images(),
            padded=padded,
            **shared,
        )
        self.backbone, self.rpn_head, self.heads = model.backbone, rpn.rpn_head, heads
        self.names, self.rpn_coder = list(rpn.in_features), rpn.box2box_transform
        self.anchors = Constants(_anchors(model, rpn.anchor_generator, self.names, padded))

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """The backbone's maps."""
        return self.backbone(images)

    def proposal_levels(self, features: dict[str, Tensor]) -> list[ProposalLevel]:
        """The region proposal network's output."""
        logits, deltas = self.rpn_head([features[name] for name in self.names])
        return proposal_levels(logits, deltas, [*self.anchors])

    def decode(self, deltas: Tensor, anchors: Tensor) -> Tensor:
        """Boxes of moved anchors."""
        return self.rpn_coder.apply_deltas(deltas, anchors)

    def head(
        self, features: dict[str, Tensor], regions: Tensor, objectness: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Detectron2's box head on regions."""
        predictions = self.heads.head(features, regions)
        predictor = self.heads.box_predictor
        boxes = predictor.decoded(predictions, regions[:, 1:])
        return boxes, predictor.foreground_scores(predictions, objectness)
