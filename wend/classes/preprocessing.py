"""The preprocessing of a classifier's input: resize, crop, normalize."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from wend.errors import InputError
from wend.pretrained import WeightPackage

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
C2AM, CANONICAL = "c2am-685-600", "canonical"
_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class Preprocessing:
    """Resize, crop, normalize; the pixels of torchvision's transforms on PIL images.

    Attributes:
        name: "c2am-685-600" or "canonical".
        resize: side in pixels that the image is resized to.
        keep_aspect: only the short side is resized to it; otherwise both are (a squash).
        crop: side of the square crop.
        interpolation: "bilinear", "bicubic", "nearest" or "lanczos"; all antialiased, as PIL's.
        mean, std: of each channel, for values from 0 to 1.
    """

    name: str
    resize: int
    crop: int
    keep_aspect: bool
    interpolation: str
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self) -> None:
        if not 0 < self.crop <= self.resize:
            raise InputError(
                f"preprocessing {self.name}: expected 0 < crop size <= resize size, got crop "
                f"{self.crop} and resize {self.resize}; set both --crop-size and --resize-size"
            )
        if self.interpolation not in _FILTERS:
            raise InputError(f"preprocessing: no interpolation {self.interpolation!r} here")

    def of_package(self, package: WeightPackage | None) -> Preprocessing:
        """The same, normalized as the weights of a package were; None: as it is."""
        if package is None:
            return self
        mean, std = (
            tuple(value / 255 for value in values)
            for values in (package.pixel_mean, package.pixel_std)
        )
        return replace(self, mean=mean, std=std)

    def settings(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    def _resized(self, image: Image.Image) -> Image.Image:
        width, height = image.size
        if not self.keep_aspect:
            size = (self.resize, self.resize)
        elif width <= height:
            size = (self.resize, int(self.resize * height / width))
        else:
            size = (int(self.resize * width / height), self.resize)
        return image.resize(size, _FILTERS[self.interpolation])

    def _cropped(self, image: Image.Image, corners: bool) -> list[Image.Image]:
        """The centre crop, preceded by the four corner crops if ``corners``."""
        right, bottom = image.width - self.crop, image.height - self.crop
        starts = [(0, 0), (right, 0), (0, bottom), (right, bottom)] if corners else []
        starts.append((round(right / 2), round(bottom / 2)))  # half to even, as torchvision
        return [image.crop((x, y, x + self.crop, y + self.crop)) for x, y in starts]

    def __call__(self, image: Image.Image, ten_crop: bool = False) -> Tensor:
        """The model's input (1 or 10, 3, crop, crop) of an RGB image.

        Ten crops are the corners and the centre, then the same five of the mirrored image.
        """
        image = self._resized(image)
        crops = self._cropped(image, ten_crop)
        if ten_crop:
            crops += self._cropped(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), True)
        pixels = torch.from_numpy(np.stack([np.asarray(crop) for crop in crops]))
        values = pixels.permute(0, 3, 1, 2).to(torch.float32).div(255)
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (self.mean, self.std))
        return ((values - mean) / std).contiguous()


def c2am(resize: int | None = None, crop: int | None = None) -> Preprocessing:
    """C2AM's preprocessing for EfficientNet-B7: squash to 685², centre 600².

    Source: C2AM, ``inference_ILSVRC.py:36-41``.
    """
    return Preprocessing(C2AM, resize or 685, crop or 600, False, "bilinear")
