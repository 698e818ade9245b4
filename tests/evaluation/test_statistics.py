"""wend.evaluation.statistics against hand values, SciPy, enumerated outcomes and simulation."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from wend.errors import InputError
from wend.evaluation.statistics import holm, mcnemar, mean, paired_difference, seed_difference


def hits(n, ones):
    return (np.arange(n) < ones).astype(float)


# --- one run of each method


def test_a_difference_of_hits_has_agresti_and_mins_interval():
    # a wins 30 of 1000 images and loses 10. Agresti and Min 2005: cells plus 1/2 each, n' = 1002,
    # centre 20 / 1002, variance (41 - 20^2 / 1002) / 1002^2; ours has the unbiased variance, 1/2000
    # of it more
    a = np.concatenate([np.ones(30), np.zeros(10), hits(960, 500)]) == 1
    b = np.concatenate([np.zeros(30), np.ones(10), hits(960, 500)]) == 1
    result = paired_difference(a, b)
    sd = math.sqrt(41 - 400 / 1002) / 1002
    assert result.difference == pytest.approx(0.02, rel=1e-12)
    assert result.low == pytest.approx(20 / 1002 - 1.959964 * sd, rel=1e-3)
    assert result.high == pytest.approx(20 / 1002 + 1.959964 * sd, rel=1e-3)
    assert result.p_images == pytest.approx(
        2 * stats.norm.sf(20 / 1002 / sd), rel=1e-2
    )  # z + 5e-4 z
    assert (result.p_seeds, result.p_value) == (None, result.p_images)
    other = paired_difference(b, a)
    assert (other.low, other.high) == pytest.approx((-result.high, -result.low))
    assert other.p_images == result.p_images


def test_a_difference_of_unbounded_numbers_is_students_paired_test():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=40), rng.normal(0.3, 1, size=40)
    theirs = stats.ttest_rel(a, b)
    interval = theirs.confidence_interval(0.9)
    result = paired_difference(a, b, level=0.9)
    assert result.p_images == pytest.approx(theirs.pvalue, rel=1e-9)
    assert (result.low, result.high) == pytest.approx((interval.low, interval.high), rel=1e-9)


def test_p_is_near_that_of_all_flips_of_signs():
    # if nothing differs, each image's difference is as likely as its negative: all 2^14 of them
    rng = np.random.default_rng(4)
    signs = np.array(list(itertools.product((-1, 1), repeat=14)))
    for shift in (0, 0.3, 0.6):
        d = rng.normal(shift, 1, 14)
        exact = (np.abs(signs @ d) >= abs(d.sum()) - 1e-9).mean()
        assert paired_difference(d, np.zeros(14)).p_images == pytest.approx(exact, abs=0.015)


def test_p_of_hits_is_near_mcnemars_mid_p():
    # 100 images, up to 20 of which one alone hits: mid-p is exact
    for won, lost in itertools.product(range(11), range(11)):
        a = hits(100, won) == 1
        b = (np.arange(100) >= won) & (np.arange(100) < won + lost)
        assert paired_difference(a, b).p_images == pytest.approx(mcnemar(a, b).mid_p, abs=0.07)


def test_what_differs_nowhere_has_no_evidence_but_an_interval():
    a, ids = hits(50, 20) == 1, np.arange(50) % 7
    for classes in (None, ids):
        same = paired_difference(a, a, classes)
        assert (same.difference, same.p_images) == (0, 1)
        # at most 1 of 20 images may differ: 1.96 / 52
        assert same.high == pytest.approx(1.96 / 52, rel=0.02)
        assert same.low == -same.high
    always = paired_difference(np.ones(50) == 1, np.zeros(50) == 1)
    assert always.low > 0.85
    assert always.high == always.difference == 1
    assert always.p_images < 1e-10
    # numbers without bounds that differ by the same everywhere tell nothing of their spread
    unbounded = paired_difference(np.ones(50), np.zeros(50))
    assert (unbounded.low, unbounded.high, unbounded.p_images) == (None, None, 0)
    assert paired_difference(np.ones(1), np.zeros(1)).low is None


def test_means_over_classes_are_compared():
    # class 5: differences 1, 0, 0 -> 1/3; class 2: 1, 1 -> 1. Mean 2/3; per image 3/5
    a, b, ids = np.array([1, 0, 0, 1, 1.0]), np.zeros(5), np.array([5, 5, 5, 2, 2])
    result = paired_difference(a, b, ids)
    assert result.difference == pytest.approx(2 / 3)
    # V = (s^2 / 3 + 0 / 2) / 4, s^2 = 1/3, on 5 - 2 degrees of freedom
    error = math.sqrt(1 / 36)
    assert result.high == pytest.approx(2 / 3 + stats.t.ppf(0.975, 3) * error, rel=1e-9)
    assert paired_difference(a, b).difference == pytest.approx(0.6)
    assert mean(a, ids) == pytest.approx(2 / 3)


# --- several seeds


def test_where_images_are_alike_the_seeds_decide_as_in_welchs_test():
    # each run has one value on all images but for tiny noise: 3 and 4 seeds
    means = np.array([0.71, 0.74, 0.70]), np.array([0.66, 0.69, 0.68, 0.70])
    rng = np.random.default_rng(0)
    a, b = (m[:, None] + rng.normal(0, 1e-4, (len(m), 20_000)) for m in means)
    theirs = stats.ttest_ind(*means, equal_var=False)
    result = paired_difference(a, b)
    assert result.p_seeds == pytest.approx(theirs.pvalue, rel=1e-2)
    assert result.p_images < 1e-10
    assert result.p_value == result.p_seeds
    interval = theirs.confidence_interval(0.95)
    assert (result.low, result.high) == pytest.approx((interval.low, interval.high), rel=1e-2)
    plain = seed_difference(*means)
    assert plain.p_seeds == pytest.approx(theirs.pvalue, rel=1e-9)
    assert (plain.low, plain.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert plain.p_images is None


def test_one_seed_tells_nothing_of_seeds():
    rng = np.random.default_rng(0)
    a, b = rng.random((3, 50)) < 0.7, rng.random((1, 50)) < 0.6
    result = paired_difference(a, b)
    assert result.p_seeds is None
    assert result.difference == pytest.approx(a.mean() - b.mean())
    assert seed_difference([1.0], [2.0, 3.0]).p_value is None
    assert seed_difference([1.0, 1.0], [2.0, 2.0]).low is None


def drawn_runs(rng, n, seeds, spread, shift=0.0):
    """Hits (seeds, n) of images of fixed difficulty; accuracies of trainings have sd ``spread``."""
    easy = rng.beta(2.8, 1.2, n)
    return [
        rng.random((seeds, n)) < np.clip(easy + mean + rng.normal(0, spread, (seeds, 1)), 0, 1)
        for mean in (shift, 0)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("classes", [None, 10])
@pytest.mark.parametrize("n", [50, 243, 2000])
@pytest.mark.parametrize(("seeds", "spread"), [(1, 0), (2, 0), (2, 0.03), (3, 0.03), (5, 0.03)])
def test_equal_methods_are_told_apart_as_rarely_as_the_level_says(n, seeds, spread, classes):
    # 800 comparisons: a share of 0.05 has sd 0.008
    rng = np.random.default_rng(7)
    rejected = covered = alone = 0
    for _ in range(800):
        ids = None if classes is None else rng.integers(0, classes, n)
        result = paired_difference(*drawn_runs(rng, n, seeds, spread), ids)
        rejected += result.p_value < 0.05
        alone += result.p_images < 0.05
        covered += result.low <= 0 <= result.high
    assert rejected <= 0.08 * 800
    assert covered >= 0.93 * 800
    if n == 2000 and spread:  # taking the seeds as they are calls the luck of a seed a difference
        assert alone > 0.3 * 800


def test_holm_by_hand():
    # sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1 = 0.02, 0.03, 0.06, 0.04; never falling
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1, 1]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


# --- McNemar


def test_mcnemar_by_hand():
    # 1 for, 4 against: 2 (C(5,0) + C(5,1)) / 2^5 = 12/32, and mid-p less C(5,1) / 2^5: 7/32; hits
    # and misses of both do not matter
    a = np.array([1, 0, 0, 0, 0, 1, 1, 0])
    b = np.array([0, 1, 1, 1, 1, 1, 1, 0])
    result = mcnemar(a, b)
    assert (result.only_a, result.only_b) == (1, 4)
    assert result.p_value == pytest.approx(12 / 32, rel=1e-12)
    assert result.mid_p == pytest.approx(7 / 32, rel=1e-12)
    assert mcnemar(b, a).p_value == result.p_value
    assert mcnemar(b, a).mid_p == result.mid_p
    for even in (mcnemar(a, a), mcnemar([1, 0], [0, 1])):  # no image tells them apart
        assert (even.p_value, even.mid_p) == (1, 1)


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
    half = exact_p(k, n) - math.comb(n, k) / 2**n
    assert mcnemar(a, b).mid_p == pytest.approx(half, rel=1e-9, abs=1e-300)


def test_mcnemar_of_a_hopeless_difference_is_zero_not_an_error():
    assert mcnemar(np.ones(5000), np.zeros(5000)).p_value == 0


def size_of_mcnemar(n, apart):
    """Share of p < 0.05 if both are equally good and a share of images tells them apart.

    Over all outcomes: the images that one alone hits are Binomial(n, apart), half of them wins.
    """
    exact = mid = 0.0
    for discordant in range(1, n + 1):
        outcome = stats.binom.pmf(discordant, n, apart)
        for wins in range(discordant + 1):
            test = mcnemar(hits(discordant, wins), 1 - hits(discordant, wins))
            share = outcome * stats.binom.pmf(wins, discordant, 0.5)
            exact += share * (test.p_value < 0.05)
            mid += share * (test.mid_p < 0.05)
    return exact, mid


@pytest.mark.slow
def test_mid_p_keeps_its_level_more_closely_than_the_exact_test():
    for apart in (0.1, 0.2, 0.3, 0.5):
        exact, mid = size_of_mcnemar(50, apart)
        assert exact < mid <= 0.055
        assert mid > (0.02 if apart == 0.1 else 0.035)
        assert exact < 0.035


# --- wrong input


@pytest.mark.parametrize(
    ("a", "b", "options", "message"),
    [
        (np.zeros(3), np.zeros(4), {}, r"same images.*\(1, 3\) and \(1, 4\)"),
        (np.zeros(0), np.zeros(0), {}, "at least one image"),
        ([0.0, np.nan], [0.0, 1.0], {}, "finite"),
        (np.zeros(5), np.ones(5), {"class_ids": np.zeros(4)}, r"class ids of shape \(4,\)"),
        (np.zeros(5), np.ones(5), {"level": 95}, r"in \(0, 1\), such as 0.95, got 95"),
    ],
)
def test_wrong_input_is_said(a, b, options, message):
    with pytest.raises(InputError, match=message):
        paired_difference(a, b, **options)


def test_hits_of_other_images_or_no_hits_are_errors():
    with pytest.raises(InputError, match="same images"):
        mcnemar(np.zeros(3), np.zeros(4))
    with pytest.raises(InputError, match="0 or 1"):
        mcnemar(np.array([0.5, 1]), np.zeros(2))
