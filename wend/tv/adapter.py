"""The detectors of :mod:`wend.modeling.detectors`, built and called as torchvision's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from wend.config import localization_loss
from wend.losses import ImagesContext, LocalizationLoss
from wend.modeling.detectors import Detector
from wend.modeling.layers.box_batch import BoxBatch
from wend.schedules import Progress
from wend.tv.backbones import build_backbone
from wend.tv.predictions import Predictions


class ImagesAndTargets(nn.Module):
    """Mixed in before a detector: takes torchvision's containers, and returns them.

    Args:
        cfg: the config that describes the detector.

    Attributes:
        arguments, box_batch, pixel_mean, localization_loss: of :class:`Detector`, which is behind
            it.
    """

    arguments: ClassVar[Callable[..., dict[str, Any]]]
    box_batch: Callable[[Sequence[Tensor]], BoxBatch]
    pixel_mean: Tensor
    localization_loss: LocalizationLoss
    foreground_label = 0

    def __init__(self, cfg: CfgNode) -> None:
        backbone = build_backbone(cfg)
        loss = localization_loss(cfg)
        super().__init__(**self.arguments(cfg, backbone, backbone.channels, backbone.strides, loss))

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> Any:
        """Losses in training, else for each image a dict of boxes, scores and labels.

        Args:
            images: N crops (3, height, width), 0..255.
            targets: needed in training, see :func:`images_of`.
        """
        if self.training:
            assert targets is not None
            device, progress = self.pixel_mean.device, self.localization_loss.progress
            return super().forward(images, images_of(targets, device, progress))
        return Predictions(self.box_batch(images), self.foreground_label)


def images_of(
    targets: Sequence[Mapping[str, Any]], device: torch.device, progress: Progress
) -> ImagesContext:
    """What the images of a training batch are for the loss.

    Args:
        targets: for each image "boxes" (P, 4) in pixels of the crop; if known "image_id", their
            "scores" (P,) and "teacher", a pair of a teacher's boxes and scores.
        device: where the boxes are to be.
        progress: how far the training is.
    """
    return ImagesContext.on(
        device,
        image_ids=[target.get("image_id") for target in targets],
        boxes=[target["boxes"] for target in targets],
        scores=[target.get("scores") for target in targets],
        teacher=[target.get("teacher") for target in targets],
        progress=progress,
    )


def adapted(name: str, detector: type[Detector]) -> type:
    """A detector's class for this engine, called ``name``; it takes a config."""
    doc = {"__doc__": detector.__doc__, "__module__": detector.__module__}
    return type(name, (ImagesAndTargets, detector), doc)
