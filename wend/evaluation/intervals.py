"""How sure a mean is: confidence intervals by formula; nothing is resampled.

The images of a test set are a sample of the images that there could be; a mean over classes takes
the images of each class as a sample of that class. A percentile bootstrap has no width where all
images hit: at 50 images of which 98 % hit in truth, its 95 % interval holds that in 62 % of the
cases. A score interval holds all means that agree with what was seen, so it does not collapse.

Shape letters: I = images, C = classes with an image; ... = any leading axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from wend.errors import InputError

WILSON, EFFECTIVE, SKEWED_T = "wilson", "wilson-effective-n", "t-skewness"
KINDS = {
    WILSON: "Wilson's score interval for hits over images",
    EFFECTIVE: "Wilson's score interval with an effective number of images for means over classes "
    "and of IoU and other numbers within bounds",
    SKEWED_T: "Student's t interval, corrected for skewness, for means without bounds",
}
FEW = 3.0  # hits or misses up to which the end beside them is Poisson's
UNSEEN = 2.0  # values at either bound that are counted into a variance, because they may be rare


@dataclass(frozen=True)
class Interval:
    """A confidence interval of a mean, in the unit of the values, and its kind (of ``KINDS``)."""

    low: float
    high: float
    kind: str

    def scaled(self, scale: float, mean: float) -> Interval:
        """The same in another unit; ``mean``, there, stays within it despite of rounding."""
        low, high = sorted((scale * self.low, scale * self.high))
        return Interval(min(low, mean), max(high, mean), self.kind)


def mean_interval(
    values: np.ndarray,
    class_ids: np.ndarray | None = None,
    *,
    bounds: tuple[float, float] | None = None,
    level: float = 0.95,
) -> Interval | None:
    """Confidence interval of a mean over images, or over classes of the class's mean.

    Hits over images have :func:`score_interval`. Other values within bounds, and means over
    classes, have the same with the number of images that plain hits would need to be as sure
    (:func:`effective_number`). Values without bounds have :func:`skewed_t_interval`.

    Args:
        values: (I,) hits (bool) or other finite numbers per image.
        class_ids: (I,) if the mean is that of the classes' means.
        bounds: the least and the largest value that an image can have; hits need none.
        level: the confidence, in (0, 1).

    Returns:
        The interval, which holds the mean and lies within the bounds. None where the values tell
        nothing of their spread: those without bounds are all equal.

    Raises:
        InputError: no image, NaN, a value out of bounds, lengths that differ, or a level out of
            range.
    """
    values = np.asarray(values)
    hits = values.dtype == bool
    bounds = (0.0, 1.0) if hits else bounds
    _check(values, class_ids, bounds, level)
    if hits and class_ids is None:
        low, high = score_interval(values.mean(), len(values), level)
        return Interval(float(low), float(high), WILSON)
    if bounds is None:
        return skewed_t_interval(values.astype(np.float64), class_ids, level)
    least, span = bounds[0], bounds[1] - bounds[0]
    counts, sums, squares = class_sums((values - least) / span, class_ids)
    low, high = score_interval(*effective_number(counts, sums, squares), level)
    return Interval(float(least + span * low), float(least + span * high), EFFECTIVE)


def score_interval(
    share: np.ndarray | float, number: np.ndarray | float, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's score interval (1927) of a share, modified where hits or misses are few.

    It holds all p with |share - p| <= z sqrt(p (1 - p) / number). Where up to three images miss (or
    hit), that is too short beside 1 (or 0): its upper end is raised to the Poisson bound of so few
    (Brown, Cai and DasGupta 2001, section 4.1.1). With it the coverage of 95 % is 0.926 or more for
    all p and numbers, and without it 0.838.

    Args:
        share: (...,) hits of all images, in [0, 1].
        number: (...,) images, > 0, not always whole.
        level: the confidence.

    Returns:
        Low and high (...,), in [0, 1].
    """
    share, number = np.broadcast_arrays(np.asarray(share, float), np.asarray(number, float))
    extra = NormalDist().inv_cdf((1 + level) / 2) ** 2 / number  # z² / n
    half = np.sqrt(extra * (share * (1 - share) + extra / 4))
    center = share + extra / 2
    low = (center - half) / (1 + extra)
    high = (center + half) / (1 + extra)
    low = np.minimum(low, _poisson_bound(share, number, level))
    high = np.maximum(high, 1 - _poisson_bound(1 - share, number, level))
    # exact at 0 and 1, but for rounding
    return np.clip(low, 0, share), np.clip(high, share, 1)


def _poisson_bound(share: np.ndarray, number: np.ndarray, level: float) -> np.ndarray:
    """The least share that is seen as often with probability 1 - level; 1 where it is not rare."""
    seen = share * number
    few = (seen > 1e-9) & (seen <= FEW + 1e-9)
    bound = np.ones(share.shape)
    if few.any():
        from scipy.special import gammaincinv  # takes 0.15 s to import, which most need not

        bound[few] = gammaincinv(seen[few], 1 - level) / number[few]
    return bound


def class_sums(
    values: np.ndarray, class_ids: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, sum of values and sum of their squares in each class, (C,); one class if None."""
    values = np.asarray(values, np.float64)
    if class_ids is None:
        return np.array([len(values)]), values.sum()[None], (values**2).sum()[None]
    index, counts = class_index(class_ids)
    return counts, np.bincount(index, values), np.bincount(index, values**2)


def class_index(class_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each image's class as an index (I,) from 0, and the images of each class (C,)."""
    class_ids = np.asarray(class_ids)
    plain = class_ids.dtype.kind in "iu" and len(class_ids) and class_ids.min() >= 0
    if plain and class_ids.max() <= 10 * len(class_ids):  # no need to sort them
        counts = np.bincount(class_ids)
        present = counts > 0
        return (np.cumsum(present) - 1)[class_ids], counts[present]
    _, index, counts = np.unique(class_ids, return_inverse=True, return_counts=True)
    return index, counts


def effective_number(
    counts: np.ndarray, sums: np.ndarray, squares: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A mean over classes of values in [0, 1], and how many hits would be as sure.

    The number is m (1 - m) / V with the mean m and its variance V, estimated within the classes
    (the design effect; Korn and Graubard 1998). Rare values may not have been seen: ``UNSEEN``
    values at 0 and as many at 1 are counted into V, as far as V does not exceed that of hits. They
    have an image's weight in the mean, averaged by what images contribute to V: in small classes
    an image weighs more. A class of one image counts with the variance of hits.

    Args:
        counts: (..., C) images of each class, >= 1.
        sums, squares: (..., C) sums of the values and of their squares.

    Returns:
        Mean and number (...,).
    """
    means = sums / counts
    mean = means.mean(-1)
    within = np.maximum(squares / counts - means**2, 0) * counts / np.maximum(counts - 1, 1)
    within = np.where(counts > 1, within, (mean * (1 - mean))[..., None])
    classes = counts.shape[-1]
    variance = (within / counts).sum(-1) / classes**2
    weight = (1 / counts**2).sum(-1) / (classes * (1 / counts).sum(-1))
    unseen = UNSEEN * weight**2 * (mean**2 + (1 - mean) ** 2)
    of_hits = weight * mean * (1 - mean)
    variance = np.maximum(variance, np.minimum(variance + unseen, of_hits))
    spread = variance > 0
    number = np.divide(mean * (1 - mean), variance, where=spread, out=np.ones_like(variance))
    return mean, np.where(spread & (mean * (1 - mean) > 0), number, 1 / weight)


def skewed_t_interval(
    values: np.ndarray, class_ids: np.ndarray | None, level: float
) -> Interval | None:
    """Student's t interval of a mean, its ends moved for skewness (Hall 1992, the cubic transform).

    Args, return value and errors as of :func:`mean_interval`. A class of one image counts with its
    deviation from the mean.
    """
    values = np.asarray(values, np.float64)
    index, counts = class_index(np.zeros(len(values), np.intp) if class_ids is None else class_ids)
    means = np.bincount(index, values) / counts
    mean, classes = float(means.mean()), len(counts)
    deviations = values - np.where(counts > 1, means, mean)[index]
    freedom = len(values) - (classes if (counts > 1).all() else 1)
    # of each image in the mean, and what its deviation from a mean that it is part of lacks
    weight = 1 / (classes * counts[index])
    lacks = counts[index] / np.maximum(counts[index] - 1, 1)
    error = float(np.sqrt((weight**2 * lacks * deviations**2).sum()))
    if freedom < 1 or error <= 1e-12 * np.abs(values).max():
        return None
    skewness = float((weight**3 * deviations**3).sum()) / error**3  # of the mean
    from scipy.special import stdtrit

    ends = np.array([1, -1]) * stdtrit(freedom, (1 + level) / 2)
    if abs(skewness) > 1e-9:
        ends = 3 / skewness * (np.cbrt(1 + skewness * (ends - skewness / 6)) - 1)
    low, high = (mean - error * ends).tolist()
    return Interval(min(low, mean), max(high, mean), SKEWED_T)


def _check(
    values: np.ndarray,
    class_ids: np.ndarray | None,
    bounds: tuple[float, float] | None,
    level: float,
) -> None:
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise InputError(
            f"interval: expected finite values (I,) of at least one image, got shape {values.shape}"
            + (" with NaN or infinity" if values.size and values.ndim == 1 else "")
        )
    if class_ids is not None and np.shape(class_ids) != values.shape:
        raise InputError(
            f"interval: {len(values)} images but class ids of shape {np.shape(class_ids)}"
        )
    if bounds is not None and not (bounds[0] <= values.min() and values.max() <= bounds[1]):
        raise InputError(
            f"interval: expected values within {bounds}, got {values.min()} to {values.max()}"
        )
    check_level(level)


def check_level(level: float) -> None:
    """Raise InputError unless a confidence is in (0, 1)."""
    if not 0 < level < 1:
        raise InputError(
            f"level of the intervals: expected a number in (0, 1), such as 0.95, got {level}"
        )
