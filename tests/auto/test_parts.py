"""Held-out photos: groups stay whole, both sides have some, the seed decides."""

import numpy as np
import pytest

from wend.auto.parts import hold_out


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
