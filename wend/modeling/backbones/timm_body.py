"""Any network of timm that can output feature maps, by its name and without weights.

Shape letters: N = images, H, W = rows and columns, C = channels.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Collection
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from wend.distribution import pip_install
from wend.errors import InputError
from wend.modeling.backbones.bodies import STRIDES
from wend.modeling.backbones.body import Body
from wend.pretrained.transformer_names import is_transformer

if TYPE_CHECKING:
    from timm.models import FeatureInfo

_ENTRY = "config entry WEND.TIMM.MODEL"
logger = logging.getLogger(__name__)


def _timm() -> ModuleType:
    try:
        import timm
    except ImportError as error:
        raise InputError(
            "config entry MODEL.BACKBONE.NAME: build_timm_backbone needs timm, which is not "
            f"installed; {pip_install('classifier')} (or: pip install timm)"
        ) from error
    return timm


def timm_body(name: str, stride: int = 0, sides: Collection[int] = ()) -> Body:
    """The body of one of timm's networks: a transformer's, or of feature maps of several strides.

    Args:
        name: timm's.
        stride: of a transformer's map, see :class:`wend.modeling.backbones.vit_body.VitBody`.
        sides: in pixels of the square images that it is to take.

    Raises:
        InputError: no such network, with the nearest names, or one that has no feature maps, or
            takes no such images, or a stride for another network than a transformer.
    """
    timm = _timm()
    if not name or not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=5, cutoff=0.5)
        there = f"the nearest are {', '.join(near)}" if near else "such as resnet18, convnext_tiny"
        raise InputError(f"{_ENTRY}: expected a model of timm, {there}; got {name!r}")
    network = _transformer(timm, name)
    if network is not None:
        from wend.modeling.backbones.vit_body import VitBody

        return VitBody(name, network, stride)
    if stride:
        raise InputError(
            f"config entry WEND.TIMM.STRIDE: expected 0 with {name}, which is no vision "
            f"transformer, got {stride}"
        )
    body = TimmBody(name)
    for side in sorted(set(sides)):
        _try_side(body, side)
    return body


def _try_side(body: TimmBody, side: int) -> None:
    """See that a network takes square images of a side; nothing is computed.

    Raises:
        InputError: it does not.
    """
    with torch.device("meta"), torch.no_grad():
        twin = TimmBody(body.name).eval()
        try:
            maps = twin(torch.zeros(1, 3, side, side))
        except NotImplementedError:  # an operation that "meta" has not
            return
        except (AssertionError, RuntimeError, ValueError) as error:
            if "meta tensor" in str(error):
                return
            own = cast("dict[str, Any]", twin.net.pretrained_cfg)["input_size"][-1]
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(
                f"{_ENTRY}: {body.name} does not take images of {side}x{side} pixels ({reason}); "
                f"its own have {own}: set WEND.CROP {own}, or take a network of another size"
            ) from error
    cells = {key: (maps[key].shape[-1], -(-side // stride)) for key, stride in body.strides.items()}
    if fewer := {key: pair for key, pair in cells.items() if pair[0] != pair[1]}:
        logger.warning(
            "the maps of %s do not have a cell for each stride of %d pixels (%s): it does not pad, "
            "and its cells lie beside where heads assume them (docs/backbones.md)",
            *(body.name, side, ", ".join(f"{k}: {own}, not {n}" for k, (own, n) in fewer.items())),
        )


def _transformer(timm: ModuleType, name: str) -> nn.Module | None:
    """Timm's network, if it is a transformer whose patches are one map; without weights."""
    try:
        with torch.device("meta"):
            twin = timm.create_model(name, pretrained=False, dynamic_img_size=True)
    except TypeError:
        return None
    if not is_transformer(twin):
        return None
    return timm.create_model(name, pretrained=False, dynamic_img_size=True)


def _create(name: str) -> nn.Module:
    """Timm's network of that name that returns a list of feature maps.

    Raises:
        InputError: it has no feature maps.
    """
    timm = _timm()
    try:
        return timm.create_model(name, features_only=True, pretrained=False)
    except (RuntimeError, AttributeError, NotImplementedError, AssertionError) as error:
        raise InputError(f"{_ENTRY}: {name} has no feature maps ({error})") from error


class TimmBody(Body):
    """The last feature map of each of the strides 4, 8, 16, 32 that the network has.

    Args:
        name: timm's, such as "resnet18".

    Attributes:
        channels, strides: channels and strides of the feature maps by name.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.net = _create(name)
        info = cast("FeatureInfo", self.net.feature_info)
        self.reductions = list(info.reduction())
        last = {stride: i for i, stride in enumerate(self.reductions)}
        self.indices = {key: last[stride] for key, stride in STRIDES.items() if stride in last}
        if not self.indices:
            raise InputError(
                f"{_ENTRY}: expected a network with a feature map of stride 4, 8, 16 or 32; "
                f"{name} has strides {self.reductions}"
            )
        channels = info.channels()
        self.channels = {key: channels[index] for key, index in self.indices.items()}
        self.strides = {key: STRIDES[key] for key in self.indices}
        self.channels_last = getattr(self.net, "output_fmt", None) == "NHWC"

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (N, 3, H, W) -> maps (N, C, ., .) by name; their sizes are as timm pads."""
        maps = self.net(x)
        features = {key: maps[index] for key, index in self.indices.items()}
        if self.channels_last:
            features = {key: feature.permute(0, 3, 1, 2) for key, feature in features.items()}
        return features

    def parameters_up_to(self, freeze_at: int) -> set[str]:
        """Names of the parameters on which some map of stride 2**freeze_at or less depends."""
        with torch.device("meta"):
            twin = _create(self.name).eval()
            pretrained = cast("dict[str, Any]", self.net.pretrained_cfg)
            maps = twin(torch.zeros(1, *pretrained["input_size"]))
        pairs = zip(maps, self.reductions, strict=True)
        early = [feature.sum() for feature, stride in pairs if stride <= 2**freeze_at]
        if not early:
            return set()
        parameters = dict(twin.named_parameters(prefix="net"))
        gradients = torch.autograd.grad(sum(early), list(parameters.values()), allow_unused=True)
        by_name = zip(parameters, gradients, strict=True)
        return {name for name, gradient in by_name if gradient is not None}
