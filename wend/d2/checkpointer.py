"""Checkpoints of the Detectron2 engine."""

from __future__ import annotations

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import hooks

from wend.training.checkpoints import ClearsByListing, RunCheckpointer


class WENDCheckpointer(RunCheckpointer, DetectionCheckpointer):
    """Detectron2's checkpointer that also reads torchvision's names and refuses a wrong file.

    As Detectron2's it fetches URLs and ``detectron2://``; what comes is read as any file.
    """

    fetches = True


class PeriodicSaving(ClearsByListing, hooks.PeriodicCheckpointer):
    """Detectron2's hook, of a folder in which few checkpoints stay."""
