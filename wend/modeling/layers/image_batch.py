"""Images of a batch as one normalized tensor: one copy to the device, one normalization.

Shape letters: N = images, H, W = height and width of the batch in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]  # height and width in pixels


class ImageBatch(NamedTuple):
    """Normalized images of a batch.

    Attributes:
        tensor: (N, 3, H, W) float; images fill the upper left corner, the rest is 0.
        sizes: height and width of each image.
    """

    tensor: Tensor
    sizes: list[Size]


def image_batch(
    images: Sequence[Tensor] | Tensor,
    mean: Tensor,
    std: Tensor,
    unit: int = 1,
    least: int = 0,
) -> ImageBatch:
    """Normalize images, padding smaller ones with zeros.

    Images of one size, whatever their number, take as many operations as a single one.

    Args:
        images: N images (3, height, width) in 0..255, of any type of numbers, of one size or of
            different sizes; or one tensor (N, 3, height, width) of them.
        mean, std: (3, 1, 1), on the device of the result.
        unit: sides of the batch are multiples of it.
        least: pixels that they are at least.
    """
    if isinstance(images, Tensor):
        pixels, sizes = images, [(images.shape[-2], images.shape[-1])] * len(images)
    else:
        sizes = [(image.shape[-2], image.shape[-1]) for image in images]
        if len(set(sizes)) > 1:
            return _of_different_sizes(images, sizes, mean, std, unit, least)
        pixels = torch.stack([*images])
    normalized = (pixels.to(mean.device, non_blocking=True) - mean) / std
    below, right = (_padded(side, unit, least) - side for side in sizes[0])
    if below or right:
        normalized = F.pad(normalized, (0, right, 0, below))
    return ImageBatch(normalized, sizes)


def _of_different_sizes(
    images: Sequence[Tensor], sizes: list[Size], mean: Tensor, std: Tensor, unit: int, least: int
) -> ImageBatch:
    height, width = (_padded(max(side), unit, least) for side in zip(*sizes, strict=True))
    batch = mean.new_zeros(len(images), len(mean), height, width)
    for padded, image in zip(batch, images, strict=True):
        pixels = image.to(mean.device, non_blocking=True)
        padded[:, : image.shape[-2], : image.shape[-1]] = (pixels - mean) / std
    return ImageBatch(batch, sizes)


def _padded(side: int, unit: int, least: int) -> int:
    return -(-max(side, least) // unit) * unit
