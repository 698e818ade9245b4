"""What torchvision's detectors share here: registry, eq. (4), images that come cropped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from wend.config import view_of
from wend.losses import LocalizationLoss, check_areas, weighted
from wend.modeling.layers.box_batch import BoxBatch
from wend.modeling.layers.box_choice import borders
from wend.modeling.layers.image_batch import ImageBatch, Size, image_batch
from wend.registry import Registry
from wend.tv.adapter import images_of
from wend.tv.predictions import Outputs, Predictions

META_ARCH_REGISTRY: Registry[Callable[[CfgNode], nn.Module]] = Registry("detector")


class JointLoss(nn.Module):
    """Mixed into a detector, before torchvision's class: eq. (4) weights its losses.

    Attributes:
        localization_loss: L_unsup and η of eq. (4); the detector sets it.
        loss_weights: λ of eq. (1) of terms, 1 of the others.
        foreground_label: of the one class.
    """

    localization_loss: LocalizationLoss
    loss_weights: Mapping[str, float] = MappingProxyType({})
    foreground_label = 1

    def forward(self, images: list[Tensor], targets: list[dict[str, Any]] | None = None) -> Any:
        """Losses in training, detections in evaluation; see torchvision's."""
        if not self.training:
            predicted = self.predicted(images)
            if isinstance(predicted, BoxBatch):
                return Predictions(predicted, self.foreground_label)
            return predicted
        assert targets is not None
        loss = self.localization_loss
        device = next(self.parameters()).device
        ids = [target.get("image_id") for target in targets]
        check_areas([target["boxes"] for target in targets], ids)
        loss.start_batch(images_of(targets, device, loss.progress))
        return loss.joint(self.terms(images, targets))

    def terms(self, images: list[Tensor], targets: list[dict[str, Any]]) -> dict[str, Tensor]:
        """The loss terms of a batch, before η of eq. (4); a detector of ours implements it.

        By default those of torchvision's class.
        """
        return weighted(super().forward(images, targets), self.loss_weights)

    def predicted(self, images: Sequence[Tensor]) -> BoxBatch | Outputs:
        """The boxes of a batch, in pixels of its images; a detector of ours implements it.

        By default what torchvision's class makes of them, a dict for each.

        Args:
            images: N images (3, height, width), 0..255, of any type of numbers.
        """
        return super().forward(images)


class Normalization(nn.Module):
    """Images to a normalized batch, as torchvision's transform makes one, image by image.

    In evaluation images whose longer side is not that of the crops are rescaled to it, as
    torchvision's transform does.

    Args:
        cfg: MODEL.PIXEL_MEAN and PIXEL_STD, and the view.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(cfg.MODEL.PIXEL_MEAN).view(-1, 1, 1), False)
        self.register_buffer("std", torch.tensor(cfg.MODEL.PIXEL_STD).view(-1, 1, 1), False)
        self.side = view_of(cfg).test_side

    def forward(self, images: Sequence[Tensor] | Tensor) -> ImageBatch:
        """Normalize images; see :func:`wend.modeling.layers.image_batch.image_batch`.

        Args:
            images: N images (3, height, width), 0..255.
        """
        sizes = list(map(self._seen, images))
        if sizes == list(map(_size, images)):
            return image_batch(images, self.mean, self.std)
        rescaled = [
            F.interpolate(image_batch([image], self.mean, self.std).tensor, size, mode="bilinear")
            for size, image in zip(sizes, images, strict=True)
        ]
        as_they_are = torch.zeros_like(self.mean), torch.ones_like(self.std)
        return image_batch([each[0] for each in rescaled], *as_they_are)

    def in_pixels_of(self, images: Sequence[Tensor] | Tensor, batch: BoxBatch) -> BoxBatch:
        """Boxes of :meth:`forward`'s batch, in pixels of the images that it was made of."""
        pairs = [(_size(image), self._seen(image)) for image in images]
        if all(size == seen for size, seen in pairs):
            return batch
        given, seen = (borders(sizes, batch.boxes) for sizes in zip(*pairs, strict=True))
        return replace(batch, boxes=batch.boxes * (given / seen))

    def _seen(self, image: Tensor) -> Size:
        """The size that an image is looked at."""
        height, width = _size(image)
        if self.training:
            return height, width
        scale = self.side / max(height, width)
        return int(height * scale), int(width * scale)


def _size(image: Tensor) -> Size:
    return image.shape[-2], image.shape[-1]


def transform_arguments(cfg: CfgNode) -> dict[str, Any]:
    """Images come cropped, with pixels in 0..255: torchvision is only to normalize them."""
    return {
        "image_mean": cfg.MODEL.PIXEL_MEAN,
        "image_std": cfg.MODEL.PIXEL_STD,
        "min_size": view_of(cfg).test_side,  # of images in testing, which so stay as they are
        "max_size": view_of(cfg).test_side,
        "size_divisible": 1,
        "_skip_resize": True,
    }


class StrideAnchors(AnchorGenerator):
    """Torchvision's anchors, a map's stride apart, as Detectron2's.

    Torchvision takes image side // cells for the stride: 56 of a map of stride 64 that has 4 cells
    for 224 pixels.

    Args:
        sizes: of each map, sides of its anchors.
        aspect_ratios: of each map.
        strides: of each map.
    """

    def __init__(
        self,
        sizes: tuple[tuple[int, ...], ...],
        aspect_ratios: tuple[tuple[float, ...], ...],
        strides: Sequence[int],
    ) -> None:
        super().__init__(sizes, aspect_ratios)
        self.strides = list(strides)

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """The anchors (R, 4) of each image."""
        dtype, device = feature_maps[0].dtype, feature_maps[0].device
        strides = [[torch.tensor(stride, device=device)] * 2 for stride in self.strides]
        self.set_cell_anchors(dtype, device)
        anchors = self.grid_anchors([[*each.shape[-2:]] for each in feature_maps], strides)
        return [torch.cat(anchors) for _ in image_list.image_sizes]


def level_anchors(
    generator: AnchorGenerator, maps: Sequence[Tensor], size: tuple[int, int]
) -> list[Tensor]:
    """The anchors (R of the level, 4) of each map, xyxy in pixels, in float32.

    Args:
        generator: torchvision's, or :class:`StrideAnchors`.
        maps: (N, channels, H, W) of each level; only sizes and device matter.
        size: height and width of the batch's images.
    """
    shapes = [maps[0].new_empty((), dtype=torch.float32).expand(1, 1, *m.shape[-2:]) for m in maps]
    images = maps[0].new_empty((), dtype=torch.float32).expand(1, 3, *size)
    (anchors,) = generator(ImageList(images, [size]), shapes)
    per_cell = generator.num_anchors_per_location()
    counts = [m.shape[-2] * m.shape[-1] * n for m, n in zip(maps, per_cell, strict=True)]
    return list(anchors.split(counts))
