"""wend.modeling.sampling: counts worked out by hand, and what is drawn of which image."""

import pytest
import torch

from wend.modeling.sampling import exact_counts, keep_exact_ratio


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
    assert exact_counts(positives, negatives, fraction) == expected


def masks(*counts):
    """Images of so many positives and negatives, mixed."""
    torch.manual_seed(0)
    return [
        (torch.arange(positives + negatives) < positives)[torch.randperm(positives + negatives)]
        for positives, negatives in counts
    ]


@pytest.mark.parametrize("fraction", [0.5, 0.4, 0.25, 0.2, 1 / 6])
def test_the_ratio_is_that_of_the_batch_and_all_its_positives_stay(fraction):
    images = masks((3, 29), (1, 31), (0, 32), (8, 24))
    kept = keep_exact_ratio(images, fraction)
    assert [len(mask) for mask in kept] == [32] * 4
    positives = sum(int(image[mask].sum()) for image, mask in zip(images, kept, strict=True))
    assert positives == 12
    assert sum(int(mask.sum()) for mask in kept) == round(12 / fraction)


def test_an_image_without_a_positive_gives_negatives_as_the_others_do():
    images = masks((10, 90), (0, 100))
    drawn = torch.zeros(2)
    for seed in range(200):
        torch.manual_seed(seed)
        kept = keep_exact_ratio(images, 0.5)
        of_images = zip(images, kept, strict=True)
        drawn += torch.tensor([float(mask[~image].sum()) for image, mask in of_images])
    # 10 of 190 negatives, each as likely: 2000 · 90 / 190 = 947.4, sd sqrt(2000 · 0.474 · 0.526 ·
    # 180 / 189) = 21.8
    assert drawn.sum() == 2000
    assert drawn[0].item() == pytest.approx(947.4, abs=4 * 21.8)


def test_which_are_kept_is_drawn_anew_each_time_from_all_of_an_image():
    (image,) = masks((1, 31))
    seen = torch.zeros(32, dtype=torch.bool)
    for _ in range(200):
        seen |= keep_exact_ratio([image], 0.25)[0]
    assert seen.all()  # misses one of them with a probability of 31 · (28 / 31)^200 < 1e-7


def test_a_batch_without_a_positive_keeps_all():
    assert [mask.all().item() for mask in keep_exact_ratio(masks((0, 5), (0, 3)), 0.5)] == [1, 1]
    assert [len(mask) for mask in keep_exact_ratio(masks((0, 0), (0, 0)), 0.5)] == [0, 0]
