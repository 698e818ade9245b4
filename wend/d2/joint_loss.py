"""Eq. (4) around a detector of Detectron2."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wend.d2.frames import Batch, PredictsOnCrops
from wend.losses import ImagesContext, LocalizationLoss
from wend.schedules import Progress


def images_of(batch: Batch, device: torch.device, progress: Progress) -> ImagesContext:
    """What the images of a training batch are for the loss.

    Args:
        batch: dicts of Detectron2's or :class:`wend.d2.mapper.WSOLDatasetMapper`. Of ours,
            ``instances`` have ``gt_scores``; ``teacher`` has boxes and scores of a teacher's.
        device: where the boxes are to be.
        progress: how far the training is.
    """
    instances = [entry["instances"] for entry in batch]
    return ImagesContext.on(
        device,
        image_ids=[entry.get("image_id") for entry in batch],
        boxes=[each.gt_boxes.tensor for each in instances],
        scores=[each.gt_scores if each.has("gt_scores") else None for each in instances],
        teacher=[entry.get("teacher") for entry in batch],
        progress=progress,
    )


class JointLoss(PredictsOnCrops):
    """Mixed into a detector, before Detectron2's class: eq. (4) weights its losses.

    Attributes:
        localization_loss: L_unsup, η of eq. (4), L_cls and weights; the detector sets it.
    """

    localization_loss: LocalizationLoss

    def forward(self, batched_inputs: Batch) -> Any:
        """Loss terms of eq. (4) in training, else predictions in original pixels."""
        if not self.training:
            return super().forward(batched_inputs)
        loss = self.localization_loss
        device = next(self.parameters()).device
        loss.start_batch(images_of(batched_inputs, device, loss.progress))
        return loss.joint(self.terms(batched_inputs))

    def terms(self, batched_inputs: Batch) -> dict[str, Tensor]:
        """The loss terms of a batch, before η of eq. (4); a detector of ours implements it.

        By default those of Detectron2's class.
        """
        return super().forward(batched_inputs)
