"""Right detections by hand, and the best threshold against trying all of them."""

import numpy as np
import pytest

from wend.auto.matching import ScoreThreshold, best_threshold, doubt_of, match
from wend.structures.box_table import BoxTable

A, B = [0, 0, 10, 10], [20, 0, 30, 10]
NEAR_A = [0, 0, 10, 8]  # IoU 0.8


def test_each_reference_box_is_found_once_best_detection_first():
    detections = BoxTable.from_lists([[NEAR_A, A, B], [A], []], [[0.9, 0.8, 0.7], [0.6], []])
    reference = BoxTable.from_lists([[A, B], [B], [A]])
    assert match(detections, reference).tolist() == [True, False, True, False]
    assert match(detections, reference, 0.9).tolist() == [False, True, True, False]


def test_the_threshold_by_hand():
    detections = BoxTable.from_lists([[A, B], [A, B]], [[0.9, 0.2], [0.5, 0.1]])
    reference = BoxTable.from_lists([[A], [A]])
    chosen = best_threshold(detections, reference)
    assert (chosen.min_score, chosen.f1, chosen.boxes_per_image) == (0.5, 1.0, 1.0)


def test_no_right_box_has_no_threshold():
    detections = BoxTable.from_lists([[B], []], [[0.9], []])
    assert best_threshold(detections, BoxTable.from_lists([[A], [A]])) is None
    nothing = BoxTable.from_lists([[], []], [[], []])
    assert best_threshold(nothing, BoxTable.from_lists([[A], [A]])) is None


@pytest.mark.parametrize("seed", range(5))
def test_no_other_threshold_is_better(seed):
    rng = np.random.default_rng(seed)

    def boxes(number):
        corner = rng.uniform(0, 10, (number, 2))
        return np.concatenate([corner, corner + rng.uniform(4, 12, (number, 2))], 1)

    counts = rng.integers(0, 6, 12)
    scores = [rng.integers(0, 5, n) / 4 for n in counts]  # many equal ones
    detections = BoxTable.from_lists([boxes(n) for n in counts], scores)
    reference = BoxTable.from_lists([boxes(n) for n in rng.integers(1, 3, 12)])

    def f1(threshold):
        kept = detections.keep(detections.scores >= threshold)
        hits = match(kept, reference).sum()
        return 2 * hits / max(len(kept.boxes) + len(reference.boxes), 1)

    chosen = best_threshold(detections, reference)
    assert chosen.f1 == pytest.approx(f1(chosen.min_score))
    assert chosen.f1 == pytest.approx(max(map(f1, set(detections.scores.tolist()))))
    left = (detections.scores >= chosen.min_score).sum() / 12
    assert chosen.boxes_per_image == pytest.approx(left)


@pytest.mark.parametrize(
    ("f1", "images", "said"),
    [
        (0.3, 10, ""),
        (1.0, 9, "on 9 held-out photos"),
        (0.29, 500, "is 0.29; it takes at least 10 photos and an F1 of 0.3"),
    ],
)
def test_a_threshold_of_few_photos_or_of_a_poor_detector_is_not_advised(f1, images, said):
    doubt = doubt_of(ScoreThreshold(0.5, f1, 1.0), images)
    assert said in doubt
    assert bool(doubt) == bool(said)


def test_without_a_right_box_the_doubt_says_so():
    assert "no box of the detector has IoU 0.5" in doubt_of(None, 500)
