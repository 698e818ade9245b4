"""The base class of the detectors: images to a batch, its feature maps, losses and boxes.

Shape letters: N = images, H, W = height and width of the batch in pixels, P = boxes of an image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from wend.losses import ImagesContext, LocalizationLoss
from wend.losses.padded_boxes import PaddedBoxes
from wend.modeling.layers.box_batch import BoxBatch
from wend.modeling.layers.image_batch import ImageBatch, Size, image_batch
from wend.registry import Registry


class Detector(nn.Module):
    """A detector with one foreground class.

    A subclass implements :meth:`own_arguments` (config to head), :meth:`predict`, :meth:`losses`
    and :meth:`best_boxes`, or :meth:`detections` where its images have different numbers of boxes.

    Args:
        backbone: maps images (N, 3, H, W) to feature maps by name.
        in_features: names of the maps that the head sees, finest first.
        localization_loss: L_unsup and η of eq. (4).
        pixel_mean, pixel_std: normalization of the image, a number for each channel.
        size_divisibility: sides of a batch are padded to multiples of it; 0 or 1 for any.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        *,
        backbone: nn.Module,
        in_features: Sequence[str],
        localization_loss: LocalizationLoss,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        size_divisibility: int = 0,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.in_features = list(in_features)
        self.localization_loss = localization_loss
        self.size_divisibility = max(size_divisibility, 1)
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)

    @classmethod
    def arguments(
        cls,
        cfg: CfgNode,
        backbone: nn.Module,
        channels: Mapping[str, int],
        strides: Mapping[str, int],
        localization_loss: LocalizationLoss,
    ) -> dict[str, Any]:
        """The arguments of the detector that a config describes, on whichever engine.

        Args:
            cfg: the detector's own node of ``WEND``, and MODEL.PIXEL_MEAN and PIXEL_STD.
            backbone: see the class.
            channels, strides: channels and strides of the backbone's feature maps by name.
            localization_loss: see the class.

        Raises:
            InputError: an entry does not fit the backbone or another entry.
        """
        return {
            "backbone": backbone,
            "localization_loss": localization_loss,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            **cls.own_arguments(cfg, channels, strides),
        }

    @classmethod
    def own_arguments(
        cls, cfg: CfgNode, channels: Mapping[str, int], strides: Mapping[str, int]
    ) -> dict[str, Any]:
        """``in_features`` and what the subclass adds; see :meth:`arguments`."""
        raise NotImplementedError

    def forward(
        self,
        images: Sequence[Tensor],
        learnt: ImagesContext | None = None,
        frames: Sequence[Size] | None = None,
    ) -> Any:
        """Losses in training, else detections.

        Args:
            images: N images (3, height, width) in 0..255, of one size or of different sizes.
            learnt: needed in training, the boxes to learn of each image (P, 4), xyxy in its pixels,
                on the detector's device, and what else the loss may know of the images.
            frames: used in evaluation, the size that each image's boxes are given in; by default
                its own.

        Returns:
            Loss terms by name, weighted by eq. (4); or for each image boxes (P, 4), xyxy in pixels
            of its frame, and scores (P,), best first.
        """
        predictions, sizes = self._head_outputs(images)
        if self.training:
            assert learnt is not None
            self.localization_loss.start_batch(learnt)
            losses = self.losses(predictions, learnt.boxes, sizes)
            return self.localization_loss.joint(losses)
        return self.detections(predictions, sizes if frames is None else frames)

    def box_batch(self, images: Sequence[Tensor] | Tensor) -> BoxBatch:
        """The boxes of a batch in evaluation mode, in pixels of its images.

        Args:
            images: see :meth:`forward`.
        """
        predictions, sizes = self._head_outputs(images)
        kind = type(self)
        if kind.detections is not Detector.detections:
            return _padded(self.detections(predictions, sizes))
        boxes, scores = self.best_boxes(predictions, sizes)
        return BoxBatch(boxes, scores, torch.ones_like(scores, dtype=torch.bool))

    def _head_outputs(self, images: Sequence[Tensor] | Tensor) -> tuple[Any, Sequence[Size]]:
        """The result of :meth:`predict`, and the sizes of the images."""
        batch, sizes = self.batch(images)
        features = self.backbone(batch)
        padding = padding_mask(batch, sizes)
        return self.predict([features[name] for name in self.in_features], padding), sizes

    def batch(self, images: Sequence[Tensor] | Tensor) -> ImageBatch:
        """Normalized images (N, 3, H, W), smaller ones padded with zeros, and their sizes."""
        return image_batch(images, self.pixel_mean, self.pixel_std, self.size_divisibility)

    def predict(self, features: list[Tensor], padding: Tensor | None) -> Any:
        """The head's output.

        Args:
            features: the maps ``in_features`` of the batch, each (N, channels, cells, cells).
            padding: the mask of :func:`padding_mask`.
        """
        raise NotImplementedError

    def losses(
        self, predictions: Any, boxes: Sequence[Tensor], sizes: Sequence[Size]
    ) -> dict[str, Tensor]:
        """Terms of L_sup, and of L_unsup, before η of eq. (4).

        Args:
            predictions: the result of :meth:`predict`.
            boxes: boxes of each image (P, 4), xyxy in its pixels; P may be 0.
            sizes: sizes of the images.
        """
        raise NotImplementedError

    def of_batch(self, images: Tensor, size: Size) -> tuple[Tensor, Tensor]:
        """:meth:`best_boxes` of normalized images, all of one size, in their pixels.

        Args:
            images: (N, 3, H, W).
            size: height and width of the images, which zeros below and to the right pad to H, W.
        """
        padding = padding_mask(images[:1], [size])
        if padding is not None:
            padding = padding.expand(images.shape[0], -1, -1)
        features = self.backbone(images)
        predictions = self.predict([features[name] for name in self.in_features], padding)
        return self.best_boxes(predictions, [size])

    def detections(self, predictions: Any, frames: Sequence[Size]) -> list[tuple[Tensor, Tensor]]:
        """Boxes (P, 4), xyxy in pixels of its frame, and scores (P,) of each image, best first.

        Args:
            predictions: the result of :meth:`predict`.
            frames: size of each image's frame.
        """
        return list(zip(*self.best_boxes(predictions, frames), strict=True))

    def best_boxes(self, predictions: Any, frames: Sequence[Size]) -> tuple[Tensor, Tensor]:
        """Boxes (N, P, 4), xyxy in pixels of their frame, and scores (N, P), best first.

        Args:
            predictions: the result of :meth:`predict`.
            frames: size of each image's frame, or one for all.
        """
        raise NotImplementedError


DETECTORS: Registry[type[Detector]] = Registry("detector")


def _padded(detections: Sequence[tuple[Tensor, Tensor]]) -> BoxBatch:
    """Boxes (P, 4) and scores (P,) of each image as those of a batch."""
    boxes, scores = zip(*detections, strict=True)
    padded = PaddedBoxes.of(boxes)
    return BoxBatch(padded.boxes, padded.padded(scores), padded.is_box)


def frame_sides(frames: Sequence[Size], like: Tensor) -> Tensor:
    """Heights and widths of frames -> widths and heights (N, 2) on the device of ``like``."""
    return like.new_tensor([(width, height) for height, width in frames]).reshape(-1, 2)


def padding_mask(batch: Tensor, sizes: Sequence[Size]) -> Tensor | None:
    """Pixels (N, H, W) of a batch that belong to no image; None where there are none.

    Args:
        batch: (N, 3, H, W).
        sizes: sizes of its images, which fill the upper left corner.
    """
    height, width = batch.shape[-2:]
    if all(size == (height, width) for size in sizes):
        return None
    sides = torch.tensor(sizes, device=batch.device)
    y = torch.arange(height, device=batch.device)[:, None] >= sides[:, 0, None, None]
    x = torch.arange(width, device=batch.device) >= sides[:, 1, None, None]
    return y | x
