"""Boxes of score maps: wsolevaluation's published values, and its loop on maps of every kind."""

import numpy as np
import pytest

from tests.map_peers import map_boxes, normalized, thresholds
from wend.evaluation.map_boxes import boxes_at

# maps and boxes that wsolevaluation publishes: 96f4b88 evaluation_test.py:93-131
FIFTHS = np.arange(0, 1, 0.2)
PUBLISHED = {
    "degenerate": (np.zeros((3, 3)), [[0, 0, 0, 0]] * 5),
    "unimodal": (
        np.array(
            [
                [0.0, 0.0, 0.0, 0.0, 0.0],
                [0.0, 0.4, 0.4, 0.4, 0.6],
                [0.0, 0.4, 1.0, 0.8, 0.6],
                [0.0, 0.4, 0.4, 0.4, 0.6],
            ]
        ),
        [[1, 1, 4, 3], [1, 1, 4, 3], [2, 1, 4, 3], [2, 2, 4, 3], [2, 2, 3, 3]],
    ),
    "multimodal": (
        np.array(
            [
                [0.4, 0.0, 0.2, 0.2, 0.2],
                [0.4, 0.4, 0.0, 0.4, 0.0],
                [0.0, 0.0, 0.0, 0.4, 0.0],
                [1.0, 0.6, 0.8, 0.2, 0.2],
            ]
        ),
        [[0, 0, 4, 3], [0, 0, 2, 2], [0, 3, 3, 3], [2, 3, 3, 3], [0, 3, 1, 3]],
    ),
}


def boxes_of(values, at, contours="all"):
    """Boxes of each threshold as lists."""
    made = boxes_at(values, np.asarray(at), contours)
    sets = np.split(made.boxes, np.cumsum(made.counts)[:-1])
    return [sets[i].tolist() for i in made.index]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_largest_contours_are_the_published_ones(name):
    score_map, expected = PUBLISHED[name]
    assert [boxes for (boxes,) in boxes_of(score_map, FIFTHS, "largest")] == expected


def maps_of_every_kind():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:224, :224]
    ring = (np.hypot(x - 100, y - 90) < 60) & (np.hypot(x - 100, y - 90) > 40)
    bars = ((x // 8) % 2 == 0) & (x > 50)
    yield from {
        "smooth": normalized(rng.random((7, 7))),
        "peaky": normalized(rng.random((14, 14)) ** 6),
        "ring": ring * 0.7,  # the hole's contour counts, too
        "bars": bars.astype(float),
        "whole": np.ones((224, 224)),
        "half": np.full((224, 224), 0.5),
        "blank": np.zeros((224, 224)),
        "dust": np.full((224, 224), 1 / 256),  # below 1/255: no pixel above 0
        "point": np.eye(1, 224 * 224, 224 * 223 + 223).reshape(224, 224),  # the last pixel
        "line": (x == y).astype(float),  # encloses no area
        "noise": np.round(rng.random((224, 224)), 1) * (y < 40),
    }.items()


@pytest.mark.parametrize(("name", "score_map"), maps_of_every_kind())
def test_each_threshold_has_the_boxes_of_a_plain_loop(name, score_map):
    at = [*thresholds(0.05), 0.001, 0.5019, 0.999]
    for threshold, boxes, (best,) in zip(
        at, boxes_of(score_map, at), boxes_of(score_map, at, "largest"), strict=True
    ):
        assert sorted(boxes) == sorted(map_boxes(score_map, threshold, every_contour=True))
        assert [best] == map_boxes(score_map, threshold, every_contour=False)
        assert boxes[0] == best  # the largest comes first


def test_areas_fall_and_a_blank_map_says_so():
    ring = dict(maps_of_every_kind())["ring"]
    made = boxes_at(ring, np.array([0.5]))
    assert len(made.areas) == 2
    assert (np.diff(made.areas) <= 0).all()
    assert not made.is_blank
    assert boxes_at(np.zeros((9, 9)), FIFTHS).is_blank


def test_a_threshold_of_one_leaves_no_pixel():
    """np.arange may end at 1, as of 1/49; then nothing is above the largest value."""
    assert boxes_of(np.ones((5, 5)), [0.0, 1.0]) == [[[0, 0, 4, 4]], [[0, 0, 0, 0]]]
