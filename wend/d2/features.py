"""The feature maps that a config chooses, checked against what the backbone has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec

from wend.backbones.build import check_feature_sizes
from wend.errors import InputError


def chosen_features(
    cfg: CfgNode, entry: str, names: Sequence[str], available: Mapping[str, ShapeSpec]
) -> list[ShapeSpec]:
    """Shapes of the chosen feature maps.

    Args:
        entry: the config entry that chooses them.
        names: the choice.
        available: the backbone's.

    Raises:
        InputError: none is chosen, the backbone lacks one, or one is smaller than 1x1 cells.
    """
    if not names or any(name not in available for name in names):
        raise InputError(
            f"config entry {entry}: expected some of the feature maps of "
            f"{cfg.MODEL.BACKBONE.NAME}, {', '.join(available)}; got {names}"
        )
    strides = {name: shape.stride for name, shape in available.items()}
    check_feature_sizes(entry, names, strides, cfg.WEND.CROP)
    return [available[name] for name in names]
