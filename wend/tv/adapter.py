"""The detectors of :mod:`wend.modeling.detectors`, built and called as torchvision's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from wend.config import localization_loss
from wend.modeling.detectors import Detector
from wend.tv.backbones import build_backbone


class ImagesAndTargets(nn.Module):
    """Mixed in before a detector: takes torchvision's containers, and returns them.

    Args:
        cfg: the config that describes the detector.

    Attributes:
        arguments: :meth:`Detector.arguments`, which the detector behind it has.
    """

    arguments: ClassVar[Callable[..., dict[str, Any]]]
    foreground_label = 0

    def __init__(self, cfg: CfgNode) -> None:
        backbone = build_backbone(cfg)
        loss = localization_loss(cfg)
        super().__init__(**self.arguments(cfg, backbone, backbone.channels, backbone.strides, loss))

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> Any:
        """Losses in training, else for each image a dict of boxes, scores and labels.

        Args:
            images: N crops (3, height, width), 0..255.
            targets: needed in training, for each image "boxes" (P, 4) in pixels of the crop.
        """
        if self.training:
            assert targets is not None
            boxes = [target["boxes"] for target in targets]
            return super().forward(images, boxes, image_ids=image_ids_of(targets))
        return [
            {
                "boxes": boxes,
                "scores": scores,
                "labels": torch.full_like(scores, self.foreground_label, dtype=torch.int64),
            }
            for boxes, scores in super().forward(images)
        ]


def image_ids_of(targets: Sequence[Mapping[str, Any]]) -> list[object]:
    """The ids of a training batch's images; None where a target has none."""
    return [target.get("image_id") for target in targets]


def adapted(name: str, detector: type[Detector]) -> type:
    """A detector's class for this engine, called ``name``; it takes a config."""
    doc = {"__doc__": detector.__doc__, "__module__": detector.__module__}
    return type(name, (ImagesAndTargets, detector), doc)
