"""The feature maps that a config chooses, checked against those that its backbone has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from fvcore.common.config import CfgNode

from wend.errors import InputError
from wend.modeling.backbone_names import SIMPLE, parse_backbone_name


def check_feature_maps(
    cfg: CfgNode, entry: str, names: Sequence[str], strides: Mapping[str, int]
) -> None:
    """Refuse feature maps that the backbone lacks, or of which one cell is larger than the crop.

    Args:
        cfg: MODEL.BACKBONE.NAME and WEND.CROP.
        entry: the config entry that chooses the maps.
        names: the choice.
        strides: pixels per cell of each of the backbone's maps by name.

    Raises:
        InputError: none is chosen, the backbone lacks one, or one is smaller than 1x1 cells.
    """
    if not names or any(name not in strides for name in names):
        raise InputError(
            f"config entry {entry}: expected some of the feature maps of "
            f"{cfg.MODEL.BACKBONE.NAME}, {', '.join(strides)}; got {names}"
            f"{_of_one_map(cfg, strides)}"
        )
    crop = cfg.WEND.CROP
    large = {name: strides[name] for name in names if strides[name] > crop}
    if large:
        raise InputError(
            f"config entry {entry}: expected feature maps of at least 1x1 cells; of a crop of "
            f"{crop} pixels (WEND.CROP) {', '.join(large)} would be smaller (stride "
            f"{', '.join(map(str, large.values()))}); leave them out, or set WEND.CROP to "
            f"{max(large.values())} or more"
        )


def _of_one_map(cfg: CfgNode, strides: Mapping[str, int]) -> str:
    """What to do where more is expected of a backbone of one map, as a vision transformer."""
    from wend.modeling.backbones.build import BODIES  # which loads torchvision

    name = parse_backbone_name(cfg.MODEL.BACKBONE.NAME)
    chosen = name.body == "resnet"  # Detectron2's outputs MODEL.RESNETS.OUT_FEATURES of its maps
    if len(strides) > 1 or chosen or name.body not in BODIES or name.pyramid == SIMPLE:
        return ""
    (only,) = strides
    return (
        f"; it has this one map: name {only}, or for maps of several strides, p2 to p6, set "
        f"MODEL.BACKBONE.NAME build_{name.body}_{SIMPLE}_backbone"
    )


def only_map(cfg: CfgNode, strides: Mapping[str, int]) -> str:
    """The one feature map of a backbone, that a simple pyramid is made of.

    Raises:
        InputError: it has several.
    """
    if len(strides) > 1:
        raise InputError(
            f"config entry MODEL.BACKBONE.NAME: {cfg.MODEL.BACKBONE.NAME} is a pyramid of one map, "
            f"as a vision transformer has; this backbone has {', '.join(strides)}: end its name "
            f"with _fpn_backbone"
        )
    return next(iter(strides))


def check_pyramid_maps(cfg: CfgNode, strides: Mapping[str, int]) -> None:
    """Refuse ``MODEL.FPN.IN_FEATURES`` that are no neighbouring feature maps, finest first.

    Args:
        cfg: MODEL.FPN and MODEL.BACKBONE.NAME.
        strides: pixels per cell of each of the backbone's maps by name.

    Raises:
        InputError: the backbone lacks one, or they leave out a stride between them.
    """
    names = list(cfg.MODEL.FPN.IN_FEATURES)
    chosen = [strides[name] for name in names if name in strides]
    contiguous = all(coarse == 2 * fine for fine, coarse in pairwise(chosen))
    if not names or len(chosen) < len(names) or not contiguous:
        raise InputError(
            f"config entry MODEL.FPN.IN_FEATURES: expected neighbouring feature maps, finest "
            f"first, of {cfg.MODEL.BACKBONE.NAME}, {', '.join(strides)}; got {names}"
            f"{_of_one_map(cfg, strides)}"
        )
