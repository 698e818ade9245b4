"""Checkpoints of the torchvision engine."""

from __future__ import annotations

from fvcore.common.checkpoint import Checkpointer, PeriodicCheckpointer

from wend.training.checkpoints import ClearsByListing, RunCheckpointer


class TVCheckpointer(RunCheckpointer, Checkpointer):
    """fvcore's checkpointer that knows others' names and refuses a wrong file."""


class PeriodicSaving(ClearsByListing, PeriodicCheckpointer):
    """fvcore's, of a folder in which few checkpoints stay."""
