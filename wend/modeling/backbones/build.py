"""The backbones by name, and the body that a config describes, for both engines."""

from __future__ import annotations

from collections.abc import Callable

from fvcore.common.config import CfgNode

from wend.errors import InputError
from wend.modeling.backbones.bodies import (
    densenet161_body,
    googlenet_body,
    inception_v3_body,
    resnet_body,
    vgg16_body,
)
from wend.modeling.backbones.body import Body
from wend.modeling.backbones.freezing import freeze, freeze_norms
from wend.modeling.backbones.small_cnn import SmallCNN
from wend.modeling.backbones.timm_body import timm_body
from wend.registry import Registry
from wend.structures.view import View

WHOLE = 5  # MODEL.BACKBONE.FREEZE_AT: the whole backbone

# (config, channels of the image) -> body; MODEL.BACKBONE.NAME is build_<name>_backbone
BODIES: Registry[Callable[[CfgNode, int], Body]] = Registry("backbone")
BODIES.register("resnet")(lambda cfg, _: resnet_body(cfg.MODEL.RESNETS.DEPTH))
BODIES.register("densenet161")(lambda cfg, _: densenet161_body())
BODIES.register("vgg16")(lambda cfg, _: vgg16_body())
BODIES.register("googlenet")(lambda cfg, _: googlenet_body())
BODIES.register("inception_v3")(lambda cfg, _: inception_v3_body())
BODIES.register("timm")(
    lambda cfg, _: timm_body(cfg.WEND.TIMM.MODEL, cfg.WEND.TIMM.STRIDE, _sides(cfg))
)
BODIES.register("small_cnn")(
    lambda cfg, channels: SmallCNN(tuple(cfg.WEND.SMALL_CNN.CHANNELS), channels)
)


def build_body(name: str, cfg: CfgNode, in_channels: int = 3) -> Body:
    """A body with the norms and the frozen stages that the config asks for.

    Args:
        name: a name of :data:`BODIES`.
        cfg: MODEL.BACKBONE.FREEZE_AT 0 .. 5 (0: nothing, 1: the stem, 2: and res2, ..., 5: all;
            a small CNN's stage i is the i-th), MODEL.RESNETS.NORM (a small CNN always has BN).
        in_channels: channels of the image; only the small CNN has others than 3.

    Raises:
        InputError: names the entry that is out of range.
    """
    freeze_at, norm = cfg.MODEL.BACKBONE.FREEZE_AT, cfg.MODEL.RESNETS.NORM
    if freeze_at not in range(WHOLE + 1):
        raise InputError(
            f"config entry MODEL.BACKBONE.FREEZE_AT: expected 0 (nothing) .. {WHOLE} (the whole "
            f"backbone), got {freeze_at}"
        )
    if name != "small_cnn" and norm not in ("BN", "FrozenBN"):
        raise InputError(
            f"config entry MODEL.RESNETS.NORM: {cfg.MODEL.BACKBONE.NAME} has BN, FrozenBN, got "
            f"{norm!r}; others are Detectron2's ResNet's (--engine detectron2)"
        )
    body = BODIES.get(name)(cfg, in_channels)
    if freeze_at == WHOLE or (norm == "FrozenBN" and name != "small_cnn"):
        freeze_norms(body)
    freeze(body, _parameters_up_to(body, freeze_at))
    return body


def _sides(cfg: CfgNode) -> set[int]:
    """Of the squares that a detector is trained and tested on."""
    return {cfg.WEND.CROP, View(cfg.WEND.VIEW, cfg.WEND.RESIZE, cfg.WEND.CROP).test_side}


def _parameters_up_to(body: Body, freeze_at: int) -> set[str]:
    if freeze_at in (0, WHOLE):
        return {name for name, _ in body.named_parameters() if freeze_at}
    return body.parameters_up_to(freeze_at)
