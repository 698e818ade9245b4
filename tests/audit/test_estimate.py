"""wend.audit.design, estimate and calibration: by hand, by loops, over all samples, by chance."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize

from wend.audit.calibration import PRIOR, calibrate
from wend.audit.design import draw_sample
from wend.audit.estimate import Counts, bounds, estimate, few_of, number_for_width
from wend.errors import InputError


def counts(sizes, answered, right):
    return Counts(np.array(sizes), np.array(answered), np.array(right))


def score_ends(share, number, answered):
    """Where (share - p)² = t² p (1 - p) / number, with Student's t of 95 %."""
    z = stats.t.ppf(0.975, answered - 1) ** 2 / number
    return sorted(np.roots([1 + z, -2 * share - z, share**2]).real)


def by_loop(sizes, answered, right):
    """Estimate, variance and number of endlessly many boxes that are as sure, in plain Python."""
    total = sum(sizes)
    value = sum(size / total * x / n for size, n, x in zip(sizes, answered, right, strict=True))
    variance = 0.0
    for size, n, x in zip(sizes, answered, right, strict=True):
        share = (x + 2 * value) / (n + 2)
        lacking = (size - n) / (size - 1) if size > 1 else 0.0
        variance += (size / total) ** 2 * share * (1 - share) / n * lacking
    return value, value * (1 - value) / variance


def test_two_strata_by_hand():
    # 20 boxes, 10 looked at, 4 right; 60 boxes, 20 looked at, 14 right
    got = estimate(counts([20, 60], [10, 20], [4, 14]))
    assert got.value == pytest.approx(0.25 * 0.4 + 0.75 * 0.7)  # 0.625
    # shares with two more boxes: 5.25 / 12 and 15.25 / 22; their variances 0.2460938, 0.2126808
    # 1/16 x 10/19 x 0.2460938 / 10 + 9/16 x 40/59 x 0.2126808 / 20 = 0.00486488
    assert got.number == pytest.approx(0.625 * 0.375 / 0.00486488, rel=1e-5)
    np.testing.assert_allclose([got.low, got.high], score_ends(0.625, got.number, 30))


@pytest.mark.parametrize("seed", range(20))
def test_any_strata_against_a_loop(seed):
    random = np.random.default_rng(seed)
    sizes = random.integers(40, 400, 5)
    answered = random.integers(6, 30, 5)
    right = random.binomial(answered, random.uniform(0.3, 0.8, 5))
    got = estimate(counts(sizes, answered, right))
    value, number = by_loop(sizes.tolist(), answered.tolist(), right.tolist())
    assert got.value == pytest.approx(value)
    assert got.number == pytest.approx(number)
    low, high = score_ends(value, number, answered.sum())
    seen = right.sum() / sizes.sum(), 1 - (answered - right).sum() / sizes.sum()
    np.testing.assert_allclose([got.low, got.high], [max(low, seen[0]), min(high, seen[1])])


@pytest.mark.parametrize("right", [(0, 0), (3, 4), (1, 4), (2, 0)])
def test_every_box_answered_leaves_no_doubt(right):
    got = estimate(counts([3, 4], [3, 4], right))
    assert got.value == got.low == got.high == pytest.approx(sum(right) / 7)
    assert math.isinf(got.number)


def test_the_mean_over_all_samples_is_the_truth():
    strata = [[1, 0, 0, 1, 0], [1, 1, 0]]
    every = [itertools.combinations(stratum, 2) for stratum in strata]
    values = [
        estimate(counts([5, 3], [2, 2], [sum(a), sum(b)])).value
        for a, b in itertools.product(*every)
    ]
    assert len(values) == 30
    assert np.mean(values) == pytest.approx(4 / 8)


def test_what_was_seen_is_no_estimate():
    got = estimate(counts([5, 5], [4, 4], [4, 3]))
    assert got.low >= 0.7  # 7 boxes are right for sure, 1 is wrong
    assert got.high <= 0.9


def test_a_stratum_without_answers_is_as_good_as_the_one_beside_it():
    assert estimate(counts([10, 10, 20], [5, 0, 5], [1, 0, 5])).value == pytest.approx(0.6)
    assert estimate(counts([10, 30], [0, 5], [0, 4])).value == pytest.approx(0.8)
    with pytest.raises(InputError, match="no box of the sample is answered"):
        estimate(counts([10, 30], [0, 0], [0, 0]))


@pytest.mark.parametrize("right", [0, 20])
def test_answers_that_are_all_alike_leave_doubt(right):
    got = estimate(counts([100, 100], [10, 10], [right // 2, right // 2]))
    assert got.value == right / 20
    assert got.high - got.low > 0.08
    assert 0 <= got.low <= got.high <= 1


@pytest.mark.parametrize(("seen", "answered", "total"), [(0, 20, 50), (3, 30, 40), (5, 9, 1000)])
def test_few_against_every_number_that_there_may_be(seen, answered, total):
    may = [
        number
        for number in range(seen, total - answered + seen + 1)
        if stats.hypergeom.cdf(seen, total, number, answered) >= 0.05
        and stats.hypergeom.sf(seen - 1, total, number, answered) >= 0.05
    ]
    assert few_of(seen, answered, total, 0.95) == (may[0], may[-1])


def test_few_wrong_boxes_among_many_answered_have_an_exact_interval():
    # 1 % of 200 boxes are wrong; of 100 answered none is with probability 0.25
    got = estimate(counts([40] * 5, [20] * 5, [20] * 5))
    assert got.high == 1
    assert got.low == pytest.approx(1 - few_of(0, 100, 200, 0.95)[1] / 200)
    assert got.low <= 0.98


def test_impossible_counts_are_refused():
    for wrong in (([5], [6], [1]), ([5], [3], [4]), ([5], [3], [-1]), ([], [], [])):
        with pytest.raises(InputError, match="0 <= right <= answered <= sizes"):
            counts(*wrong)
    with pytest.raises(InputError, match="level"):
        estimate(counts([5], [3], [2]), level=1)


def test_unsure_boxes_bound_the_estimate():
    got = bounds(counts([10, 10], [3, 4], [2, 4]), np.array([1, 0]))
    assert got.wrong.value == pytest.approx((2 / 4 + 1) / 2)
    assert got.right.value == pytest.approx((3 / 4 + 1) / 2)


def test_strata_that_differ_make_the_interval_shorter():
    apart = estimate(counts([1000] * 2, [50] * 2, [5, 45]))
    alike = estimate(counts([1000] * 2, [50] * 2, [25, 25]))
    assert apart.value == alike.value == 0.5
    assert apart.high - apart.low < 0.65 * (alike.high - alike.low)


@pytest.mark.parametrize("width", [0.2, 0.1])
def test_the_number_for_a_width_gives_that_width(width):
    seen = counts([2000] * 5, [20] * 5, [6, 12, 15, 18, 20])
    needed = number_for_width(seen, width)
    each = needed / 5
    more = Counts(seen.sizes, np.full(5, round(each)), np.round(seen.right / 20 * each).astype(int))
    got = estimate(more)
    assert got.high - got.low == pytest.approx(width, rel=0.1)


@pytest.mark.parametrize("right", [0, 20])
@pytest.mark.parametrize("width", [0.3, 0.1, 0.05])
def test_the_number_for_a_width_of_answers_that_are_all_alike(right, width):
    # 1 box says nothing: the fewest that have that width, of any that are all right (or all wrong)
    seen = counts([60] * 5, [20] * 5, [right] * 5)

    def got(number):
        answered = np.full(5, number // 5) + (np.arange(5) < number % 5)
        made = estimate(Counts(seen.sizes, answered, answered * (right // 20)))
        return made.high - made.low

    needed = number_for_width(seen, width)
    assert got(needed) <= width < got(needed - 1)
    assert needed > 10


def test_no_more_than_all_boxes_are_needed():
    seen = counts([30, 30], [10, 10], [5, 9])
    assert number_for_width(seen, 0.001) == 60
    assert number_for_width(seen, 0.9) >= 1


POPULATIONS = [(300, 0.25, 1.0), (300, 0.74, 2.5), (300, 0.97, 0.0), (5000, 0.45, 1.0)]
POPULATIONS += [(5000, 0.9, 6.0), (120, 0.9, 1.0)]


@pytest.mark.parametrize(("number", "accuracy", "worth"), POPULATIONS)
def test_the_interval_holds_the_accuracy_as_often_as_it_says(number, accuracy, worth):
    random = np.random.default_rng(1)
    right = np.arange(number) < round(number * accuracy)
    marks = random.normal(size=number) - worth * right
    design = draw_sample(marks, 100)
    strata = [right[design.stratum == h] for h in range(5)]
    draws = np.stack(
        [
            random.hypergeometric(part.sum(), len(part) - part.sum(), n, 1500)
            for part, n in zip(strata, design.drawn, strict=True)
        ],
        1,
    )
    made = {
        tuple(row): estimate(Counts(design.sizes, design.drawn, row))
        for row in np.unique(draws, axis=0)
    }
    held = [made[tuple(row)].low <= right.mean() <= made[tuple(row)].high for row in draws]
    assert np.mean(held) >= 0.93
    values = [made[tuple(row)].value for row in draws]
    assert np.mean(values) == pytest.approx(right.mean(), abs=4 * np.std(values) / 1500**0.5)


# --- the sample


def test_strata_are_of_equal_size_and_ranked():
    marks = np.random.default_rng(0).random(203)
    design = draw_sample(marks, 100)
    assert sorted(design.sizes.tolist()) == [40, 40, 41, 41, 41]
    lows = [marks[design.stratum == h].min() for h in range(5)]
    highs = [marks[design.stratum == h].max() for h in range(5)]
    assert all(low > high for low, high in zip(lows, highs[1:], strict=False))
    assert design.drawn.tolist() == [20] * 5
    np.testing.assert_allclose(design.probability, (20 / design.sizes)[design.stratum])


def test_each_beginning_of_the_sample_is_spread_over_the_strata():
    design = draw_sample(np.random.default_rng(0).random(300), 100)
    for number in range(1, 101):
        first = design.stratum[design.sample[:number]]
        drawn = np.bincount(first, minlength=5)
        assert np.ptp(drawn) <= 1


def test_a_larger_sample_begins_with_the_smaller():
    marks = np.random.default_rng(0).random(300)
    small, large = draw_sample(marks, 40), draw_sample(marks, 90)
    assert large.sample[:40].tolist() == small.sample.tolist()
    assert small.digest() == large.digest()
    assert draw_sample(marks, 40, seed=1).sample.tolist() != small.sample.tolist()
    assert draw_sample(marks, 40, seed=1).digest() != small.digest()
    assert draw_sample(-marks, 40).digest() != small.digest()


def test_every_box_has_the_chance_that_is_written():
    marks = np.repeat([0.5, 0.1], [30, 17])  # ties, strata of 9 and 10
    times = np.zeros(47)
    for seed in range(600):
        design = draw_sample(marks, 20, seed)
        times += design.draw > 0
        assert design.draw.max() == 20
    expected = 600 * 20 / 47
    assert np.abs(times - expected).max() < 5 * np.sqrt(expected * (1 - 20 / 47))


def test_few_boxes_are_all_drawn():
    design = draw_sample(np.array([0.3]), 100)
    assert design.sample.tolist() == [0]
    assert design.probability.tolist() == [1]
    assert sorted(draw_sample(np.arange(7.0), 7).sample.tolist()) == list(range(7))


@pytest.mark.parametrize(
    ("boxes", "number", "seed", "said"),
    [
        (0, 10, 0, "there is no box"),
        (100, 4, 0, "--sample: expected at least 5"),
        (3, 0, 0, "--sample: expected at least 1"),
        (100, 10, -1, "--seed"),
    ],
)
def test_samples_that_cannot_be_drawn(boxes, number, seed, said):
    with pytest.raises(InputError, match=said):
        draw_sample(np.zeros(boxes), number, seed)


# --- calibration


def test_the_calibration_is_the_most_likely_one():
    random = np.random.default_rng(3)
    marks = random.random(60)
    wrong = random.random(60) < 0.15 + 0.7 * marks
    weights = random.uniform(1, 3, 60)
    got = calibrate(marks, wrong, weights)
    scaled = weights / weights.mean()
    middle = (scaled * marks).sum() / 60

    def unlikely(both):  # as the module says, written out
        odds = both[0] + both[1] * marks
        loss = (scaled * (np.logaddexp(0, odds) - wrong * odds)).sum()
        centre = both[0] + both[1] * middle
        return (
            loss
            + PRIOR * (np.logaddexp(0, centre) + np.logaddexp(0, -centre))
            + (0.005 * both[1] ** 2)
        )

    best = minimize(unlikely, [0, 0], method="BFGS", options={"gtol": 1e-9}).x
    np.testing.assert_allclose([got.intercept, got.slope], best, rtol=1e-4)


def test_the_calibration_never_rises_against_the_suspicion():
    marks = np.linspace(0, 1, 50)
    got = calibrate(marks, marks < 0.4, np.ones(50))
    assert got.slope == 0
    np.testing.assert_allclose(got.wrong(marks), 20 / 50, atol=0.01)


@pytest.mark.parametrize("wrong", [[True] * 5, [False] * 5, [True], [False, True, True]])
def test_few_answers_give_probabilities_within_bounds(wrong):
    marks = np.linspace(0.2, 0.8, len(wrong))
    got = calibrate(marks, np.array(wrong), np.ones(len(wrong))).wrong(np.linspace(0, 1, 9))
    assert ((got > 0) & (got < 1)).all()
    assert (np.diff(got) >= 0).all()
