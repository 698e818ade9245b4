"""Held-out images and folds: groups stay whole, all sides have some, the seed decides."""

import numpy as np
import pytest

from wend.datasets.parts import folds, hold_out


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_whole_and_the_share_is_nearly_met(share, seed):
    groups = np.random.default_rng(seed).integers(0, 40, 100)
    held_out = hold_out(groups, share, seed)
    for number in np.unique(groups):
        assert len(set(held_out[groups == number])) == 1
    largest = np.bincount(groups).max()
    assert 100 * share - largest < held_out.sum() <= max(round(100 * share), largest)
    assert (hold_out(groups, share, seed) == held_out).all()


def test_another_seed_is_another_choice():
    groups = np.arange(50)
    assert (hold_out(groups, 0.2, 0) != hold_out(groups, 0.2, 1)).any()
    assert hold_out(groups, 0.2, 0).sum() == 10


@pytest.mark.parametrize(
    ("groups", "share", "expected"),
    [
        ([0], 0.2, {0}),
        ([0, 0, 0], 0.2, {0}),  # near duplicates of each other
        ([0, 1, 2], 0.0, {0}),
        ([0, 1], 0.2, {1}),
        ([0, 1, 2], 0.2, {1}),
        ([0, 0, 0, 1, 1], 0.2, {2}),  # the smaller group, though it is more than asked for
        ([0, 1], 0.99, {1}),  # one is left for training
    ],
)
def test_few_photos(groups, share, expected):
    assert {int(hold_out(np.array(groups), share, seed).sum()) for seed in range(4)} == expected


@pytest.mark.parametrize("number", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_folds_keep_groups_whole_and_have_the_same_classes(number, seed):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 120, 200)
    classes = rng.integers(-1, 4, 120)[groups]
    fold = folds(groups, classes, number, seed)
    for group in np.unique(groups):
        assert len(set(fold[groups == group])) == 1
    assert set(fold) == set(range(number))
    largest = np.bincount(groups).max()
    for class_id in np.unique(classes):
        counts = np.bincount(fold[classes == class_id], minlength=number)
        assert counts.max() - counts.min() <= largest
    assert (folds(groups, classes, number, seed) == fold).all()
    assert number == 1 or (folds(groups, classes, number, seed + 1) != fold).any()


@pytest.mark.parametrize(
    ("groups", "classes", "number", "expected"),
    [
        ([0, 1, 2, 3], [0, 0, 1, 1], 2, [2, 2]),
        ([0, 0, 0, 1], [0, 0, 0, 0], 2, [1, 3]),
        ([0, 0, 1, 2, 3, 3], [0, 0, 0, 0, 1, 1], 2, [2, 4]),  # 2 | 1 + 1, then 2 to either
        ([5, 5, 9], [-1, -1, -1], 2, [1, 2]),  # numbers need not count from 0
        ([0, 1, 2], [0, 1, 2], 3, [1, 1, 1]),  # a class of one image lies in one fold
    ],
)
def test_sizes_of_folds(groups, classes, number, expected):
    fold = folds(np.array(groups), np.array(classes), number, 0)
    assert sorted(np.bincount(fold, minlength=number).tolist()) == expected


def test_more_folds_than_groups_are_refused():
    with pytest.raises(ValueError, match="expected 1 to 2 folds, got 3"):
        folds(np.array([0, 0, 1]), np.full(3, -1), 3, 0)
