"""wend.evaluation.statistics against closed forms, enumeration of all resamples, and SciPy."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from wend.errors import InputError
from wend.evaluation.statistics import bootstrap_interval, mcnemar, paired_bootstrap


def hits(n, ones):
    return (np.arange(n) < ones).astype(float)


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_interval_of_a_proportion_is_the_normal_one(level):
    # p = 0.3, n = 4000: sd of the mean = sqrt(0.21 / 4000) = 0.007246. The end of the interval of
    # R resamples has Monte Carlo sd sqrt(a (1 - a) / R) / phi(z) sd, a = 0.1 or 0.025: at R = 4000
    # 0.027 sd and 0.042 sd. Tolerance 0.2 sd = at least 4.7 of these (0.15 %, lattice and skew in).
    sd = math.sqrt(0.3 * 0.7 / 4000)
    z = {0.8: 1.281552, 0.95: 1.959964}[level]
    interval = bootstrap_interval([hits(4000, 1200)], rounds=4000, level=level)
    np.testing.assert_allclose(interval, [[0.3 - z * sd, 0.3 + z * sd]], atol=0.2 * sd)


def exact_distribution(values, class_ids=None):
    """Mean of every one of the I^I equally likely resamples, by plain loops."""
    means = []
    for drawn in itertools.product(range(len(values)), repeat=len(values)):
        by_class = {}
        for i in drawn:
            by_class.setdefault(0 if class_ids is None else class_ids[i], []).append(values[i])
        means.append(np.mean([np.mean(v) for v in by_class.values()]))
    return np.array(means)


@pytest.mark.parametrize("class_ids", [None, [7, 7, 3, 7, 3]])
def test_interval_is_that_of_all_resamples_of_a_tiny_set(class_ids):
    values = [0.0, 1.0, 10.0, 3.0, 6.5]
    means = exact_distribution(values, class_ids)
    ids = None if class_ids is None else np.array(class_ids)
    for level in (0.3, 0.6, 0.9):
        interval = bootstrap_interval([values], ids, rounds=4000, level=level, seed=1)[0]
        # share of all 3125 resamples up to each end; 4000 rounds: sd <= 0.008, so 0.04 is 5 sd.
        # Where resamples tie, the true share jumps there: the end must lie within the jump.
        for end, share in zip(interval, [(1 - level) / 2, (1 + level) / 2], strict=True):
            assert (
                (means < end - 1e-9).mean() - 0.04 <= share <= (means <= end + 1e-9).mean() + 0.04
            )


def test_classes_weigh_the_same_and_absent_ones_do_not_count():
    # Class 1 is one image, which 37 % of the resamples miss. Counted as zero these would average
    # near 0.5; the metric is 1 whenever every image hits.
    ids = np.array([0] * 20 + [1])
    np.testing.assert_allclose(bootstrap_interval([np.ones(21)], ids), [[1, 1]])
    # 20 hits in class 0, a miss in class 1: 0.5 where class 1 is drawn (63 %), else 1
    low, high = bootstrap_interval([hits(21, 20)], ids)[0]
    assert (low, high) == (0.5, 1.0)
    low, high = bootstrap_interval([hits(21, 20)])[0]
    assert low > 0.8


def test_intervals_follow_units_and_do_not_depend_on_their_neighbours():
    rng = np.random.default_rng(0)
    values = (rng.random((3, 300)) < 0.6).astype(float)
    ids = rng.integers(0, 9, 300)
    for classes in (None, ids):
        together = bootstrap_interval(values, classes, rounds=200)
        alone = [bootstrap_interval(v[None], classes, rounds=200)[0] for v in values]
        np.testing.assert_allclose(together, alone, rtol=1e-12)
        scaled = bootstrap_interval(5 + 100 * values, classes, rounds=200)
        np.testing.assert_allclose(scaled, 5 + 100 * together, rtol=1e-12)
        wider = bootstrap_interval(values, classes, rounds=200, level=0.99)
        assert (wider[:, 0] <= together[:, 0]).all()
        assert (wider[:, 1] >= together[:, 1]).all()
        relabelled = None if classes is None else 1000 - classes
        again = bootstrap_interval(values, relabelled, rounds=200)
        np.testing.assert_allclose(again, together, rtol=1e-12)
    one_class = bootstrap_interval(values, np.full(300, 4), rounds=200)
    np.testing.assert_allclose(one_class, bootstrap_interval(values, rounds=200), rtol=1e-12)


def test_the_seed_decides():
    values = [np.random.default_rng(0).random(500)]
    first = bootstrap_interval(values, rounds=50, seed=3)
    assert (first == bootstrap_interval(values, rounds=50, seed=3)).all()
    assert (first != bootstrap_interval(values, rounds=50, seed=4)).all()


def test_agrees_with_scipys_bootstrap():
    values = np.random.default_rng(5).gamma(2, size=400)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
    )
    interval = bootstrap_interval([values], rounds=4000)[0]
    # two runs, each end with sd 0.042 standard errors (above): 5 * sqrt(2) * 0.042 = 0.3
    np.testing.assert_allclose(
        interval, theirs.confidence_interval, atol=0.3 * theirs.standard_error
    )


def test_paired_difference_by_hand():
    # a beats b on 30 of 1000 images and loses on 10: mean 0.02, E[d^2] = 0.04,
    # sd = sqrt((0.04 - 0.0004) / 1000) = 0.006293; the unpaired sd would be 3 times that
    a = np.concatenate([np.ones(30), np.zeros(10), hits(960, 500)])
    b = np.concatenate([np.zeros(30), np.ones(10), hits(960, 500)])
    result = paired_bootstrap(a, b, rounds=2000)
    sd = math.sqrt((0.04 - 0.0004) / 1000)
    assert result.difference == pytest.approx(0.02)
    assert result.low == pytest.approx(0.02 - 1.96 * sd, abs=0.3 * sd)
    assert result.high == pytest.approx(0.02 + 1.96 * sd, abs=0.3 * sd)
    # P(mean* <= 0), z = 0.02 / sd = 3.18: 7e-4 one-sided
    assert 2 / 2001 <= result.p_value < 0.01
    other = paired_bootstrap(b, a, rounds=2000)
    assert (other.difference, other.p_value) == (-result.difference, result.p_value)
    assert (other.low, other.high) == (
        pytest.approx(-result.high, abs=1e-12),
        pytest.approx(-result.low, abs=1e-12),
    )


def test_paired_bootstrap_of_equals_and_of_certain_differences():
    a, ids = hits(50, 20), np.arange(50) % 7
    for classes in (None, ids):
        same = paired_bootstrap(a, a, classes, rounds=100)
        assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    always = paired_bootstrap(np.ones(50), np.zeros(50), rounds=99)
    assert (always.low, always.high, always.p_value) == (1, 1, 2 / 100)


def test_paired_bootstrap_takes_means_over_classes():
    # class 0: differences 1, 0, 0 -> 1/3; class 1: 1 -> 1. Mean 2/3; per image 2/4
    a, b, ids = np.array([1, 0, 0, 1]), np.zeros(4), np.array([5, 5, 5, 2])
    assert paired_bootstrap(a, b, ids, rounds=10).difference == pytest.approx(2 / 3)
    assert paired_bootstrap(a, b, rounds=10).difference == 0.5


def test_p_values_are_uniform_when_nothing_differs():
    # 200 pairs of equally good detectors: the share of p < 0.2 has sd sqrt(0.16 / 200) = 0.028
    rng = np.random.default_rng(2)
    p = [
        paired_bootstrap(rng.random(150) < 0.5, rng.random(150) < 0.5, rounds=99).p_value
        for _ in range(200)
    ]
    assert np.mean(np.array(p) < 0.2) == pytest.approx(0.2, abs=4 * 0.028)


def test_mcnemar_by_hand():
    # 1 for, 4 against: 2 (C(5,0) + C(5,1)) / 2^5 = 12/32; hits and misses of both do not matter
    a = np.array([1, 0, 0, 0, 0, 1, 1, 0])
    b = np.array([0, 1, 1, 1, 1, 1, 1, 0])
    result = mcnemar(a, b)
    assert (result.only_a, result.only_b) == (1, 4)
    assert result.p_value == pytest.approx(12 / 32, rel=1e-12)
    assert mcnemar(b, a).p_value == result.p_value
    assert mcnemar(a, a).p_value == 1  # no image tells them apart
    assert mcnemar([1, 0], [0, 1]).p_value == 1  # twice the tail 3/4


def exact_p(k, n):
    """Twice the lower tail of Binomial(n, 1/2) at k, at most 1, in whole numbers."""
    term, tail = 1, 1  # C(n, 0) and its sum
    for i in range(k):
        term = term * (n - i) // (i + 1)
        tail += term
    return float(min(Fraction(1), Fraction(2 * tail, 2**n)))


@pytest.mark.parametrize(
    ("k", "n"),
    [
        (0, 1),
        (3, 17),
        (8, 17),  # the middle: 1
        (40, 90),
        (480, 1000),
        (24_700, 50_000),
        (100, 1000),  # 1e-161
        (0, 1020),  # 2e-307, near the smallest normal float
    ],
)
def test_mcnemar_is_the_exact_binomial(k, n):
    # SciPy's sum of n terms errs by at most some n rounding errors of 1e-16; of 3,000 random pairs
    # k < n < 1000 the worst was 9e-14, and 6e-14 at n = 50,000
    a, b = hits(n, k), 1 - hits(n, k)
    assert mcnemar(a, b).p_value == pytest.approx(exact_p(k, n), rel=1e-12, abs=0)
    assert mcnemar(b, a).p_value == mcnemar(a, b).p_value


def test_mcnemar_of_a_hopeless_difference_is_zero_not_an_error():
    assert mcnemar(np.ones(5000), np.zeros(5000)).p_value == 0


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.zeros((2, 0)), {}, "at least one image"),
        (np.zeros(5), {}, r"shape \(M, I\), got \(5,\)"),
        ([[0.0, np.nan]], {}, "NaN"),
        (np.zeros((2, 5)), {"class_ids": np.zeros(4)}, r"5 images but class ids of shape \(4,\)"),
        (np.zeros((2, 5)), {"rounds": 0}, "rounds >= 1 .* got 0"),
        (np.zeros((2, 5)), {"level": 95}, r"level in \(0, 1\), got 1000 and 95"),
    ],
)
def test_wrong_input_is_said(values, options, message):
    with pytest.raises(InputError, match=message):
        bootstrap_interval(values, **options)


def test_pairs_of_other_images_or_without_hits_are_errors():
    with pytest.raises(InputError, match=r"same images.*\(3,\) and \(4,\)"):
        paired_bootstrap(np.zeros(3), np.zeros(4))
    with pytest.raises(InputError, match="same images"):
        mcnemar(np.zeros(3), np.zeros(4))
    with pytest.raises(InputError, match="0 or 1"):
        mcnemar(np.array([0.5, 1]), np.zeros(2))
