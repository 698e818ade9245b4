"""A forward pass in training mode that leaves no trace: of a loss that is only looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from wend.losses import localization_losses
from wend.losses.positives import PositiveShare


@contextmanager
def restored(model: nn.Module) -> Iterator[None]:
    """Let a detector compute its losses inside, and have it as before afterwards.

    As before are attributes of modules (normalizers, modes, counters), buffers (statistics of
    norms), and what its losses count.
    """
    attributes = [(module, dict(vars(module))) for module in model.modules()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    losses = [(loss, dict(vars(loss))) for loss in localization_losses(model)]
    for loss, _ in losses:
        loss.positives, loss.positive_share = None, PositiveShare()
    try:
        yield
    finally:
        for thing, before in (*attributes, *losses):
            vars(thing).clear()
            vars(thing).update(before)
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
