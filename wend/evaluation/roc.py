"""How well a number tells right boxes from wrong ones.

Shape letters: N = boxes or images.
"""

from __future__ import annotations

import numpy as np


def mid_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks (N,) of values from 1, equal ones sharing the mean of theirs."""
    order = np.sort(values)
    below = np.searchsorted(order, values, side="left")
    not_above = np.searchsorted(order, values, side="right")
    return (below + not_above + 1) / 2


def area_under_roc(values: np.ndarray, right: np.ndarray) -> float | None:
    """The chance that a right one has the larger value than a wrong one; of equals one half.

    That is the area under the ROC curve (Mann and Whitney's U over the number of pairs): 1 where
    the values tell all, 0.5 where they tell nothing.

    Args:
        values: (N,) finite numbers.
        right: (N,) bool.

    Returns:
        None where all are right or all are wrong.

    Example:
        >>> area_under_roc(np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, True, False, True]))
        0.875
    """
    right = np.asarray(right, dtype=bool)
    number, others = int(right.sum()), int((~right).sum())
    if not number or not others:
        return None
    above = mid_ranks(np.asarray(values))[right].sum() - number * (number + 1) / 2
    return float(above / (number * others))


def groups_of_equal_size(values: np.ndarray, groups: int = 10) -> np.ndarray:
    """The group (N,) of each value, 0 for the smallest; equal values are of one group.

    Groups are as equal in size as that lets them be; some may be empty.
    """
    if not len(values):
        return np.zeros(0, dtype=np.int64)
    share = (mid_ranks(np.asarray(values)) - 0.5) / len(values)
    return np.minimum((share * groups).astype(np.int64), groups - 1)
