"""Backbones by name for ``MODEL.BACKBONE.NAME`` (Detectron2 has ResNet with and without FPN).

For each body of :mod:`wend.modeling.backbones`, here called x: ``build_x_backbone``,
``build_x_fpn_backbone`` (P2 .. P5 and P6 by max pooling, as Detectron2's
``build_resnet_fpn_backbone``) and ``build_x_fpn_p6p7_backbone`` (P6 and P7 by convolutions, as
``build_retinanet_resnet_fpn_backbone``); for bodies with one map ``build_x_simple_fpn_backbone``.

Shape letters: N = images, C = channels, H, W = pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, FPN, Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool, LastLevelP6P7
from torch import Tensor

from wend.modeling.backbone_names import FPN as FPN_NAME
from wend.modeling.backbone_names import FPN_P6P7, SIMPLE
from wend.modeling.backbones.body import Body
from wend.modeling.backbones.build import BODIES, build_body
from wend.modeling.backbones.feature_maps import check_pyramid_maps, only_map
from wend.modeling.backbones.simple_pyramid import SimplePyramid


class BodyBackbone(Backbone):
    """A body of :mod:`wend.modeling.backbones` as Detectron2's backbone; it outputs all its maps.

    Args:
        body: one of :data:`wend.modeling.backbones.build.BODIES`, built.
    """

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.body = body
        self._out_features = list(body.channels)
        self._out_feature_channels = dict(body.channels)
        self._out_feature_strides = dict(body.strides)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Image (N, C, H, W) -> feature maps by name."""
        return self.body(image)


def build_fpn(bottom_up: Backbone, cfg: CfgNode, *, p6p7: bool) -> FPN:
    """Detectron2's pyramid over MODEL.FPN.IN_FEATURES of any backbone.

    Args:
        bottom_up: the backbone.
        cfg: MODEL.FPN.
        p6p7: two more levels by convolutions, not one by max pooling.

    Raises:
        InputError: the maps are not the backbone's, or leave out a stride between them.
    """
    names, shapes = list(cfg.MODEL.FPN.IN_FEATURES), bottom_up.output_shape()
    check_pyramid_maps(cfg, {name: shape.stride for name, shape in shapes.items()})
    coarsest, width = shapes[names[-1]], cfg.MODEL.FPN.OUT_CHANNELS
    if p6p7:
        top_block = LastLevelP6P7(coarsest.channels, width, in_feature=names[-1])
    else:
        top_block = LastLevelMaxPool()
        top_block.in_feature = f"p{int(math.log2(coarsest.stride))}"  # Detectron2's is always p5
    return FPN(
        bottom_up=bottom_up,
        in_features=names,
        out_channels=width,
        norm=cfg.MODEL.FPN.NORM,
        top_block=top_block,
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )


class SimplePyramidBackbone(Backbone):
    """ViTDet's simple pyramid above a body with one map.

    Args:
        body: a vision transformer's.
        name: of its map.
        width: channels of the levels.
    """

    def __init__(self, body: Body, name: str, width: int) -> None:
        super().__init__()
        self.bottom_up = BodyBackbone(body)
        self.name = name
        self.simple_fpn = SimplePyramid(body.channels[name], body.strides[name], width)
        self._out_features = list(self.simple_fpn.channels)
        self._out_feature_channels = dict(self.simple_fpn.channels)
        self._out_feature_strides = dict(self.simple_fpn.strides)

    def forward(self, image: Tensor) -> Mapping[str, Tensor]:  # type: ignore[override]
        """Image (N, C, H, W) -> levels by name, which are computed when they are asked for."""
        return self.simple_fpn(self.bottom_up(image)[self.name])


@BODIES.follow
def _register(name: str, _: object) -> None:
    """Add the builders of a body to Detectron2's registry, which has its own ResNet."""
    known = dict(BACKBONE_REGISTRY).get(f"build_{name}_backbone")
    if name == "resnet" or getattr(known, "__module__", "") == __name__:
        return  # the builders ask for the body by its name: it may come again

    def plain(cfg: CfgNode, input_shape: ShapeSpec) -> Backbone:
        return BodyBackbone(build_body(name, cfg, input_shape.channels))

    def fpn(cfg: CfgNode, input_shape: ShapeSpec) -> Backbone:
        return build_fpn(plain(cfg, input_shape), cfg, p6p7=False)

    def fpn_p6p7(cfg: CfgNode, input_shape: ShapeSpec) -> Backbone:
        return build_fpn(plain(cfg, input_shape), cfg, p6p7=True)

    def simple_fpn(cfg: CfgNode, input_shape: ShapeSpec) -> Backbone:
        body = build_body(name, cfg, input_shape.channels)
        width = cfg.MODEL.FPN.OUT_CHANNELS
        return SimplePyramidBackbone(body, only_map(cfg, body.strides), width)

    builders = {
        "": plain,
        f"_{FPN_NAME}": fpn,
        f"_{FPN_P6P7}": fpn_p6p7,
        f"_{SIMPLE}": simple_fpn,
    }
    for suffix, builder in builders.items():
        builder.__name__ = f"build_{name}{suffix}_backbone"
        BACKBONE_REGISTRY.register(builder)
