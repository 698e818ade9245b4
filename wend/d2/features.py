"""A config's choices that depend on Detectron2's backbone or detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import FPN, META_ARCH_REGISTRY, Backbone
from torch import nn

from wend.d2.backbones import SimplePyramidBackbone
from wend.modeling.backbones.feature_maps import check_feature_maps
from wend.run import value_of


def chosen_features(
    cfg: CfgNode, entry: str, names: Sequence[str], available: Mapping[str, ShapeSpec]
) -> list[ShapeSpec]:
    """Shapes of the chosen feature maps.

    Args:
        entry: the config entry that chooses them.
        names: the choice.
        available: shapes of the backbone's feature maps by name.

    Raises:
        InputError: none is chosen, the backbone lacks one, or one is smaller than 1x1 cells.
    """
    strides = {name: shape.stride for name, shape in available.items()}
    check_feature_maps(cfg, entry, names, strides)
    return [available[name] for name in names]


def number_of_classes(cfg: CfgNode) -> int:
    """Foreground classes of the detector; with more than one, boxes carry the image's class.

    One, but for detectors that name the entry with their number: ``classes_entry``.
    """
    entry = getattr(META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE), "classes_entry", "")
    return value_of(cfg, entry) if entry else 1


def leaves_parts_unused(model: nn.Module) -> bool:
    """Whether a detector's backbone may have parameters that no loss depends on.

    So it is where the head reads no map as coarse as the coarsest, or not every level of a pyramid.

    Args:
        model: a detector; without a ``backbone`` of Detectron2's nothing is known, so it may.
    """
    backbone = getattr(model, "backbone", None)
    if not isinstance(backbone, Backbone):
        return True
    readers = [getattr(model, name, None) for name in ("proposal_generator", "roi_heads")]
    attributes = ("head_in_features", "in_features", "box_in_features")
    read = {
        name
        for part in (model, *readers)
        for attribute in attributes
        for name in getattr(part, attribute, ())
    }
    shapes = backbone.output_shape()
    if isinstance(backbone, SimplePyramidBackbone):
        return any(shape.stride <= 32 for name, shape in shapes.items() if name not in read)
    if isinstance(backbone, FPN):
        if not shapes.keys() <= read:
            return True
        shapes, read = backbone.bottom_up.output_shape(), set(backbone.in_features)
    strides = [shapes[name].stride for name in read & shapes.keys()]
    return max(shape.stride for shape in shapes.values()) > max(strides, default=0)
