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
        pixels = stacked(images)
    dtype = mean.dtype if pixels.is_floating_point() else None  # whatever floats a mapper makes
    normalized = (pixels.to(mean.device, dtype, non_blocking=True) - mean) / std
    below, right = (_padded(side, unit, least) - side for side in sizes[0])
    if below or right:
        normalized = F.pad(normalized, (0, right, 0, below))
    return ImageBatch(normalized, sizes)


def stacked(images: Sequence[Tensor]) -> Tensor:
    """Images of one size as a tensor (N, 3, height, width), without a copy where they lie so."""
    together = _lying_together(images)
    return torch.stack([*images]) if together is None else together


def _lying_together(images: Sequence[Tensor]) -> Tensor | None:
    """:func:`stacked` images without a copy; None where they lie apart.

    Together lie those that :class:`wend.loading.packed_batch.PackedBatch` brings, and every n-th of
    them, unless somebody has put another image in the place of one.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return None
    first, size = images[0], images[0].element_size()
    storage, starts = first.untyped_storage().data_ptr(), [image.data_ptr() for image in images]
    step = starts[1] - starts[0] if len(starts) > 1 else first.numel() * size
    if step <= 0 or starts != [*range(starts[0], starts[0] + step * len(starts), step)]:
        return None
    for image in images:
        like = image.dtype == first.dtype and image.is_contiguous() and not image.requires_grad
        if not like or image.untyped_storage().data_ptr() != storage:
            return None
    shape = (len(images), *first.shape)
    return first.as_strided(shape, (step // size, *first.stride()))


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
