"""Which part of a batch is kept, by rank, and how large a part: shared by the selections.

Shape letters: N = what is ranked: images or samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wend.schedules import Progress


def selected_share(progress: Progress, *, drop: float, start: float, ramp: float) -> float:
    """The share that is dropped at a point of the training, ``1 - R(t)``.

    0 up to the share ``start`` of the training, then in equal steps up to ``drop`` within the
    share ``ramp``: co-teaching's ``R(T) = 1 - τ min(T / T_k, 1)``, τ ``drop`` and T_k ``ramp``.
    """
    since = progress.share - start
    if since < 0:
        return 0.0
    return drop * min(since / ramp, 1.0) if ramp else drop


def kept(losses: Tensor, ranked: Tensor, share: float | Tensor) -> Tensor:
    """False for the share of the ranked that has the largest loss.

    Args:
        losses: (N,), the same device as ``ranked``.
        ranked: (N,) whether each is ranked; others are kept.
        share: in [0, 1], of those that are ranked, rounded to a whole number of them.

    Returns:
        Booleans (N,).
    """
    dropped = torch.floor(share * ranked.sum() + 0.5)
    order = torch.where(ranked, losses, -torch.inf).argsort(descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    return (rank >= dropped) | ~ranked
