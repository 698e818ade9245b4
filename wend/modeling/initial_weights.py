"""A config's initial weights: their file, and what pixels they expect.

``MODEL.PIXEL_MEAN`` and ``PIXEL_STD`` are the weights' own where the config leaves them empty. What
the weights themselves state (a package's, a checkpoint of ours) the config cannot contradict, nor
what timm says of the weights of its networks, where the file is of others. Where no weights are
named, or nothing is known of them, the network's usual ones are taken, timm's for its networks,
else ImageNet's.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fvcore.common.config import CfgNode

from wend.errors import InputError, some
from wend.modeling.backbone_names import parse_backbone_name
from wend.pretrained import PRETRAINED, find_weights
from wend.pretrained.packages import Channels, package_of
from wend.weight_files import read_origin

IMAGENET_MEAN: Channels = (123.675, 116.28, 103.53)  # R, G, B, of 0..255
IMAGENET_STD: Channels = (58.395, 57.12, 57.375)
ENTRIES = ("PIXEL_MEAN", "PIXEL_STD")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pixels:
    """What an input was normalized with, R, G, B, for pixels of 0..255, and who says so."""

    mean: Channels
    std: Channels
    source: str

    @property
    def mean_of_1(self) -> list[float]:
        """The mean for pixels of 0..1."""
        return [value / 255 for value in self.mean]


def network_of(cfg: CfgNode) -> str:
    """The name of the backbone's network, such as "timm:tf_efficientnet_lite0".

    ``torchvision:<name>`` for torchvision's, with or without a pyramid, the name of
    ``MODEL.BACKBONE.NAME`` for others.
    """
    body = parse_backbone_name(cfg.MODEL.BACKBONE.NAME).body
    if body == "timm":
        return f"timm:{cfg.WEND.TIMM.MODEL}"
    if body == "resnet":
        return f"torchvision:resnet{cfg.MODEL.RESNETS.DEPTH}"
    known = ("densenet161", "vgg16", "googlenet", "inception_v3")
    return f"torchvision:{body}" if body in known else body


def initial_weights(cfg: CfgNode) -> str:
    """The path of the file ``MODEL.WEIGHTS``, "pretrained" resolved; empty where there is none.

    Raises:
        InputError: no installed package ships the backbone's weights.
    """
    weights = cfg.MODEL.WEIGHTS
    if weights != PRETRAINED:
        return weights
    return str(find_weights(weights, network_of(cfg), "config entry MODEL.WEIGHTS").path)


def say_random_frozen(cfg: CfgNode) -> None:
    """Warn of a training whose frozen backbone, or stages of it, nothing has trained."""
    freeze_at = cfg.MODEL.BACKBONE.FREEZE_AT
    if freeze_at and not cfg.MODEL.WEIGHTS:
        logger.warning(
            "MODEL.BACKBONE.FREEZE_AT %d freezes random weights, as MODEL.WEIGHTS is empty: they "
            "stay random; name the backbone's weights, or set FREEZE_AT 0",
            freeze_at,
        )


def settle_pixels(cfg: CfgNode) -> None:
    """Fill ``MODEL.PIXEL_MEAN`` and ``PIXEL_STD`` where they are empty.

    Their channels are in the order of ``INPUT.FORMAT``.

    Raises:
        InputError: they are given and contradict what the weights themselves state, or what timm
            states of all weights of its network that are named so; names both.
    """
    stated = _stated(cfg)
    if stated is None and all(len(cfg.MODEL[entry]) for entry in ENTRIES):
        _check_timms(cfg)
        return
    pixels = stated or _usual(network_of(cfg))
    if stated is None:
        _say_other_tags(cfg, pixels)
    for entry, own in zip(ENTRIES, (pixels.mean, pixels.std), strict=True):
        ordered = list(own if cfg.INPUT.FORMAT == "RGB" else own[::-1])
        given = list(cfg.MODEL[entry])
        if not given:
            cfg.MODEL[entry] = ordered
        elif stated is not None and not np.allclose(given, ordered, rtol=0, atol=1e-3):
            raise InputError(
                f"config entry MODEL.{entry}: {given} contradicts {ordered} of {stated.source} "
                f"(MODEL.WEIGHTS, in the order of INPUT.FORMAT {cfg.INPUT.FORMAT}); leave it out, "
                f"or set it to []"
            )


def _check_timms(cfg: CfgNode) -> None:
    """Refuse pixels that no weights of timm's network expect, where a file of others is loaded."""
    package, _, name = network_of(cfg).partition(":")
    if package != "timm" or not cfg.MODEL.WEIGHTS:
        return
    expected = [(theirs.mean, theirs.std) for theirs in map(_timms, _tagged(name)) if theirs]
    order = slice(None) if cfg.INPUT.FORMAT == "RGB" else slice(None, None, -1)
    given = np.array([cfg.MODEL[entry][order] for entry in ENTRIES])
    if expected and not any(np.allclose(given, 255 * np.array(e), atol=0.01) for e in expected):
        mean, std = ([round(255 * x, 3) for x in each[order]] for each in expected[0])
        raise InputError(
            f"config entries MODEL.PIXEL_MEAN and PIXEL_STD: {[*cfg.MODEL.PIXEL_MEAN]} and "
            f"{[*cfg.MODEL.PIXEL_STD]} contradict {mean} and {std} of timm's {name} "
            f"(WEND.TIMM.MODEL, in the order of INPUT.FORMAT {cfg.INPUT.FORMAT}); set both to [], "
            f"or, if {cfg.MODEL.WEIGHTS} expects others, register it as a WeightPackage "
            f"(docs/backbones.md)"
        )


def _say_other_tags(cfg: CfgNode, taken: Pixels) -> None:
    """Warn where a file of others is loaded, and timm's weights of that name do not agree."""
    package, _, name = network_of(cfg).partition(":")
    if package != "timm" or not cfg.MODEL.WEIGHTS:
        return
    others = [
        tag
        for tag in _tagged(name)
        if (theirs := _timms(tag)) is not None and not np.allclose(theirs.mean, taken.mean_of_1)
    ]
    if others:
        logger.warning(
            "MODEL.PIXEL_MEAN is %s, of timm's default weights of %s; others of its weights expect "
            "another (%s): if %s is one of them, name it by its tag, as WEND.TIMM.MODEL %s",
            *([*taken.mean], name, some(others), cfg.MODEL.WEIGHTS, others[0]),
        )


def _tagged(name: str) -> list[str]:
    """A timm name with a tag, or all that timm has with one; the first is the default."""
    if "." in name:
        return [name]
    from timm.models import list_pretrained

    return [name, *list_pretrained(f"{name}.*")]


def settled(cfg: CfgNode) -> CfgNode:
    """The config, or a copy of it with :func:`settle_pixels` where an entry is empty.

    For configs that others read, without :func:`wend.config.merge_config`.
    """
    if all(len(cfg.MODEL[entry]) for entry in ENTRIES):
        return cfg
    copy = cfg.clone()
    copy.defrost()
    settle_pixels(copy)
    copy.freeze()
    return copy


def _stated(cfg: CfgNode) -> Pixels | None:
    """What the weights themselves say; None where they say nothing."""
    weights = cfg.MODEL.WEIGHTS
    if weights == PRETRAINED:
        package = package_of(network_of(cfg))
        if package is None:
            return None
        source = f"the package {package.distribution}"
        return Pixels(package.pixel_mean, package.pixel_std, source)
    if not weights or not Path(weights).is_file() or (origin := read_origin(weights)) is None:
        return None
    theirs = CfgNode.load_cfg(origin.config)
    order = slice(None) if theirs.INPUT.FORMAT == "RGB" else slice(None, None, -1)
    mean, std = (_three(theirs.MODEL[entry][order]) for entry in ENTRIES)
    return Pixels(mean, std, f"the detector in {weights}")


def _timms(name: str) -> Any:
    """What timm says of a network's weights; None where it is not known, as building it tells."""
    try:
        from timm.models import get_pretrained_cfg
    except ImportError:
        return None
    return get_pretrained_cfg(name) if name else None


def _three(values: Sequence[float]) -> Channels:
    red, green, blue = values
    return red, green, blue


def _usual(network: str) -> Pixels:
    """What a network's weights usually expect."""
    package, _, name = network.partition(":")
    if package == "timm":
        theirs = _timms(name)
        if theirs is not None:
            mean, std = (
                _three([round(255 * value, 4) for value in values])
                for values in (theirs.mean, theirs.std)
            )
            return Pixels(mean, std, f"timm's {name}")
    return Pixels(IMAGENET_MEAN, IMAGENET_STD, "ImageNet")
