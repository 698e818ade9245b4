"""Scores of boxes as weights: whatever a source's scores are, training sees numbers in [0, 1].

Shape letters: B = boxes of all images of a data set.
"""

from __future__ import annotations

import numpy as np

ROUNDING = 1e-6  # beyond 0 or 1 by so little is a writer's rounding


def rescaled(scores: np.ndarray | None) -> np.ndarray | None:
    """The weights of boxes whose scores are no numbers in [0, 1], such as log-odds or per cent.

    A box's weight is the share of the data set's boxes that score no more than it: the best has 1,
    equal scores have equal weights, and no order of any two is changed. The units do not matter.

    Args:
        scores: (B,) as the source has them, or None.

    Returns:
        (B,) float32 in (0, 1]; None where the scores are in [0, 1] and count as they are, or where
        there are none and each box counts 1.

    Example:
        >>> rescaled(np.array([-2.0, 3.5, 0.1, 3.5])).tolist()
        [0.25, 1.0, 0.5, 1.0]
    """
    if scores is None or not len(scores):
        return None
    low, high = scores.min(), scores.max()
    if 0 <= low and high <= 1:
        return None
    if -ROUNDING <= low and high <= 1 + ROUNDING:
        return np.clip(scores, 0, 1).astype(np.float32)
    order = np.sort(scores)
    no_more = np.searchsorted(order, scores, side="right")
    return (no_more / len(scores)).astype(np.float32)


def describe_scores(scores: np.ndarray | None) -> str:
    """What is to be said of the scores (B,) of a table's boxes as weights; empty if nothing is."""
    if scores is None or rescaled(scores) is None:
        return ""
    low, high = float(scores.min()), float(scores.max())
    if -ROUNDING <= low and high <= 1 + ROUNDING:
        return ""
    return (
        f"scores of boxes go from {low:.4g} to {high:.4g}; as weights, which are in [0, 1], each "
        f"counts by the share of boxes that score no more (score_unit: percent or log_odds of the "
        f"box source says what they are)"
    )
