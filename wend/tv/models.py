"""The torchvision engine's detectors by name: torchvision's own, and those that know no engine."""

from __future__ import annotations

from collections.abc import Callable

from fvcore.common.config import CfgNode
from torch import nn

from wend.config import check_carries_loss
from wend.errors import InputError
from wend.modeling.arithmetic import compute_as
from wend.modeling.detectors import DETECTORS, Detector
from wend.tv.adapter import adapted
from wend.tv.backbones import FeatureBackbone, PyramidBackbone
from wend.tv.detector import META_ARCH_REGISTRY, JointLoss
from wend.tv.fcos import BinaryFCOS
from wend.tv.rcnn import BinaryRCNN

__all__ = [
    "META_ARCH_REGISTRY",
    "BinaryFCOS",
    "BinaryRCNN",
    "JointLoss",
    "build_model",
    "find_detector",
    "leaves_parts_unused",
]


def leaves_parts_unused(model: nn.Module) -> bool:
    """Whether a detector's backbone may have parameters that no loss depends on.

    So it is where torchvision's detectors read no map as coarse as the coarsest, or not every level
    of a pyramid; of others it is not known.
    """
    backbone = model.backbone if isinstance(model, JointLoss) else None
    if isinstance(backbone, PyramidBackbone):
        if set(backbone.names) < set(backbone.channels):
            return True
        backbone = backbone.bottom_up
    if not isinstance(backbone, FeatureBackbone):
        return True
    return max(backbone.strides.values()) > max(backbone.chosen_strides)


@DETECTORS.follow
def _register_adapted(name: str, detector: type[Detector]) -> None:
    META_ARCH_REGISTRY.register(name)(adapted(name, detector))


def find_detector(cfg: CfgNode) -> Callable[[CfgNode], nn.Module]:
    """The class of ``MODEL.META_ARCHITECTURE``; InputError, which lists the names, if not there."""
    try:
        return META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)
    except InputError as error:
        raise type(error)(
            f"config entry MODEL.META_ARCHITECTURE: {error}; others need --engine detectron2"
        ) from error


def build_model(cfg: CfgNode) -> nn.Module:
    """The detector that the config names, on its device."""
    model = find_detector(cfg)(cfg).to(cfg.MODEL.DEVICE)
    check_carries_loss(cfg, model)
    compute_as(model, cfg)
    return model
