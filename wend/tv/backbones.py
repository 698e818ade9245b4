"""The bodies of :mod:`wend.modeling.backbones` as backbones of this engine, with pyramids or not.

Modules have the names that they have in Detectron2's detectors: ``backbone.body``, and below a
pyramid ``backbone.bottom_up.body``.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from wend.config.entries import require
from wend.errors import InputError
from wend.modeling.backbone_names import FPN_P6P7, PYRAMIDS, SIMPLE, parse_backbone_name
from wend.modeling.backbones.body import Body
from wend.modeling.backbones.build import BODIES, build_body
from wend.modeling.backbones.feature_maps import check_feature_maps, check_pyramid_maps, only_map
from wend.modeling.backbones.simple_pyramid import SimplePyramid
from wend.run import value_of

NORMS: dict[str, Callable[..., nn.Module] | None] = {  # MODEL.FPN.NORM
    "": None,
    "BN": nn.BatchNorm2d,
    "GN": partial(nn.GroupNorm, 32),
}


class FeatureBackbone(nn.Module):
    """A backbone as torchvision's detectors expect it; it outputs its maps by name.

    Args:
        channels, strides: of all its maps, by name.

    Attributes:
        channels, strides: as above.
        names: the maps that it outputs, in order; all of them until :meth:`choose`.
        out_channels: channels of the chosen maps, which torchvision's detectors ask for.
    """

    out_channels: int

    def __init__(self, channels: Mapping[str, int], strides: Mapping[str, int]) -> None:
        super().__init__()
        self.channels, self.strides = dict(channels), dict(strides)
        self.names = list(channels)

    def choose(self, names: Sequence[str], entry: str = "...IN_FEATURES") -> None:
        """Output these maps alone.

        Args:
            names: some of its maps.
            entry: the config entry that chooses them, for the message.

        Raises:
            InputError: it lacks one, or they differ in width.
        """
        unknown = [name for name in names if name not in self.channels]
        if unknown or not names or len({self.channels[name] for name in names}) > 1:
            raise InputError(
                f"config entry {entry}: expected feature maps of equal width among "
                f"{self.channels} (name: channels), got {list(names)}; a pyramid makes maps of "
                f"one width (MODEL.BACKBONE.NAME build_..._fpn_backbone)"
            )
        self.names = list(names)
        self.out_channels = self.channels[self.names[0]]

    @property
    def chosen_strides(self) -> list[int]:
        """The strides of the maps that it outputs."""
        return [self.strides[name] for name in self.names]

    def maps(self, images: Tensor) -> Mapping[str, Tensor]:
        """Images (N, 3, H, W) -> all feature maps by name."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Images (N, 3, H, W) -> the chosen feature maps."""
        features = self.maps(images)
        return OrderedDict((name, features[name]) for name in self.names)


class BodyBackbone(FeatureBackbone):
    """A body alone.

    Args:
        body: one of :data:`wend.modeling.backbones.build.BODIES`, built.
    """

    def __init__(self, body: Body) -> None:
        super().__init__(body.channels, body.strides)
        self.body = body

    def maps(self, images: Tensor) -> Mapping[str, Tensor]:
        """Images (N, 3, H, W) -> all feature maps by name."""
        return self.body(images)


class PyramidBackbone(FeatureBackbone):
    """Torchvision's feature pyramid over neighbouring maps of a body, as Detectron2's.

    Levels are called after their strides: p4 has stride 16.

    Args:
        body: as above.
        names: maps of the body, finest first; each has twice the stride of the one before.
        width: channels of all levels.
        norm: of :data:`NORMS`.
        p6p7: two more levels, by convolutions of the coarsest map, not one by max pooling.
    """

    def __init__(
        self, body: Body, names: Sequence[str], width: int, norm: str = "", *, p6p7: bool = False
    ) -> None:
        finest, more = int(math.log2(body.strides[names[0]])), 2 if p6p7 else 1
        levels = range(finest, finest + len(names) + more)
        super().__init__(
            {f"p{level}": width for level in levels}, {f"p{level}": 2**level for level in levels}
        )
        self.bottom_up = BodyBackbone(body)
        self.bottom_up.names = list(names)
        top = LastLevelP6P7(body.channels[names[-1]], width) if p6p7 else LastLevelMaxPool()
        if p6p7:
            top.use_P5 = False  # as Detectron2's, whatever the widths
        channels = [body.channels[name] for name in names]
        self.fpn = FeaturePyramidNetwork(channels, width, top, NORMS[norm])

    def maps(self, images: Tensor) -> Mapping[str, Tensor]:
        """Images (N, 3, H, W) -> all levels by name."""
        levels = self.fpn(self.bottom_up(images)).values()
        return dict(zip(self.channels, levels, strict=True))


class SimplePyramidBackbone(FeatureBackbone):
    """ViTDet's simple pyramid above a body with one map.

    Args:
        body: a vision transformer's.
        name: of its map.
        width: channels of the levels.
    """

    def __init__(self, body: Body, name: str, width: int) -> None:
        pyramid = SimplePyramid(body.channels[name], body.strides[name], width)
        super().__init__(pyramid.channels, pyramid.strides)
        self.bottom_up = BodyBackbone(body)
        self.simple_fpn = pyramid
        self.name = name

    def maps(self, images: Tensor) -> Mapping[str, Tensor]:
        """Images (N, 3, H, W) -> all levels by name."""
        return self.simple_fpn(self.bottom_up(images)[self.name])


def build_backbone(cfg: CfgNode) -> FeatureBackbone:
    """The backbone that MODEL.BACKBONE.NAME names; InputError, which lists the names, if not there.

    Raises:
        InputError: of a pyramid also, where MODEL.FPN does not fit.
    """
    chosen = cfg.MODEL.BACKBONE.NAME
    name = parse_backbone_name(chosen)
    if name.body not in BODIES:
        names = ", ".join(f"build_{body}_backbone" for body in BODIES)
        pyramids = " or ".join(f"_{pyramid}_backbone" for pyramid in PYRAMIDS)
        raise InputError(
            f"config entry MODEL.BACKBONE.NAME: the torchvision engine has {names}, each also with "
            f"{pyramids} at its end, got {chosen!r}; others need --engine detectron2"
        )
    body = build_body(name.body, cfg, len(cfg.MODEL.PIXEL_MEAN))
    if not name.pyramid:
        return BodyBackbone(body)
    fpn = cfg.MODEL.FPN
    if name.pyramid == SIMPLE:
        return SimplePyramidBackbone(body, only_map(cfg, body.strides), fpn.OUT_CHANNELS)
    check_pyramid_maps(cfg, body.strides)
    known = ", ".join(repr(norm) for norm in NORMS)
    require("MODEL.FPN.NORM", fpn.NORM, f"one of {known}", fpn.NORM in NORMS)
    require(
        "MODEL.FPN.OUT_CHANNELS",
        fpn.OUT_CHANNELS,
        "a number >= 1, of norm GN a multiple of 32",
        fpn.OUT_CHANNELS >= 1 and (fpn.NORM != "GN" or fpn.OUT_CHANNELS % 32 == 0),
    )
    return PyramidBackbone(
        body, fpn.IN_FEATURES, fpn.OUT_CHANNELS, fpn.NORM, p6p7=name.pyramid == FPN_P6P7
    )


def build_feature_backbone(cfg: CfgNode, entry: str) -> FeatureBackbone:
    """The config's backbone with the maps that an entry chooses.

    Args:
        entry: its whole name, such as "WEND.FCOS.IN_FEATURES".

    Raises:
        InputError: they do not fit the backbone or the crop; names the entry.
    """
    backbone, names = build_backbone(cfg), value_of(cfg, entry)
    check_feature_maps(cfg, entry, names, backbone.strides)
    backbone.choose(names, entry)
    return backbone
