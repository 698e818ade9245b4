"""How many of all boxes are right, from the answers about a stratified random sample of them.

The estimate is the strata's shares of right boxes, weighted by the strata's sizes: unbiased for any
suspicion, good or bad, because only chance decides which boxes of a stratum are asked about. Its
interval is Wilson's score interval (:func:`wend.evaluation.intervals.score_interval`) with the
number of boxes that would be as sure if drawn from endlessly many: smaller variance within strata
than in all, and the finite number of boxes, make it larger than the number of answers. Student's t
stands for the normal quantile, since the variance is estimated. Where up to :data:`FEW` boxes were
wrong (or right), it is joined with an exact interval of so few. Asking about every box leaves no
doubt.

Shape letters: H = strata.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from wend.errors import InputError
from wend.evaluation.intervals import check_level, score_interval

FEW = 5  # wrong boxes, or right ones
UNSEEN = 2.0  # boxes that are counted into a stratum's variance, right as often as all are


@dataclass(frozen=True)
class Estimate:
    """The accuracy of all boxes, in [0, 1], and its interval.

    Attributes:
        value: share of all boxes that are right.
        low, high: ends of the interval.
        level: its confidence.
        number: answers drawn from endlessly many boxes that would be as sure; infinite where every
            box was asked about.
    """

    value: float
    low: float
    high: float
    level: float
    number: float


@dataclass(frozen=True, eq=False)
class Counts:
    """Answers by stratum.

    Attributes:
        sizes: (H,) boxes of each stratum, >= 1.
        answered: (H,) of them answered right or wrong.
        right: (H,) of these right.
    """

    sizes: np.ndarray
    answered: np.ndarray
    right: np.ndarray

    def __post_init__(self) -> None:
        columns = np.stack([self.right, self.answered, self.sizes])
        if (np.diff(columns, axis=0) < 0).any() or (columns < 0).any() or not columns.size:
            raise InputError(
                f"strata: expected 0 <= right <= answered <= sizes, got {columns.tolist()}"
            )

    def merged(self) -> Counts:
        """Strata without an answer joined to the one above, or else below; the same if none is so.

        Raises:
            InputError: there is no answer at all.
        """
        if not self.answered.any():
            raise InputError("no box of the sample is answered right or wrong")
        groups = np.maximum(np.cumsum(self.answered > 0) - 1, 0)
        sums = [np.bincount(groups, column) for column in (self.sizes, self.answered, self.right)]
        return Counts(*(column.astype(np.int64) for column in sums))


def estimate(counts: Counts, level: float = 0.95) -> Estimate:
    """The accuracy of all boxes of the strata.

    Strata without an answer are joined to a neighbour, which is unbiased only if both are right as
    often; the caller says so.

    Raises:
        InputError: no answer, or a level out of range.
    """
    check_level(level)
    counts = counts.merged()
    value, number = _as_sure(counts)
    right, answered = int(counts.right.sum()), int(counts.answered.sum())
    total = int(counts.sizes.sum())
    if math.isinf(number):
        return Estimate(value, value, value, level, number)
    low, high = _interval(value, number, right, answered, total, level)
    return Estimate(value, min(low, value), max(high, value), level, number)


def _interval(
    value: float, number: float, right: int, answered: int, total: int, level: float
) -> tuple[float, float]:
    """Low and high of a share that is as sure as ``number`` hits of endlessly many boxes."""
    low, high = (float(end) for end in score_interval(value, number, _with_t(level, answered)))
    if answered - right <= FEW:
        least, most = few_of(answered - right, answered, total, level)
        low, high = min(low, 1 - most / total), max(high, 1 - least / total)
    if right <= FEW:
        least, most = few_of(right, answered, total, level)
        low, high = min(low, least / total), max(high, most / total)
    # what was seen is no estimate
    return max(low, right / total), min(high, 1 - (answered - right) / total)


def _with_t(level: float, answered: int) -> float:
    """The level at which the normal quantile is Student's t of some answers at ``level``."""
    from scipy.special import stdtrit  # takes 0.15 s to import

    quantile = float(stdtrit(max(answered - 1, 1), (1 + level) / 2))
    return min(2 * NormalDist().cdf(quantile) - 1, 1 - 1e-12)


def few_of(seen: int, answered: int, total: int, level: float) -> tuple[int, int]:
    """The least and the most that there may be of a kind of boxes of which few were seen.

    That many would be seen as often, or as rarely, with probability 1 - level at least, if the
    answered boxes were drawn from all (hypergeometric).

    Args:
        seen: boxes of the kind among those answered.
        answered: of ``total`` boxes.
    """
    chance = 1 - level

    def few_enough(number: int) -> bool:
        return _at_most(seen, number, answered, total) >= chance

    def many_enough(number: int) -> bool:
        return 1 - _at_most(seen - 1, number, answered, total) >= chance

    everything = range(seen, total - (answered - seen) + 1)
    least = bisect_left(everything, True, key=many_enough)
    most = bisect_left(everything, True, key=lambda number: not few_enough(number)) - 1
    return everything[min(least, len(everything) - 1)], everything[max(most, 0)]


def _at_most(seen: int, number: int, answered: int, total: int) -> float:
    """Probability that at most ``seen`` of ``number`` boxes of a kind are among those answered."""
    first = max(0, answered - (total - number))
    every = _log_choose(total, answered)
    return sum(
        math.exp(_log_choose(number, i) + _log_choose(total - number, answered - i) - every)
        for i in range(first, min(seen, number, answered) + 1)
    )


def _log_choose(number: int, chosen: int) -> float:
    return math.lgamma(number + 1) - math.lgamma(chosen + 1) - math.lgamma(number - chosen + 1)


def _as_sure(counts: Counts) -> tuple[float, float]:
    """The estimate, and the number of answers of endlessly many boxes that are as sure."""
    weights = counts.sizes / counts.sizes.sum()
    value = float((weights * counts.right / counts.answered).sum())
    lacking = _lacking(counts.sizes, counts.answered)
    plain = float((weights**2 * lacking / counts.answered).sum())
    if plain == 0:
        return value, math.inf
    variance = float((weights**2 * lacking * spreads(counts) / counts.answered).sum())
    of_hits = value * (1 - value)
    return value, of_hits / variance if of_hits > 0 and variance > 0 else 1 / plain


def _lacking(sizes: np.ndarray, answered: np.ndarray) -> np.ndarray:
    """The finite population correction (H,): 1 for few of many, 0 where all are answered."""
    return (sizes - answered) / np.maximum(sizes - 1, 1)


def spreads(counts: Counts) -> np.ndarray:
    """Variance (H,) of a box's being right within each stratum.

    A stratum whose answers are all alike has not shown that it has no other boxes:
    :data:`UNSEEN` more boxes, right as often as all, are counted into each.
    """
    weights = counts.sizes / counts.sizes.sum()
    value = float((weights * counts.right / counts.answered).sum())
    shares = (counts.right + UNSEEN * value) / (counts.answered + UNSEEN)
    return shares * (1 - shares)


def number_for_width(counts: Counts, width: float, level: float = 0.95) -> int:
    """How many boxes of all to look at for an interval of a width, were the accuracy as estimated.

    The same share of each stratum is looked at, and is right as often as the boxes answered so far.

    Args:
        width: from low to high, in (0, 1).

    Returns:
        At most the number of all boxes.
    """
    counts = counts.merged()
    weights = counts.sizes / counts.sizes.sum()
    total = int(counts.sizes.sum())
    value = float((weights * counts.right / counts.answered).sum())
    variances = spreads(counts)

    def is_enough(number: int) -> bool:
        if number == total:
            return True
        share = number / total  # of each stratum
        lacking = counts.sizes * (1 - share) / np.maximum(counts.sizes - 1, 1)
        variance = float((weights * lacking * variances).sum()) / number
        of_hits = value * (1 - value)
        as_sure = of_hits / variance if variance and of_hits else number / (weights @ lacking)
        low, high = _interval(value, as_sure, round(value * number), number, total, level)
        return high - low <= width

    return bisect_left(range(1, total), True, key=is_enough) + 1


@dataclass(frozen=True)
class Bounds:
    """The estimates if all unsure boxes were wrong, and if all were right."""

    wrong: Estimate
    right: Estimate


def bounds(counts: Counts, unsure: np.ndarray, level: float = 0.95) -> Bounds:
    """Estimates with the unsure boxes (H,) of each stratum as wrong, and as right."""
    answered = counts.answered + unsure
    return Bounds(
        estimate(Counts(counts.sizes, answered, counts.right), level),
        estimate(Counts(counts.sizes, answered, counts.right + unsure), level),
    )
