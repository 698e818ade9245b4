"""Backbones for DDT: any timm or torchvision model from a local weight file, without its head.

Nothing is downloaded. The file must hold every weight but the classifier's; what it holds besides
is a classifier's or an error. So checkpoints of another number of classes, or of a self-supervised
network that has none, serve as they are.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wend.classes.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from wend.distribution import pip_install
from wend.errors import InputError, did_you_mean, some
from wend.files import sha256
from wend.localize.attention import LAYERS as OF_ATTENTION
from wend.localize.attention import LastAttention, Reached
from wend.pretrained import WeightFile, find_weights
from wend.pretrained.efficientnet_names import as_timm
from wend.pretrained.transformer_names import transformer_as_timm
from wend.weight_files import load_weights, read_weights

INPUT_SIZE = 448  # PSOL's (generate_box_imagenet.py, --input_size)
HEADS = (
    *("fc.", "classifier.", "head.", "heads.", "head_dist.", "last_linear."),
    *("AuxLogits.", "aux1.", "aux2."),
)
# torchvision's modules that end in the last feature map, the first that a model has
LAYERS = (
    *("features", "layer4", "trunk_output", "encoder", "blocks", "conv5", "Mixed_7c"),
    *("inception5b", "layers"),
)


@dataclass
class Backbone:
    """A network that turns images into maps of descriptors.

    Attributes:
        model: images (N, 3, S, S) -> descriptors (N, C, h, w), in evaluation mode.
        preprocessing: makes its input; the whole image squashed to S×S.
        settings: what the descriptors depend on, for the output's notes.
    """

    model: nn.Module
    preprocessing: Preprocessing
    settings: dict[str, Any]


def to_maps(output: object, layer: str) -> Tensor:
    """A layer's output as maps (N, C, h, w): of those, of (N, h, w, C), or of tokens (N, T, C).

    Tokens that come before the h·w of a square grid (class, registers) are left out. A map with
    channels last is known by its square side, since inputs are square.

    Raises:
        InputError: it has another shape.
    """
    if isinstance(output, (list, tuple)) and output:
        output = output[-1]
    if isinstance(output, Tensor) and output.dim() == 3:
        side = math.isqrt(output.shape[1])
        return output[:, -side * side :].transpose(1, 2).unflatten(2, (side, side))
    if isinstance(output, Tensor) and output.dim() == 4:
        square_last = output.shape[2] == output.shape[3]
        return output if square_last else output.permute(0, 3, 1, 2)
    shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    raise InputError(
        f"--layer {layer}: its output is {shape}, expected maps (N, C, h, w) or tokens (N, T, C)"
    )


class _LayerOutput(nn.Module):
    """The output of one of a model's modules; what comes after it is not run.

    (It would cost time, and the next module may be a ReLU that works in place on that output.)
    """

    def __init__(self, model: nn.Module, layer: str) -> None:
        super().__init__()
        try:
            module = model.get_submodule(layer)
        except AttributeError as error:
            names = [name for name, _ in model.named_children()]
            near = did_you_mean(layer, [name for name, _ in model.named_modules()])
            raise InputError(
                f"--layer {layer}: the backbone has no such module.{near} It has "
                f"{some(names, 12)} and those in them, such as {names[0]}.0; timm's transformers "
                f"have {', '.join(OF_ATTENTION)}, too"
            ) from error
        self.model, self.layer = model, layer
        self.output: object = None
        module.register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: object, output: object) -> None:
        self.output = output
        raise Reached

    def forward(self, images: Tensor) -> Tensor:
        with suppress(Reached):
            self.model(images)
        output, self.output = self.output, None
        return to_maps(output, self.layer)


class _TimmFeatures(nn.Module):
    """timm's last feature map, whatever the architecture."""

    model: Any  # timm's models have more methods than nn.Module's type says

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        if not hasattr(self.model, "forward_intermediates"):
            return to_maps(self.model.forward_features(images), "of the last features")
        maps = self.model.forward_intermediates(
            images, indices=1, output_fmt="NCHW", intermediates_only=True
        )
        return maps[-1]


def _unknown(name: str, near: list[str]) -> InputError:
    return InputError(f"--backbone {name}: no such model; near: {some(near, 5) or 'none'}")


def timm_module(name: str) -> Any:
    """The package timm, which has a model of this name.

    Raises:
        InputError: it is not installed, or knows no such model.
    """
    try:
        import timm
    except ImportError as error:
        raise InputError(
            f"--backbone timm:{name}: needs timm: {pip_install('classifier')}"
        ) from error
    if not timm.is_model(name):
        raise _unknown(f"timm:{name}", timm.list_models(f"*{name.split('.')[0]}*"))
    return timm


def _timm(name: str, weights: WeightFile, layer: str | None, size: int | None) -> Backbone:
    timm = timm_module(name)
    # Any: timm's models have more attributes than nn.Module's type says
    model: Any = _timm_network(timm, name)
    config = timm.data.resolve_model_data_config(model)
    own = config["input_size"][1] if model.pretrained_cfg.get("fixed_input_size") else None
    resamples = getattr(model, "dynamic_img_size", False)
    side = input_side(f"timm:{name}", size, own, only=not resamples)
    state: Mapping[str, Tensor] = as_timm(read_weights(weights.path), model.state_dict())
    state = transformer_as_timm(state, model)
    load_weights(weights.path, state, f"timm:{name}", model, HEADS)
    pixels = squash(side, config["mean"], config["std"])
    settings = {"layer": layer or "last", "timm": version("timm")}
    trunk: nn.Module
    if layer in OF_ATTENTION:
        trunk = LastAttention(model, layer, f"timm:{name}")
    else:
        trunk = _LayerOutput(model, layer) if layer else _TimmFeatures(model)
    return Backbone(trunk.eval(), pixels, settings)


def _timm_network(timm: Any, name: str) -> Any:
    """Timm's network, a transformer with positions that are resampled to the input's size."""
    try:
        return timm.create_model(name, pretrained=False, num_classes=0, dynamic_img_size=True)
    except TypeError:
        return timm.create_model(name, pretrained=False, num_classes=0)


def _torchvision(name: str, weights: WeightFile, layer: str | None, size: int | None) -> Backbone:
    models = importlib.import_module("torchvision.models")  # slow, and only needed here
    known = models.list_models(module=models)
    if name not in known:
        raise _unknown(f"torchvision:{name}", [n for n in known if name.split("_")[0] in n])
    if layer in OF_ATTENTION:
        raise InputError(f"--layer {layer}: only of timm's vision transformers, not torchvision's")
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model = models.get_model(name, weights=None, **options)
    side = input_side(f"torchvision:{name}", size, getattr(model, "image_size", None))
    load_weights(weights.path, read_weights(weights.path), f"torchvision:{name}", model, HEADS)
    chosen = layer or next((name for name in LAYERS if hasattr(model, name)), None)
    if chosen is None:
        names = [child for child, _ in model.named_children()]
        raise InputError(f"--backbone torchvision:{name}: give a --layer of {some(names, 12)}")
    pixels = squash(side, IMAGENET_MEAN, IMAGENET_STD)
    trunk = _LayerOutput(model, chosen).eval()
    settings = {"layer": chosen, "torchvision": version("torchvision")}
    return Backbone(trunk, pixels, settings)


def input_side(name: str, wanted: int | None, own: int | None, *, only: bool = True) -> int:
    """The side that is asked for, or the network's own, or :data:`INPUT_SIZE`.

    Args:
        only: whether a network that has a side of its own takes no other.
    """
    if only and own and wanted and wanted != own:
        raise InputError(
            f"--input-size {wanted}: {name} takes only {own}x{own} pixels; leave --input-size out"
        )
    return wanted or own or INPUT_SIZE


def squash(side: int, mean: tuple[float, ...], std: tuple[float, ...]) -> Preprocessing:
    """What makes a network's input: the whole image squashed to side x side, normalized."""
    return Preprocessing("squash", side, side, False, "bilinear", tuple(mean), tuple(std))


def build_backbone(
    name: str, weights: str | Path, layer: str | None = None, input_size: int | None = None
) -> Backbone:
    """Build a network and load its weights.

    Args:
        name: "timm:<model>" or "torchvision:<model>".
        weights: a local checkpoint, whose weights of the classifier may be there, differ or be
            missing; or "pretrained", what an installed package ships for the network.
        layer: the module whose output are the descriptors, as ``layer3`` or ``features.29``, or
            one of :data:`wend.localize.attention.LAYERS`; the last feature map if left out.
        input_size: side in pixels that images are squashed to; 448, or what the model insists on.

    Raises:
        InputError: unknown model or layer, a package is missing, the file does not fit.
    """
    package, _, model = name.partition(":")
    build = {"timm": _timm, "torchvision": _torchvision}.get(package)
    if build is None or not model:
        raise InputError(
            f"--backbone {name}: expected timm:<model> or torchvision:<model>, such as "
            f"torchvision:vgg16 or timm:resnet50"
        )
    file = find_weights(weights, name, "--weights")
    backbone = build(model, file, layer, input_size)
    backbone.preprocessing = backbone.preprocessing.of_package(file.package)
    _try_input(name, backbone)
    backbone.settings |= {
        "backbone": name,
        "preprocessing": backbone.preprocessing.settings(),
        "weights": file.path.name,
        "weights_sha256": sha256(file.path),
    }
    return backbone


def _try_input(name: str, backbone: Backbone) -> None:
    side = backbone.preprocessing.crop
    try:
        with torch.inference_mode():
            height, width = backbone.model(torch.zeros(1, 3, side, side)).shape[2:]
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"--backbone {name}: does not take {side}x{side} pixels ({reason}); try another "
            f"--input-size, such as 224"
        ) from error
    if min(height, width) < 2:
        raise InputError(
            f"--input-size {side}: the map of {name} has {height}x{width} cells then, which show "
            f"no place; take a larger one, such as 448, or an earlier --layer"
        )
