"""wend.modeling.rcnn.exact_ratio: counts worked out by hand, and what is drawn of which image."""

import pytest
import torch

from wend.modeling.rcnn.exact_ratio import exact_counts, keep_exact_ratio


@pytest.mark.parametrize(
    ("positives", "negatives", "fraction", "expected"),
    [
        (6, 26, 0.5, (6, 6)),  # 1:1
        (16, 16, 0.5, (16, 16)),
        (6, 26, 0.4, (6, 9)),  # 2:3
        (4, 28, 0.4, (4, 6)),
        (6, 26, 0.25, (6, 18)),  # 1:3
        (5, 27, 0.16667, (5, 25)),  # 1:5
        (5, 11, 0.2, (2, 8)),  # 1:4: 20 negatives are not there, so that 2 positives have theirs
        (5, 3, 0.2, (1, 3)),  # not even for one
        (5, 0, 0.2, (1, 0)),
        (5, 7, 1.0, (5, 0)),
        (0, 30, 0.5, (0, 30)),  # no ratio without a positive
        (0, 0, 0.5, (0, 0)),
    ],
)
def test_counts(positives, negatives, fraction, expected):
    counts = exact_counts(torch.tensor(positives), torch.tensor(negatives), fraction)
    assert tuple(count.item() for count in counts) == expected


def batch(*counts, places=40):
    """Samples and positives (N, places) of images of so many positives and negatives, mixed."""
    torch.manual_seed(0)
    is_sample = torch.zeros(len(counts), places, dtype=torch.bool)
    is_positive = is_sample.clone()
    for image, (positives, negatives) in enumerate(counts):
        order = torch.randperm(places)
        is_sample[image, order[: positives + negatives]] = True
        is_positive[image, order[:positives]] = True
    return is_sample, is_positive


@pytest.mark.parametrize("fraction", [0.5, 0.4, 0.25, 0.2, 1 / 6])
def test_the_ratio_is_that_of_the_batch_and_all_its_positives_stay(fraction):
    is_sample, is_positive = batch((3, 29), (1, 31), (0, 32), (8, 24))
    kept = keep_exact_ratio(is_sample, is_positive, fraction)
    assert not (kept & ~is_sample).any()
    assert torch.equal(kept & is_positive, is_positive)
    assert kept.sum() == round(12 / fraction)


def test_an_image_without_a_positive_gives_negatives_as_the_others_do():
    is_sample, is_positive = batch((10, 90), (0, 100), places=120)
    drawn = torch.zeros(2)
    for seed in range(200):
        torch.manual_seed(seed)
        drawn += (keep_exact_ratio(is_sample, is_positive, 0.5) & ~is_positive).sum(1)
    # 10 of 190 negatives, each as likely: 2000 · 90 / 190 = 947.4, sd sqrt(2000 · 0.474 · 0.526 ·
    # 180 / 189) = 21.8
    assert drawn.sum() == 2000
    assert drawn[0].item() == pytest.approx(947.4, abs=4 * 21.8)


def test_which_are_kept_is_drawn_anew_each_time_from_all_of_an_image():
    is_sample, is_positive = batch((1, 31))
    seen = torch.zeros_like(is_sample)
    for _ in range(200):
        seen |= keep_exact_ratio(is_sample, is_positive, 0.25)
    # misses one of them with a probability of 31 · (28 / 31)^200 < 1e-7
    assert torch.equal(seen, is_sample)


def test_too_few_negatives_take_positives_away():
    is_sample, is_positive = batch((5, 11))
    kept = keep_exact_ratio(is_sample, is_positive, 0.2)
    assert ((kept & is_positive).sum(), (kept & ~is_positive).sum()) == (2, 8)


def test_a_batch_without_a_positive_keeps_all():
    for counts in [((0, 5), (0, 3)), ((0, 0), (0, 0))]:
        is_sample, is_positive = batch(*counts)
        assert torch.equal(keep_exact_ratio(is_sample, is_positive, 0.5), is_sample)
