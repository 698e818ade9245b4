"""Is one method better than another on the same images: paired tests by formula.

Images are the unit, because they are what a test set samples; boxes of one image are not
independent. Seeds are a second one: all seeds of all methods see the same images, so what makes an
image hard for all of them cancels, and what differs from training to training does not.

Shape letters: I = images, C = classes with an image, S = seeds of a method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from wend.errors import InputError
from wend.evaluation.intervals import check_level, class_index


@dataclass(frozen=True)
class PairedDifference:
    """How much better ``a`` is than ``b`` on the same images.

    Attributes:
        difference: mean of ``a`` less mean of ``b``, in the unit of the values.
        low, high: its confidence interval; None where the values tell nothing of their spread. It
            is of other images, and of other seeds too where both methods have several.
        p_images: two-sided, of "no difference between these very models on all images"; None for a
            number that is no average over images.
        p_seeds: two-sided, of "no difference between the two ways of training, on all images";
            None unless both have several seeds.
    """

    difference: float
    low: float | None
    high: float | None
    p_images: float | None
    p_seeds: float | None

    @property
    def p_value(self) -> float | None:
        """That of the wider claim: over seeds where both methods have several, else over images."""
        return self.p_images if self.p_seeds is None else self.p_seeds


@dataclass(frozen=True)
class McNemar:
    """McNemar's test of two hit vectors.

    Attributes:
        only_a, only_b: images that only ``a``, only ``b`` hits.
        p_value: exact, two-sided, of the hypothesis "both hit equally often".
        mid_p: the same with half of the probability of what was seen. The exact test rejects less
            often than its level says, at few images by far; this one keeps it closely.
    """

    only_a: int
    only_b: int
    p_value: float
    mid_p: float


def mean(values: np.ndarray, class_ids: np.ndarray | None) -> float:
    """Mean of values (I,) over images or, with class ids (I,), over classes of the class's mean."""
    if class_ids is None:
        return float(values.mean())
    index, counts = class_index(class_ids)
    return float((np.bincount(index, values) / counts).mean())


def paired_difference(
    a: np.ndarray,
    b: np.ndarray,
    class_ids: np.ndarray | None = None,
    *,
    bounds: tuple[float, float] | None = None,
    level: float = 0.95,
) -> PairedDifference:
    """Difference of two means on the same images, its interval and tests.

    Over images, the variance is that of the images' differences, each averaged over the seeds, and
    within classes where the mean is one of classes. With bounds it is that of Agresti and Min
    (2005): two more images are counted, half of one won, half of one lost and one tied, so that
    interval and test keep their level at few images and do not collapse where all images agree.

    Over seeds, the variance of the seeds' means is added, less the part that the images'
    differences hold already, and Student's t with the degrees of freedom of Welch and Satterthwaite
    is taken.

    Args:
        a, b: (S, I) or (I,) values, of as many seeds as there are, images in the same order.
        class_ids: (I,) for means over classes of the class's mean.
        bounds: the least and the largest value of an image; booleans need none.
        level: the confidence of the interval.

    Raises:
        InputError: other images, no image, NaN, values out of bounds, or a level out of (0, 1).
    """
    check_level(level)
    hits = np.asarray(a).dtype == np.asarray(b).dtype == bool
    a, b = _runs(a, b)
    span = 1.0 if hits else 0.0 if bounds is None else bounds[1] - bounds[0]
    weights, freedom = _weights(a.shape[1], class_ids)
    values = a.mean(0) - b.mean(0)
    difference = mean(values, class_ids)
    rounding = 1e-12 * max(np.abs(a).max(), np.abs(b).max(), 1e-300)
    if abs(difference) <= rounding:  # sums over classes leave rounding errors
        difference = 0.0
    extra = float((weights**2).sum())  # an image's weight, on average
    seen = _variance(values, class_ids, weights)
    center = difference / (1 + 2 * extra) if span else difference
    of_images = seen
    if span:
        unseen = extra**2 * (span**2 + 2 * difference**2)
        of_images = (seen + unseen) / (1 + 2 * extra) ** 2
        freedom = np.inf
    p_images = _p_value(center, of_images, freedom, rounding)
    p_seeds, variance = None, of_images
    if len(a) > 1 and len(b) > 1:
        means = [np.array([mean(run, class_ids) for run in runs]) for runs in (a, b)]
        each = [float(m.var(ddof=1)) / len(m) for m in means]
        shared = sum(float((weights**2 * runs.var(0, ddof=1)).sum()) / len(runs) for runs in (a, b))
        variance = of_images + max(0.0, sum(each) - shared)
        uncertain = sum(v**2 / (len(m) - 1) for v, m in zip(each, means, strict=True))
        if np.isfinite(freedom):
            uncertain += of_images**2 / max(freedom, 1e-300)
        freedom = variance**2 / uncertain if uncertain > 0 else np.inf
        p_seeds = _p_value(center, variance, freedom, rounding)
    low = high = None
    if variance > rounding**2 and freedom > 0:
        half = _quantile(freedom, level) * variance**0.5
        low, high = min(center - half, difference), max(center + half, difference)
        if span:
            low, high = max(low, -span), min(high, span)
    return PairedDifference(difference, low, high, p_images, p_seeds)


def seed_difference(
    a: Sequence[float], b: Sequence[float], level: float = 0.95
) -> PairedDifference:
    """Welch's t test of numbers that are no averages over images: seeds alone are the sample.

    Args:
        a, b: (S,) a number for each seed.
    """
    check_level(level)
    runs = [np.asarray(values, np.float64) for values in (a, b)]
    difference = float(runs[0].mean() - runs[1].mean())
    nothing = PairedDifference(difference, None, None, None, None)
    if min(map(len, runs)) < 2:
        return nothing
    each = np.array([values.var(ddof=1) / len(values) for values in runs])
    variance = float(each.sum())
    rounding = 1e-12 * max(np.abs(runs[0]).max(), np.abs(runs[1]).max(), 1e-300)
    if variance <= rounding**2:
        return nothing
    freedom = float(variance**2 / (each**2 / [len(values) - 1 for values in runs]).sum())
    half = _quantile(freedom, level) * variance**0.5
    p_value = _p_value(difference, variance, freedom, rounding)
    return PairedDifference(difference, difference - half, difference + half, None, p_value)


def _runs(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = (np.atleast_2d(np.asarray(values, np.float64)) for values in (a, b))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise InputError(
            f"paired difference: expected values of the same images, (seeds, images); got "
            f"{a.shape} and {b.shape}"
        )
    if not a.size or not b.size or not np.isfinite(a).all() or not np.isfinite(b).all():
        raise InputError("paired difference: expected finite values of at least one image")
    return a, b


def _weights(images: int, class_ids: np.ndarray | None) -> tuple[np.ndarray, float]:
    """Each image's weight (I,) in the mean, and the degrees of freedom of its variance."""
    if class_ids is None:
        return np.full(images, 1 / images), images - 1
    if np.shape(class_ids) != (images,):
        raise InputError(
            f"paired difference: {images} images but class ids of shape {np.shape(class_ids)}"
        )
    index, counts = class_index(class_ids)
    freedom = images - (len(counts) if (counts > 1).all() else 1)
    return 1 / (len(counts) * counts[index]), freedom


def _variance(values: np.ndarray, class_ids: np.ndarray | None, weights: np.ndarray) -> float:
    """Variance of the mean of values (I,), estimated within the classes.

    A class of one image counts with its deviation from the mean of all.
    """
    if class_ids is None:
        class_ids = np.zeros(len(values), np.intp)
    index, counts = class_index(class_ids)
    means = np.bincount(index, values) / counts
    deviations = values - np.where(counts > 1, means, means.mean())[index]
    lacks = (counts / np.maximum(counts - 1, 1))[index]
    return float((weights**2 * lacks * deviations**2).sum())


def _p_value(center: float, variance: float, freedom: float, rounding: float) -> float:
    """Two-sided, of a mean of zero; 1 where nothing differs."""
    if center == 0 or freedom <= 0:
        return 1.0
    if variance <= rounding**2:  # all images differ by the same
        return 0.0
    score = abs(center) / variance**0.5
    if np.isinf(freedom):
        from scipy.special import ndtr

        return float(2 * ndtr(-score))
    from scipy.special import stdtr

    return float(2 * stdtr(freedom, -score))


def _quantile(freedom: float, level: float) -> float:
    """The two-sided quantile of Student's t, or of the normal distribution."""
    if np.isinf(freedom):
        return NormalDist().inv_cdf((1 + level) / 2)
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + level) / 2))


def mcnemar(a: np.ndarray, b: np.ndarray) -> McNemar:
    """McNemar's test, exact and mid-p: of the images that only one hits, is it one's too often?

    Given n images that exactly one of them hits, ``only_a`` is Binomial(n, 1/2) if both are equally
    good; the p value is twice the smaller tail, at most 1, and mid-p (Lancaster 1961) counts what
    was seen by half. It is always the exact distribution: the chi-square approximation saves
    nothing here and is wrong for few images. 1 where n = 0; a value below the smallest normal float
    (2e-308) may be 0.

    Args:
        a, b: (I,) hits (bool or 0/1) of the same images in the same order.

    Raises:
        InputError: ``a`` and ``b`` are not of the same shape (I,), or hold other values than 0
            and 1.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise InputError(
            f"McNemar's test: expected values of the same images, both of shape (I,); got "
            f"{a.shape} and {b.shape}"
        )
    if not (np.isin(a, (0, 1)).all() and np.isin(b, (0, 1)).all()):
        raise InputError("McNemar's test: expected hits, 0 or 1 for each image")
    only_a, only_b = int((a > b).sum()), int((b > a).sum())
    if only_a == only_b:
        return McNemar(only_a, only_b, 1.0, 1.0)
    from scipy.stats import binom, binomtest  # take 0.6 s to import, which only comparisons need

    n, fewer = only_a + only_b, min(only_a, only_b)
    exact = float(binomtest(fewer, n).pvalue)
    return McNemar(only_a, only_b, exact, max(0.0, exact - float(binom.pmf(fewer, n, 0.5))))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction (1979) of a family of p values, in their order, each at most 1.

    A corrected value below a level rejects; the chance of any wrong rejection in the family is at
    most that level, however the tests depend on each other.
    """
    order = np.argsort(p_values, kind="stable")
    corrected, least = [0.0] * len(order), 0.0
    for rank, i in enumerate(order.tolist()):
        least = max(least, min(1.0, (len(order) - rank) * float(p_values[i])))
        corrected[i] = least
    return corrected
