"""Signals -> one suspicion in [0, 1] for each box, by ranks.

Each signal's values become shares of the boxes that are less suspicious by it (equal values have
their mean rank, NaN is 0.5: nothing to say). A family's vote is the mean over its signals, and the
suspicion the mean over the families. Those that compare the box with no other box of the image
count half: "shape", which never looks at the image, and "flips", which says that the image is hard
for the detector. No weight is learned: there is no truth to learn from.

Shape letters: B = boxes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wend.audit.signals import FLIPS, SHAPE, Column

FAMILY_WEIGHTS = {SHAPE: 0.5, FLIPS: 0.5}  # of the others 1


def rank_shares(values: np.ndarray) -> np.ndarray:
    """Ranks (B,) of values in [0, 1], 0.5 in the mean; 0.5 for NaN and where all are equal."""
    shares = np.full(len(values), 0.5)
    said = np.flatnonzero(~np.isnan(values))
    if len(said):
        _, inverse, counts = np.unique(values[said], return_inverse=True, return_counts=True)
        below = np.cumsum(counts) - counts
        shares[said] = ((below + counts / 2) / len(said))[inverse]
    return shares


def suspicion(columns: Sequence[Column], number: int) -> np.ndarray:
    """The combined suspicion (B,) in [0, 1]; 0.5 for all where there is no signal.

    Args:
        columns: the signals.
        number: B.
    """
    families: dict[str, list[np.ndarray]] = {}
    for column in columns:
        families.setdefault(column.family, []).append(rank_shares(column.values))
    if not families:
        return np.full(number, 0.5)
    weights = [FAMILY_WEIGHTS.get(family, 1.0) for family in families]
    votes = [np.mean(ranks, 0) for ranks in families.values()]
    return np.average(votes, axis=0, weights=weights)


def ranking_area(suspicion: np.ndarray, wrong: np.ndarray) -> float:
    """Area under the ROC curve: how often a wrong box is more suspicious than a right one.

    Args:
        suspicion: (B,) values, NaN as the middle of the others.
        wrong: (B,) bool.

    Returns:
        In [0, 1], equal values count half; NaN where all boxes are right, or all wrong.
    """
    values = rank_shares(np.asarray(suspicion, dtype=np.float64))
    wrongs, rights = values[wrong], np.sort(values[~wrong])
    if not len(wrongs) or not len(rights):
        return float("nan")
    below = np.searchsorted(rights, wrongs, "left") + np.searchsorted(rights, wrongs, "right")
    return float(below.mean() / 2 / len(rights))
