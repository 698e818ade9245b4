"""Eq. (4) around a detector of Detectron2."""

from __future__ import annotations

from typing import Any

from wend.d2.frames import Batch, PredictsOnCrops
from wend.losses import LocalizationLoss


class JointLoss(PredictsOnCrops):
    """Mixed into a detector, before Detectron2's class: eq. (4) weights its losses.

    Attributes:
        localization_loss: L_unsup and η of eq. (4); the detector sets it.
    """

    localization_loss: LocalizationLoss

    def forward(self, batched_inputs: Batch) -> Any:
        """Loss terms of eq. (4) in training, else predictions in original pixels."""
        if not self.training:
            return super().forward(batched_inputs)
        boxes = [len(entry["instances"]) for entry in batched_inputs if "instances" in entry]
        image_ids = [entry.get("image_id") for entry in batched_inputs]
        self.localization_loss.start_batch(image_ids, sum(boxes))
        return self.localization_loss.joint(super().forward(batched_inputs))
