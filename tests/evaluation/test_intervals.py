"""wend.evaluation.intervals against published values, SciPy, identities and simulated test sets."""

import math

import numpy as np
import pytest
from scipy import stats
from simulated_classes import class_accuracies, class_sizes

from wend.errors import InputError
from wend.evaluation.intervals import (
    EFFECTIVE,
    SKEWED_T,
    WILSON,
    class_index,
    class_sums,
    effective_number,
    mean_interval,
    score_interval,
)


def hits(n, ones):
    return np.arange(n) < ones


@pytest.mark.parametrize(("ones", "n"), [(25, 50), (45, 50), (200, 243), (0, 17), (5700, 5794)])
def test_hits_have_wilsons_interval(ones, n):
    # SciPy's, where hits and misses are none or more than three
    interval = mean_interval(hits(n, ones))
    theirs = stats.binomtest(ones, n).proportion_ci(method="wilson")
    assert (interval.low, interval.high) == pytest.approx((theirs.low, theirs.high), rel=1e-12)
    assert interval.kind == WILSON


def test_few_misses_have_poissons_upper_end():
    # Brown, Cai and DasGupta 2001: 1 - lambda / n, P(Poisson(lambda) >= misses) = 0.05; for one
    # miss lambda = -log(0.95). The other end stays Wilson's.
    interval = mean_interval(hits(50, 49))
    assert interval.high == pytest.approx(1 + math.log(0.95) / 50, rel=1e-12)
    theirs = stats.binomtest(49, 50).proportion_ci(method="wilson")
    assert interval.low == pytest.approx(theirs.low, rel=1e-12)
    for misses in (1, 2, 3):
        bound = 50 * (1 - mean_interval(hits(50, 50 - misses)).high)
        assert stats.poisson.sf(misses - 1, bound) == pytest.approx(0.05, rel=1e-9)
        mirrored = mean_interval(hits(50, misses))
        other = mean_interval(hits(50, 50 - misses))
        assert mirrored.low == pytest.approx(1 - other.high, abs=1e-15)
        assert mirrored.high == pytest.approx(1 - other.low, abs=1e-15)


def exact_coverage(n, p, level=0.95):
    """P(the interval of n images holds p), summed over all numbers of hits."""
    low, high = score_interval(np.arange(n + 1) / n, n, level)
    return stats.binom.pmf(np.arange(n + 1), n, p)[(low <= p) & (p <= high)].sum()


@pytest.mark.parametrize("n", [50, 243, 5794])
@pytest.mark.parametrize("p", [0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995])
def test_hits_are_covered(n, p):
    assert exact_coverage(n, p) >= 0.93
    assert exact_coverage(n, 1 - p) >= 0.93


def test_nothing_collapses_at_the_bounds_and_all_hold_the_mean():
    ids = np.arange(60) % 7
    for classes in (None, ids):
        for ones in (0, 60):
            interval = mean_interval(hits(60, ones), classes)
            assert interval.high - interval.low > 0.03
            numbers = mean_interval(hits(60, ones) * 1.0, classes, bounds=(0, 1))
            assert (numbers.low, numbers.high) == pytest.approx((interval.low, interval.high))
    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 10, 50, 300):
        for p in (0.02, 0.5, 0.9, 0.99):
            values, ids = rng.random(n) < p, rng.integers(0, 9, n)
            for classes in (None, ids):
                for numbers in (values, values * rng.random(n), np.round(values * 0.9, 1)):
                    bounds = None if numbers.dtype == bool else (0, 1)
                    interval = mean_interval(numbers, classes, bounds=bounds)
                    mean, _ = effective_number(*class_sums(numbers, classes))
                    assert 0 <= interval.low <= mean <= interval.high <= 1
                    assert interval.low < interval.high


def test_the_effective_number_by_hand():
    # two classes of two images each, hits 2/2 and 1/2: mean 3/4; unbiased variances 0 and 1/2, so
    # V = (0 / 2 + 1/2 / 2) / 4 = 1/16. An image's weight is (1/2 + 1/2) / 4 = 1/4; unseen
    # 2 (1/4)^2 (9/16 + 1/16) = 5/64 would make 9/64, but hits have 1/4 * 3/16 = 3/64 at most, and
    # V is more than that already: 3/16 / (1/16) = 3
    mean, number = effective_number(np.array([2, 2]), np.array([2, 1]), np.array([2, 1]))
    assert (mean, number) == (0.75, pytest.approx(3))
    # one class, 0.4 and 0.6: mean 1/2, s^2 = 0.02, V = 0.01; unseen 2/4 (1/4 + 1/4) = 1/4 is
    # cut at hits' variance 1/2 * 1/4 = 1/8: as many hits as images
    mean, number = effective_number(np.array([2]), np.array([1.0]), np.array([0.52]))
    assert (mean, number) == (0.5, pytest.approx(2))
    # 400 such pairs: s^2 = 0.01 * 800/799, V = s^2 / 800, unseen (2 / 800^2) / 2
    mean, number = effective_number(np.array([800]), np.array([400.0]), np.array([208.0]))
    assert number == pytest.approx(0.25 / (0.01 / 799 + 1 / 800**2), rel=1e-12)


def test_classes_of_any_numbers_are_the_same_classes():
    rng = np.random.default_rng(3)
    ids, values = rng.integers(0, 9, 200) * 3, rng.random(200) < 0.7
    theirs = np.unique(ids, return_inverse=True, return_counts=True)[1:]
    for renamed in (ids, ids.astype(np.uint8), 10**9 + ids, -ids, ids + 0.5, ids.astype(str)):
        index, counts = class_index(renamed)
        np.testing.assert_array_equal(counts[index], theirs[1][theirs[0]])
        interval = mean_interval(values, renamed)
        expected = mean_interval(values, ids)
        assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_classes_that_differ_are_surer_than_hits_of_images():
    # half of 20 classes always hit, half never: nothing but what was not seen is uncertain
    values, ids = np.repeat(np.arange(20) % 2, 30) == 1, np.repeat(np.arange(20), 30)
    of_classes, of_images = mean_interval(values, ids), mean_interval(values)
    assert of_classes.kind == EFFECTIVE
    assert of_classes.high - of_classes.low < 0.1 * (of_images.high - of_images.low)
    # where they do not differ it is as wide
    values = np.tile(np.arange(30) < 21, 20)
    of_classes, of_images = mean_interval(values, ids), mean_interval(values)
    assert of_classes.high - of_classes.low == pytest.approx(
        of_images.high - of_images.low, rel=0.02
    )


def test_numbers_without_bounds_have_students_interval():
    # symmetric values: no skewness, SciPy's t interval
    values = np.concatenate([np.arange(-20, 21), [-60, 60]]) + 7.0
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    interval = mean_interval(values, level=0.9)
    assert (interval.low, interval.high) == pytest.approx((theirs.low, theirs.high), rel=1e-12)
    assert interval.kind == SKEWED_T
    # skewed to the right: the upper end is farther away
    values = np.random.default_rng(0).exponential(size=50)
    interval = mean_interval(values)
    assert interval.high - values.mean() > 1.2 * (values.mean() - interval.low)
    scaled = mean_interval(3 - 100 * values)
    assert (scaled.low, scaled.high) == pytest.approx(
        (3 - 100 * interval.high, 3 - 100 * interval.low), rel=1e-9
    )
    one_class = mean_interval(values, np.full(50, 4))
    assert (one_class.low, one_class.high) == pytest.approx((interval.low, interval.high))


def test_numbers_that_tell_nothing_of_their_spread_have_no_interval():
    assert mean_interval(np.full(9, 0.1)) is None
    assert mean_interval(np.array([3.0])) is None
    assert mean_interval(np.array([1.0, 1.0, 5.0, 5.0]), np.array([0, 0, 1, 1])) is None


def test_bounds_and_level_move_the_interval():
    values = np.random.default_rng(1).random(80)
    unit = mean_interval(values, bounds=(0, 1))
    scaled = mean_interval(5 + 20 * values, bounds=(5, 25))
    assert (scaled.low, scaled.high) == pytest.approx((5 + 20 * unit.low, 5 + 20 * unit.high))
    wider = mean_interval(values, bounds=(0, 1), level=0.99)
    assert wider.low < unit.low < unit.high < wider.high


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.zeros(0), {}, "at least one image"),
        (np.zeros((2, 5)), {}, r"values \(I,\) .* got shape \(2, 5\)"),
        ([0.0, np.nan], {}, "NaN"),
        (np.zeros(5), {"class_ids": np.zeros(4)}, r"5 images but class ids of shape \(4,\)"),
        ([0.0, 1.5], {"bounds": (0, 1)}, r"within \(0, 1\), got 0.0 to 1.5"),
        (np.zeros(5), {"level": 95}, r"in \(0, 1\), such as 0.95, got 95"),
    ],
)
def test_wrong_input_is_said(values, options, message):
    with pytest.raises(InputError, match=message):
        mean_interval(values, **options)


# --- coverage, by drawing test sets of which the truth is known


def accuracies_of(kind, p, classes, rng):
    """True accuracy of each class, p on average: the "same", or "varied" around it."""
    return np.full(classes, p) if kind == "same" else class_accuracies(p, classes, rng)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", ["equal", "unequal", "three"])
@pytest.mark.parametrize("accuracies", ["same", "varied"])
@pytest.mark.parametrize("n", [50, 243, 5794])
def test_class_means_are_covered(n, sizes, accuracies):
    # 8000 sets: a coverage of 0.95 has sd 0.0024
    rng = np.random.default_rng(0)
    for p in (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995):
        counts = class_sizes(sizes, n, rng)
        truth = accuracies_of(accuracies, p, len(counts), rng)
        drawn = rng.binomial(counts, truth, (8000, len(counts)))
        low, high = score_interval(*effective_number(counts, drawn, drawn))
        covered = ((low <= truth.mean()) & (truth.mean() <= high)).mean()
        assert covered >= 0.93, (p, covered)
        # not far wider than an interval that knows the variance; near 1 that one reaches below
        # what can be seen, so misses to be expected count for at least one
        ideal = 2 * 1.96 * np.sqrt((truth * (1 - truth) / counts).sum()) / len(counts)
        misses = n * (1 - truth.mean())
        assert (high - low).mean() <= ideal * (1.1 if misses > 20 else 1.7 if misses > 2 else 3)


@pytest.mark.slow
@pytest.mark.parametrize("n", [50, 243])
def test_means_of_numbers_are_covered(n):
    # IoU of hits, none or a poor one for misses; shares of three thresholds: 3000 sets, sd 0.004
    rng = np.random.default_rng(1)
    for p in (0.5, 0.9, 0.98, 0.995):
        near = p * 8 / 11 + (1 - p) / 5
        hit = rng.random((3000, n)) < p
        draws = rng.random((3000, n))
        kinds = {
            "IoU": (np.where(hit, rng.beta(12, 2, hit.shape), 0), p * 12 / 14),
            "poor": (np.where(hit, rng.beta(8, 3, hit.shape), 0.4 * draws), near),
            "shares": (
                ((draws < 1 - (1 - p) / 3) * 1.0 + (draws < p) + (draws < 3 * p - 2)) / 3,
                (1 - (1 - p) / 3 + p + max(0, 3 * p - 2)) / 3,
            ),
        }  # fmt: skip
        for name, (values, truth) in kinds.items():
            counts = np.full((3000, 1), n)
            sums, squares = values.sum(1)[:, None], (values**2).sum(1)[:, None]
            low, high = score_interval(*effective_number(counts, sums, squares))
            covered = ((low <= truth) & (truth <= high)).mean()
            assert covered >= 0.93, (name, p, covered)
    for values, truth in ((rng.exponential(size=(3000, n)), 1), (rng.normal(size=(3000, n)), 0)):
        intervals = [mean_interval(row) for row in values]
        assert np.mean([i.low <= truth <= i.high for i in intervals]) >= 0.93
