"""How sure a number is: bootstrap intervals over images, and tests of two detectors on the same.

Images are the unit that is resampled, because they are what a test set samples; boxes of one image
are not independent. Everything is seeded: the same input gives the same interval on every run, and
the interval of one metric does not depend on which others are computed beside it.

Shape letters: I = images, M = metrics, C = classes with an image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from wend.errors import InputError


@dataclass(frozen=True)
class PairedDifference:
    """How much better ``a`` is than ``b`` on the same images.

    Attributes:
        difference: mean of ``a`` less mean of ``b``, in the unit of the values.
        low, high: percentile interval of the difference.
        p_value: two-sided, of the hypothesis "no difference"; never below ``2 / (rounds + 1)``.
    """

    difference: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class McNemar:
    """McNemar's test of two hit vectors.

    Attributes:
        only_a, only_b: images that only ``a``, only ``b`` hits.
        p_value: exact, two-sided, of the hypothesis "both hit equally often".
    """

    only_a: int
    only_b: int
    p_value: float


def _check(values: np.ndarray, class_ids: np.ndarray | None, rounds: int, level: float) -> None:
    if not values.size or not np.isfinite(values).all():
        raise InputError(
            f"bootstrap: expected finite values of at least one image, got shape {values.shape}"
            + (" with NaN or infinity" if values.size else "")
        )
    if class_ids is not None and np.shape(class_ids) != values.shape[1:]:
        raise InputError(
            f"bootstrap: {values.shape[1]} images but class ids of shape {np.shape(class_ids)}"
        )
    if rounds < 1 or not 0 < level < 1:
        raise InputError(
            f"bootstrap: expected rounds >= 1 and level in (0, 1), got {rounds} and {level}"
        )


def _resampled_weights(num_images: int, rounds: int, seed: int) -> Iterator[np.ndarray]:
    """How often each image is drawn, (I,) floats that sum to I; one array per round."""
    rng = np.random.default_rng(seed)
    for _ in range(rounds):
        drawn = rng.integers(num_images, size=num_images)
        yield np.bincount(drawn, minlength=num_images).astype(np.float64)


def _resampled_means(
    values: np.ndarray, class_ids: np.ndarray | None, rounds: int, seed: int
) -> np.ndarray:
    """Means (M, rounds) of resampled images, or means of class means.

    One round at a time: two vectors of I and one product live at once, whatever ``rounds``.
    """
    means = np.empty((len(values), rounds))
    if class_ids is not None:  # classes side by side, so that a class is one slice
        order = np.argsort(class_ids, kind="stable")
        starts = np.unique(np.asarray(class_ids)[order], return_index=True)[1]
        values = np.ascontiguousarray(values[:, order])
    for i, weights in enumerate(_resampled_weights(values.shape[1], rounds, seed)):
        if class_ids is None:
            means[:, i] = values @ weights / values.shape[1]
            continue
        weights = weights[order]  # the same images as without classes
        drawn = np.add.reduceat(weights, starts)  # (C,) images of each class
        sums = np.add.reduceat(values * weights, starts, axis=1)  # (M, C)
        means[:, i] = (sums[:, drawn > 0] / drawn[drawn > 0]).mean(1)
    return means


def bootstrap_interval(
    values: np.ndarray,
    class_ids: np.ndarray | None = None,
    *,
    rounds: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> np.ndarray:
    """Percentile interval of metrics that are means over images (Efron 1979).

    Args:
        values: (M, I) hits (0/1, bool) or other numbers per image.
        class_ids: (I,) if the metric is the mean over classes of the class's mean. Images are
            resampled, not classes; a class that a resample misses does not count in it, as a class
            without images does not count in the metric.
        rounds: resamples. With 1000, an end of a 95 % interval is itself uncertain by about 4 % of
            the interval's width.
        level: share of the resamples that the interval holds.
        seed: the seed of NumPy's ``default_rng``.

    Returns:
        (M, 2), low and high, in the unit of ``values``.

    Raises:
        InputError: there is no image, a value is NaN, lengths differ, or ``rounds`` or ``level`` is
            out of range.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2:
        raise InputError(f"bootstrap: expected values of shape (M, I), got {values.shape}")
    _check(values, class_ids, rounds, level)
    means = _resampled_means(values, class_ids, rounds, seed)
    return np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=1).T


def _pair(a: np.ndarray, b: np.ndarray, test: str) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise InputError(
            f"{test}: expected values of the same images, both of shape (I,); got {a.shape} and "
            f"{b.shape}"
        )
    return a, b


def mean(values: np.ndarray, class_ids: np.ndarray | None) -> float:
    """Mean of values (I,) over images or, with class ids (I,), over classes of the class's mean."""
    if class_ids is None:
        return float(values.mean())
    index = np.unique(class_ids, return_inverse=True)[1]
    return float((np.bincount(index, values) / np.bincount(index)).mean())


def paired_bootstrap(
    a: np.ndarray,
    b: np.ndarray,
    class_ids: np.ndarray | None = None,
    *,
    rounds: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> PairedDifference:
    """Bootstrap of the difference of two metrics on the same images.

    Each resample draws images with both their values, so what makes an image hard for both cancels.
    The p value inverts the interval: twice the smaller share of resamples on one side of zero, each
    share as ``(1 + count) / (1 + rounds)`` (Davison and Hinkley 1997, 4.2), at most 1.

    Args:
        a, b: (I,) values per image, in the same order.
        class_ids: (I,) for means over classes, as in :func:`bootstrap_interval`.
        rounds, level, seed: as for :func:`bootstrap_interval`.

    Raises:
        InputError: ``a`` and ``b`` are not of the same shape (I,), or as for
            :func:`bootstrap_interval`.
    """
    a, b = _pair(a, b, "paired bootstrap")
    values = (a - b)[None]  # a mean is linear: the difference of means is the differences' mean
    _check(values, class_ids, rounds, level)
    means = _resampled_means(values, class_ids, rounds, seed)[0]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    # Sums of 0/1 over classes leave rounding errors where the difference is exactly zero.
    tiny = 1e-12 * max(1.0, np.abs(values).max())
    fewer = min((means <= tiny).sum(), (means >= -tiny).sum())
    p_value = min(1.0, 2 * (1 + int(fewer)) / (1 + rounds))
    return PairedDifference(mean(values[0], class_ids), float(low), float(high), p_value)


def mcnemar(a: np.ndarray, b: np.ndarray) -> McNemar:
    """McNemar's exact test: of the images that only one hits, is it one detector's too often?

    Given n images that exactly one of them hits, ``only_a`` is Binomial(n, 1/2) if both are equally
    good; the p value is twice the smaller tail, at most 1. It is always the exact one, at any n:
    the chi-square approximation saves nothing here and is wrong for few images. 1 where n = 0; a
    value below the smallest normal float (2e-308) may be 0.

    Args:
        a, b: (I,) hits (bool or 0/1) of the same images in the same order.

    Raises:
        InputError: ``a`` and ``b`` are not of the same shape (I,), or hold other values than 0
            and 1.
    """
    a, b = _pair(a, b, "McNemar's test")
    if not (np.isin(a, (0, 1)).all() and np.isin(b, (0, 1)).all()):
        raise InputError("McNemar's test: expected hits, 0 or 1 for each image")
    only_a, only_b = int((a > b).sum()), int((b > a).sum())
    if not only_a + only_b:
        return McNemar(0, 0, 1.0)
    from scipy.stats import binomtest  # takes 0.6 s to import, which only comparisons need

    return McNemar(only_a, only_b, float(binomtest(only_a, only_a + only_b).pvalue))
