"""wend.evaluation.roc: the area under the curve by all pairs; groups keep ties together."""

import numpy as np
import pytest

from wend.evaluation.roc import area_under_roc, groups_of_equal_size


@pytest.mark.parametrize("levels", [3, 1000], ids=["many ties", "few ties"])
def test_the_area_is_the_share_of_pairs_that_are_in_order(levels):
    rng = np.random.default_rng(levels)
    values, right = rng.integers(0, levels, 60) / levels, rng.random(60) < 0.4
    pairs = [
        1.0 if a > b else 0.5 if a == b else 0.0 for a in values[right] for b in values[~right]
    ]
    assert area_under_roc(values, right) == pytest.approx(np.mean(pairs), abs=1e-12)


def test_all_right_or_all_wrong_tell_nothing():
    values = np.array([0.1, 0.2])
    assert area_under_roc(values, np.array([True, True])) is None
    assert area_under_roc(values, np.array([False, False])) is None
    assert area_under_roc(np.zeros(0), np.zeros(0, bool)) is None


def test_groups_are_of_equal_size_and_never_part_equal_values():
    shuffled = np.random.default_rng(0).permutation(20)
    assert np.bincount(groups_of_equal_size(shuffled / 20)).tolist() == [2] * 10
    assert groups_of_equal_size(shuffled)[shuffled.argsort()].tolist() == sorted([*range(10)] * 2)
    tied = groups_of_equal_size(np.array([0, 0, 0, 0, 0, 0, 0, 0, 1, 2.0]))
    assert len(set(tied[:8])) == 1
    assert tied[8] < tied[9]
    assert groups_of_equal_size(np.zeros(0)).tolist() == []
