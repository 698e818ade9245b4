"""The bodies of :mod:`wend.modeling.backbones` as backbones of this engine."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from fvcore.common.config import CfgNode
from torch import Tensor, nn

from wend.errors import InputError
from wend.modeling.backbones.body import Body
from wend.modeling.backbones.build import BODIES, build_body
from wend.modeling.backbones.feature_maps import check_feature_maps


class BodyBackbone(nn.Module):
    """A body under the name that it has in Detectron2's detectors: ``backbone.body``.

    Args:
        body: one of :data:`wend.modeling.backbones.build.BODIES`, built.
    """

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.body = body

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Images (N, 3, H, W) -> all feature maps by name."""
        return self.body(images)


class FeatureBackbone(BodyBackbone):
    """A backbone as torchvision's detectors expect it: feature maps of equal width, in order.

    Args:
        body: see :class:`BodyBackbone`.
        names: names of the maps that it returns.
    """

    def __init__(self, body: Body, names: Sequence[str]) -> None:
        super().__init__(body)
        unknown = [name for name in names if name not in body.channels]
        if unknown or not names or len({body.channels[name] for name in names}) > 1:
            raise InputError(
                f"config entry ...IN_FEATURES: expected feature maps of equal width among "
                f"{body.channels} (name: channels), got {list(names)}; feature pyramids need "
                f"--engine detectron2"
            )
        self.names = list(names)
        self.out_channels = body.channels[self.names[0]]
        self.strides = [body.strides[name] for name in self.names]

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Images (N, 3, H, W) -> the chosen feature maps."""
        features = super().forward(images)
        return OrderedDict((name, features[name]) for name in self.names)


def build_named_body(cfg: CfgNode) -> Body:
    """The body that MODEL.BACKBONE.NAME names; InputError, which lists the names, if not there."""
    names = {f"build_{name}_backbone": name for name in BODIES}
    chosen = cfg.MODEL.BACKBONE.NAME
    if chosen not in names:
        raise InputError(
            f"config entry MODEL.BACKBONE.NAME: the torchvision engine has {', '.join(names)}, got "
            f"{chosen!r}; others need --engine detectron2"
        )
    return build_body(names[chosen], cfg, len(cfg.MODEL.PIXEL_MEAN))


def build_feature_backbone(cfg: CfgNode, names: Sequence[str]) -> FeatureBackbone:
    """The config's backbone with the chosen maps; InputError where they do not fit."""
    backbone = FeatureBackbone(build_named_body(cfg), names)
    check_feature_maps(cfg, "...IN_FEATURES", names, backbone.body.strides)
    return backbone
