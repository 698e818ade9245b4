"""What looks have in common, by hand."""

import numpy as np
import pytest

from wend.rounds.looks import fuse
from wend.structures.box_table import BoxTable


def table(*images):
    """A table of images, each a list of (box, score)."""
    return BoxTable.from_lists(
        [[box for box, _ in image] for image in images],
        [[score for _, score in image] for image in images],
    )


def test_boxes_of_one_object_become_their_mean_weighted_by_score():
    # IoU of the two: 8 of 10 pixels wide, 10 of 12 in sum -> 80 / 120 = 2/3
    looks = [table([([0, 0, 10, 10], 0.9)]), table([([2, 0, 12, 10], 0.3)])]
    fused = fuse(looks)
    # x: (0 * 0.9 + 2 * 0.3) / 1.2 = 0.5; score: (0.9 + 0.3) / 2
    np.testing.assert_allclose(fused.boxes[0], [[0.5, 0, 10.5, 10]])
    np.testing.assert_allclose(fused.boxes.scores, [0.6])
    np.testing.assert_allclose(fused.agreement, [2 / 3])


def test_a_box_that_only_some_looks_have_scores_and_agrees_as_much_less():
    looks = [
        table([([0, 0, 10, 10], 0.9)]),
        table([([50, 50, 60, 60], 0.6)]),
        table([([0, 0, 10, 8], 0.9)]),
    ]
    fused = fuse(looks)
    np.testing.assert_allclose(fused.boxes[0], [[0, 0, 10, 9], [50, 50, 60, 60]])
    np.testing.assert_allclose(fused.boxes.scores, [0.6, 0.2])
    np.testing.assert_allclose(fused.agreement, [0.8 / 3, 0])  # one of three pairs, no pair


def test_the_best_box_has_the_largest_score_not_the_largest_agreement():
    sure, unsure = [0, 0, 10, 10], [50, 50, 60, 60]
    looks = [table([(sure, 0.9), (unsure, 0.1)]), table([([0, 0, 10, 8], 0.9), (unsure, 0.1)])]
    fused = fuse(looks)
    np.testing.assert_allclose(fused.boxes[0], [[0, 0, 10, 9], unsure])
    np.testing.assert_allclose(fused.agreement, [0.8, 1])


def test_of_many_boxes_the_best_are_fused():
    boxes = [([10 * i, 0, 10 * i + 9, 9], 1 - i / 20) for i in range(15)]
    looks = [table(boxes), table(boxes)]
    assert fuse(looks).boxes.counts.tolist() == [10]
    np.testing.assert_allclose(fuse(looks, 12).boxes[0], [box for box, _ in boxes[:12]])


def test_one_look_stays_as_it_is_and_images_stay_apart():
    look = table([([0, 0, 1, 1], 0.2), ([5, 5, 6, 6], 0.7)], [], [([1, 2, 3, 4], 0.5)])
    fused = fuse([look])
    assert fused.boxes.counts.tolist() == [2, 0, 1]
    np.testing.assert_array_equal(fused.boxes.boxes, look.boxes)
    np.testing.assert_array_equal(fused.boxes.scores, look.scores)
    np.testing.assert_allclose(fused.agreement, 1)


@pytest.mark.parametrize("images", [0, 2])
def test_looks_that_see_nothing(images):
    fused = fuse([table(*[[]] * images)] * 2)
    assert len(fused.boxes) == images
    assert len(fused.agreement) == 0
