"""Checkpoints of the torchvision engine."""

from __future__ import annotations

from fvcore.common.checkpoint import Checkpointer

from wend.modeling.weights import CheckedLoading


class TVCheckpointer(CheckedLoading, Checkpointer):
    """fvcore's checkpointer that knows others' names and refuses a wrong file."""
