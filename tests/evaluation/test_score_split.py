"""The score between two groups of scores, against OpenCV's Otsu and by hand."""

import cv2
import numpy as np
import pytest

from wend.evaluation.score_split import split_score


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.9, 0.1, 0.2, 0.8], 0.5),
        ([0.5, 0.5, 0.5, 0.1], 0.3),
        ([0.3, 0.7], 0.5),
        ([0.4], 0),
        ([0.4, 0.4], 0),
        ([], 0),
    ],
)
def test_by_hand(scores, expected):
    assert split_score(np.array(scores)) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(4))
def test_groups_are_those_of_opencvs_otsu(seed):
    rng = np.random.default_rng(seed)
    low, high = rng.normal(60, 15, 3000), rng.normal(170, 20, 100 * 3**seed)
    levels = np.concatenate([low, high]).round().clip(0, 255).astype(np.uint8)
    threshold, _ = cv2.threshold(levels[None], 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    mine = split_score(levels.astype(np.float64))
    np.testing.assert_array_equal(levels > threshold, levels > mine)
