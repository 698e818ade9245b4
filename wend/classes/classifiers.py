"""Classifiers from local weight files, and their predictions.

Nothing is downloaded: a model is built without weights, its number of classes is that of the file's
last layer, and a file that does not fit is an error that says what differs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from wend.classes.preprocessing import C2AM, CANONICAL, Preprocessing, c2am
from wend.distribution import pip_install
from wend.errors import InputError, some
from wend.images.reading import read_image
from wend.loader_workers import begin_worker, told_of_memory
from wend.pretrained import find_weights
from wend.pretrained.efficientnet_names import as_timm
from wend.structures.data_set import DataSet
from wend.weight_files import load_weights, read_weights, without_prefix

_INSTALL = pip_install("classifier")


@dataclass
class Classifier:
    """A model with its weights, ready to predict.

    Attributes:
        model: images (N, 3, H, W) -> logits (N, num_classes), in evaluation mode.
        preprocessing: makes its input.
        num_classes: the weight file's.
        versions: of the packages that built it.
        weights: the file of its weights.
    """

    model: nn.Module
    preprocessing: Preprocessing
    num_classes: int
    versions: dict[str, str]
    weights: Path


def _count_classes(path: str | Path, weights: Mapping[str, Tensor], layer: str, model: str) -> int:
    """The number of classes of the layer, under whatever prefix all weights stand."""
    head = f"{layer}.weight"
    weight = without_prefix(path, weights, [head]).get(head)
    if weight is None:
        raise InputError(
            f"{path}: not a checkpoint of {model}: its classifier {layer}.weight is missing; found "
            f"{some(weights)}"
        )
    return weight.shape[0]


def _efficientnet(
    name: str, file: Path, preprocessing: str, resize: int | None, crop: int | None
) -> Classifier:
    try:
        from efficientnet_pytorch import VALID_MODELS, EfficientNet
    except ImportError as error:
        raise InputError(f"--model {name}: needs efficientnet_pytorch: {_INSTALL}") from error
    if name not in VALID_MODELS:
        raise InputError(f"--model {name}: expected one of {', '.join(VALID_MODELS)}")
    if preprocessing == C2AM:
        pixels = c2am(resize, crop)
    else:  # 32 pixels more than the crop, as the TensorFlow original: 600 / 0.949 = 632
        side = crop or EfficientNet.get_image_size(name)
        pixels = Preprocessing(CANONICAL, resize or side + 32, side, True, "bicubic")
    weights = read_weights(file)
    num_classes = _count_classes(file, weights, "_fc", name)
    model = EfficientNet.from_name(name, num_classes=num_classes, image_size=pixels.crop)
    load_weights(file, weights, name, model)
    package = "efficientnet_pytorch"
    return Classifier(model.eval(), pixels, num_classes, {package: version(package)}, file)


def _timm_preprocessing(
    name: str, config: dict[str, Any], resize: int | None, crop: int | None
) -> Preprocessing:
    _, height, width = config["input_size"]
    if height != width or config["crop_mode"] not in ("center", "squash"):
        raise InputError(
            f"--model timm:{name}: its preprocessing (input {config['input_size']}, crop mode "
            f"{config['crop_mode']}) is not supported; expected square inputs, center or squash"
        )
    side = crop or height
    return Preprocessing(
        CANONICAL,
        resize or math.floor(side / config["crop_pct"]),
        side,
        config["crop_mode"] == "center",
        config["interpolation"],
        tuple(config["mean"]),
        tuple(config["std"]),
    )


def _timm(
    name: str, file: Path, preprocessing: str, resize: int | None, crop: int | None
) -> Classifier:
    try:
        import timm
    except ImportError as error:
        raise InputError(f"--model timm:{name}: needs timm: {_INSTALL}") from error
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('.')[0]}*")
        raise InputError(f"--model timm:{name}: timm has no such model; near: {some(near, 5)}")
    # Any: timm's models have more attributes than nn.Module's type says
    model: Any = timm.create_model(name, pretrained=False)
    config = timm.data.resolve_model_data_config(model)
    own = _timm_preprocessing(name, config, None, None)
    pixels = (
        c2am(resize, crop)
        if preprocessing == C2AM
        else _timm_preprocessing(name, config, resize, crop)
    )
    if model.pretrained_cfg.get("fixed_input_size") and pixels.crop != own.crop:
        raise InputError(
            f"--model timm:{name}: takes only {own.crop}x{own.crop} pixels, the preprocessing "
            f"{pixels.name} gives {pixels.crop}x{pixels.crop}; use --preprocessing canonical"
        )
    weights = as_timm(read_weights(file), model.state_dict())
    layer = model.pretrained_cfg["classifier"]
    layer = layer if isinstance(layer, str) else layer[0]
    num_classes = _count_classes(file, weights, layer, f"timm:{name}")
    model.reset_classifier(num_classes)
    load_weights(file, weights, f"timm:{name}", model)
    return Classifier(model.eval(), pixels, num_classes, {"timm": timm.__version__}, file)


def build_classifier(
    name: str,
    weights: str | Path,
    preprocessing: str,
    resize: int | None = None,
    crop: int | None = None,
) -> Classifier:
    """Build a model and load its weights.

    Args:
        name: "efficientnet-b7" (or another of that package), or "timm:<name>".
        weights: a local checkpoint, or "pretrained": what an installed package ships for the model.
        preprocessing: "c2am-685-600" or "canonical".
        resize, crop: other sizes than that preprocessing's.

    Raises:
        InputError: unknown model or preprocessing, a package is missing, the file does not fit.
    """
    if preprocessing not in (C2AM, CANONICAL):
        raise InputError(f"--preprocessing: expected {C2AM} or {CANONICAL}, got {preprocessing!r}")
    build: Callable[..., Classifier] = _timm if name.startswith("timm:") else _efficientnet
    file = find_weights(weights, name, "--weights")
    classifier = build(name.removeprefix("timm:"), file.path, preprocessing, resize, crop)
    classifier.preprocessing = classifier.preprocessing.of_package(file.package)
    return classifier


class _Images(Dataset):
    """An image's model input (crops, 3, H, W), or the InputError that its file ended in."""

    def __init__(self, data_set: DataSet, preprocessing: Preprocessing, ten_crop: bool) -> None:
        self.data_set, self.preprocessing, self.ten_crop = data_set, preprocessing, ten_crop

    def __len__(self) -> int:
        return len(self.data_set)

    def __getitem__(self, index: int) -> Tensor | InputError:
        try:
            data_set = self.data_set
            image = read_image(data_set.file_names[index], data_set.exif, data_set.max_megapixels)
            return self.preprocessing(image, self.ten_crop)
        except InputError as error:  # raised in the worker, its message would be a traceback
            return error


@torch.inference_mode()
def top_classes(model: nn.Module, images: Tensor, top_k: int) -> tuple[list, list]:
    """The best classes and their probabilities, averaged over each image's crops.

    Args:
        images: (N, crops, 3, H, W).

    Returns:
        Classes and scores, N lists of ``top_k``, best first.
    """
    num_images, num_crops = images.shape[:2]
    probabilities = model(images.flatten(0, 1)).float().softmax(1)
    mean = probabilities.unflatten(0, (num_images, num_crops)).mean(1)
    scores, classes = mean.topk(top_k, 1)
    rounded = [[float(f"{score:.6g}") for score in row] for row in scores.tolist()]
    return classes.tolist(), rounded


def _batches(loader: DataLoader) -> Iterator[list]:
    with told_of_memory("--num-workers"):
        yield from loader


def predict(
    classifier: Classifier,
    data_set: DataSet,
    batches: Sequence[Sequence[int]],
    device: torch.device,
    top_k: int = 5,
    ten_crop: bool = False,
    num_workers: int = 0,
) -> Iterator[tuple[list[str], list, list]]:
    """Keys, classes and scores of the images, one batch at a time.

    Args:
        batches: indices of the images that go through the model together.

    Raises:
        InputError: an image cannot be read, or scores are not finite.
    """
    if not batches:
        return
    images = _Images(data_set, classifier.preprocessing, ten_crop)
    model = classifier.model.to(device)
    loader = DataLoader(
        images,
        batch_sampler=[list(batch) for batch in batches],
        num_workers=num_workers,
        collate_fn=list,
        worker_init_fn=begin_worker,
    )
    for batch, items in zip(batches, _batches(loader), strict=True):
        for item in items:
            if isinstance(item, InputError):
                raise item
        keys = [data_set.keys[index] for index in batch]
        classes, scores = top_classes(model, torch.stack(items).to(device), top_k)
        if not np.isfinite(scores).all():
            raise InputError(
                f"the model's scores for {keys[0]} and the images after it are not finite numbers; "
                f"are the weights whole, and trained?"
            )
        yield keys, classes, scores
