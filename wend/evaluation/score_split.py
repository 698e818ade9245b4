"""The score between a detector's likely and unlikely boxes, from the scores alone."""

from __future__ import annotations

import numpy as np


def split_score(scores: np.ndarray) -> float:
    """The score that splits scores (B,) into two groups of the largest variance between them.

    It needs no truth: where a detector tells objects from the rest, its scores have two groups
    (Otsu, "A threshold selection method from gray-level histograms", 1979; here on the scores
    themselves). 0 where there are no two different scores.
    """
    ordered = np.sort(scores)
    if not len(ordered) or ordered[0] == ordered[-1]:
        return 0.0
    below = np.arange(1, len(ordered))
    sums = np.cumsum(ordered)
    difference = sums[:-1] / below - (sums[-1] - sums[:-1]) / (len(ordered) - below)
    between = below * (len(ordered) - below) * difference**2
    best = int(between.argmax())
    return float(ordered[best] + ordered[best + 1]) / 2
