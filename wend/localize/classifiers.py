"""Classifiers whose class activation maps are exact: average pooling, then one linear layer.

Which map is pooled is looked for, not known by the architecture's name: a module's output or input
whose mean over its cells is the linear layer's input. What a network then says is its logits again.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from wend.classes.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from wend.errors import InputError
from wend.files import sha256
from wend.localize.backbones import Backbone, input_side, squash, timm_module, to_maps
from wend.pretrained import WeightFile, find_weights
from wend.pretrained.efficientnet_names import as_timm
from wend.pretrained.transformer_names import transformer_as_timm
from wend.weight_files import load_weights, read_weights

TOLERANCE = 1e-4  # of a mean over cells, in shares of the largest number


class ClassMaps(nn.Module):
    """A classifier's maps (N, K, h, w) of all K classes, without the bias.

    Args:
        model: the classifier, in evaluation mode.
        module: the name of that whose output or input is pooled.
        of_input: whether it is its input.
        linear: the linear layer.
    """

    def __init__(self, model: nn.Module, module: str, of_input: bool, linear: nn.Linear) -> None:
        super().__init__()
        self.model, self.module, self.linear = model, module, linear
        self.pooled: Tensor | None = None
        self.hook = model.get_submodule(module).register_forward_hook(
            lambda _, given, output: self._keep(given[0] if of_input else output)
        )

    def _keep(self, value: object) -> None:
        self.pooled = to_maps(value, self.module)

    def forward(self, images: Tensor) -> Tensor:
        """Maps (N, K, h, w) of images (N, 3, S, S)."""
        self.model(images)
        assert self.pooled is not None
        maps, self.pooled = self.pooled, None
        return torch.einsum("nchw,kc->nkhw", maps, self.linear.weight)

    @property
    def bias(self) -> Tensor:
        """The linear layer's (K,); zeros where it has none."""
        bias, weight = self.linear.bias, self.linear.weight
        return weight.new_zeros(len(weight)) if bias is None else bias.detach()


def last_linear(model: nn.Module) -> str | None:
    """The name of the last linear layer that a model defines; None where it has none."""
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    return names[-1] if names else None


@torch.inference_mode()
def class_maps(name: str, model: nn.Module, side: int) -> ClassMaps:
    """A classifier's class maps.

    Args:
        name: of the classifier, for messages.
        side: of its input, in pixels.

    Raises:
        InputError: its head is not average pooling and one linear layer.
    """
    layer = last_linear(model)
    linear = model.get_submodule(layer) if layer else None
    if not isinstance(linear, nn.Linear) or layer is None:
        raise _unfit(name, "it has no linear layer")
    seen: list[tuple[str, bool, Tensor]] = []
    given: list[Tensor] = []

    def note(module_name: str) -> Callable:
        def hook(_: nn.Module, inputs: tuple, output: object) -> None:
            for of_input, value in ((True, inputs[0] if inputs else None), (False, output)):
                if isinstance(value, Tensor) and value.dim() in (3, 4):
                    with suppress(InputError, RuntimeError):
                        seen.append((module_name, of_input, to_maps(value, "").mean((2, 3))))

        return hook

    hooks = [linear.register_forward_hook(lambda _, inputs, __: given.append(inputs[0]))]
    hooks += [
        module.register_forward_hook(note(module_name))
        for module_name, module in model.named_modules()
        if module_name and module is not linear
    ]
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, side, side, generator=generator)
    try:
        logits = model(images)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"--backbone {name}: does not take {side}x{side} pixels ({reason}); try another "
            f"--input-size, such as 224"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    if not given or not isinstance(logits, Tensor) or not _same(linear(given[-1]), logits):
        raise _unfit(name, f"{layer} does not end in its logits")
    pooled = [(at, of_input) for at, of_input, mean in seen if _same(mean, given[-1])]
    if not pooled:
        raise _unfit(name, f"the input of {layer} is not the mean over the cells of a map")
    return ClassMaps(model, *pooled[-1], linear).eval()


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool((a - b).abs().max() <= TOLERANCE * b.abs().max())


def _unfit(name: str, why: str) -> InputError:
    return InputError(
        f"--method cam: {name} is no classifier whose head is global average pooling and one "
        f"linear layer ({why}); a ResNet, EfficientNet or MobileNetV2 is one, for others there are "
        f"the methods that need no classes, such as ddt or contrast"
    )


@dataclass(frozen=True)
class _Package:
    """How a package builds a classifier: of a number of classes, and its weights' names."""

    build: Callable[..., Any]
    renamed: Callable[[Mapping[str, Tensor], nn.Module], Mapping[str, Tensor]]


def _as_timm(state: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
    return transformer_as_timm(as_timm(state, model.state_dict()), model)


def build_classifier(name: str, weights: str, input_size: int | None = None) -> Backbone:
    """Build a classifier and load all its weights; its maps are those of the classes.

    Args:
        name: "timm:<model>" or "torchvision:<model>".
        weights: a local checkpoint, of any number of classes, or "pretrained".
        input_size: side in pixels that images are squashed to; 448, or what the model insists on.

    Raises:
        InputError: unknown model, the file does not fit or has no classifier, or its head is not
            average pooling and one linear layer.
    """
    package, _, model_name = name.partition(":")
    if package not in ("timm", "torchvision") or not model_name:
        raise InputError(
            f"--backbone {name}: expected timm:<model> or torchvision:<model>, such as "
            f"torchvision:resnet50"
        )
    file = find_weights(weights, name, "--weights")
    if package == "timm":
        timm = timm_module(model_name)
        how = _Package(lambda **more: timm.create_model(model_name, **more), _as_timm)
    else:
        models = importlib.import_module("torchvision.models")
        if model_name not in models.list_models(module=models):
            raise InputError(f"--backbone {name}: no such model in torchvision")
        init = {"init_weights": False} if model_name in ("googlenet", "inception_v3") else {}
        how = _Package(
            lambda **more: models.get_model(model_name, weights=None, **init, **more),
            lambda state, _: state,
        )
    model = _loaded(name, how, file)
    own, mean, std = None, IMAGENET_MEAN, IMAGENET_STD
    if package == "timm":
        config = timm.data.resolve_model_data_config(model)
        own = config["input_size"][1] if model.pretrained_cfg.get("fixed_input_size") else None
        mean, std = config["mean"], config["std"]
    side = input_side(name, input_size, own or getattr(model, "image_size", None))
    maps = class_maps(name, model.eval(), side)
    settings = {
        "layer": maps.module,
        "classes": maps.linear.out_features,
        package: version(package),
        "backbone": name,
        "weights": file.path.name,
        "weights_sha256": sha256(file.path),
    }
    backbone = Backbone(maps, squash(side, mean, std).of_package(file.package), settings)
    settings["preprocessing"] = backbone.preprocessing.settings()
    return backbone


def _loaded(name: str, how: _Package, file: WeightFile) -> Any:
    """The model with the file's weights, of as many classes as these are of."""
    model = how.build()
    state = how.renamed(read_weights(file.path), model)
    head = last_linear(model)
    weight = next((w for key, w in state.items() if head and key.endswith(f"{head}.weight")), None)
    if weight is None:
        raise InputError(
            f"{file.path}: has no weights of the linear layer {head} of {name}; --method cam needs "
            f"a whole classifier"
        )
    if len(weight) != len(model.get_submodule(head).weight):
        model = how.build(num_classes=len(weight))
    load_weights(file.path, state, name, model)
    return model
