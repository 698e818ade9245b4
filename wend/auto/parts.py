"""Which photos are held out from training."""

from __future__ import annotations

import numpy as np

SHARE = 0.2


def hold_out(groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Whether each photo (N,) is held out; a group is held out whole or not at all.

    Groups are taken in an order drawn by the seed while they fit into the share, at least one of
    them (the smallest), and at least one is left for training.

    Args:
        groups: (N,) numbers of the photos' groups.
        share: of the photos, 0 for none, below 1.

    Returns:
        (N,) bool; all False where there are fewer than two groups.
    """
    numbers, sizes = np.unique(groups, return_counts=True)
    if share <= 0 or len(numbers) < 2:
        return np.zeros(len(groups), dtype=bool)
    order = np.random.default_rng(seed).permutation(len(numbers))
    most = max(round(share * len(groups)), 1)
    chosen: list[int] = []
    taken = 0
    for i in order[: len(order) - 1].tolist():
        if taken + sizes[i] <= most:
            chosen.append(i)
            taken += sizes[i]
    if not chosen:
        chosen = [order[sizes[order].argmin()]]
    return np.isin(groups, numbers[chosen])
