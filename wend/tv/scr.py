"""SCR for the torchvision engine: one box from the pooled feature map.

Shape letters: N = images.
"""

from __future__ import annotations

from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from wend.config import localization_loss
from wend.modeling.layers.scr_head import (
    SCRHead,
    check_no_unsupervised,
    scr_boxes,
    scr_loss,
    scr_targets,
)


class SCR(nn.Module):
    """Single-class regression (:mod:`wend.modeling.layers.scr_head`), called as torchvision's
    detectors.

    Args:
        cfg: ``WEND.SCR``.
        backbone: puts out one feature map of ``out_channels``.
    """

    foreground_label = 0

    def __init__(self, cfg: CfgNode, backbone: nn.Module) -> None:
        super().__init__()
        self.localization_loss = localization_loss(cfg)
        check_no_unsupervised(self.localization_loss)
        scr = cfg.WEND.SCR
        self.loss, self.loss_weight = scr.LOSS, scr.LOSS_WEIGHT
        self.backbone = backbone
        self.head = SCRHead(backbone.out_channels, scr.HIDDEN_DIM)
        for name in ("pixel_mean", "pixel_std"):
            pixel = torch.tensor(cfg.MODEL[name.upper()]).view(-1, 1, 1)
            self.register_buffer(name, pixel, persistent=False)

    def forward(self, images: list[Tensor], targets: list[dict] | None = None) -> Any:
        """Losses in training, detections in evaluation.

        Args:
            images: N crops (3, H, W) of one size, 0..255.
            targets: in training, for each image "boxes" (P, 4) in pixels of the crop.
        """
        pixels = (torch.stack(images) - self.pixel_mean) / self.pixel_std
        predicted = self.head(list(self.backbone(pixels).values()))
        sizes = [tuple(image.shape[-2:]) for image in images]
        if self.training:
            wanted = scr_targets([one["boxes"] for one in targets], sizes)
            loss = self.loss_weight * scr_loss(predicted, wanted, self.loss)
            return self.localization_loss.joint({"loss_box_reg": loss})
        return [
            {
                "boxes": box[None],
                "scores": box.new_ones(1),
                "labels": box.new_full((1,), self.foreground_label, dtype=torch.int64),
            }
            for box in scr_boxes(predicted, sizes)
        ]
