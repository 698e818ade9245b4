"""A round is judged by what its detectors agree on with boxes that they have not seen."""

import numpy as np
import pytest

from wend.rounds.acceptance import held_out_agreement, judge
from wend.structures.box_table import BoxTable

SIZES = np.full((40, 2), 100)


def places(rng, number=40):
    """A box of 20 pixels at a drawn place of each image."""
    corner = rng.uniform(0, 80, (number, 2))
    return np.concatenate([corner, corner + 20], 1)[:, None]


def table(boxes):
    return BoxTable.from_lists(boxes)


def test_agreement_is_that_beyond_chance():
    boxes = places(np.random.default_rng(0))
    iou, of_images = held_out_agreement(table(boxes), table(boxes), SIZES)
    assert iou == pytest.approx(1)
    assert of_images.mean() == pytest.approx(1)
    middle = np.zeros_like(boxes) + np.array(
        [40.0, 40, 60, 60]
    )  # the same in every image: chance alone
    iou, of_images = held_out_agreement(table(middle), table(boxes), SIZES)
    assert iou > 0.02
    assert abs(of_images.mean()) < 1e-9


def test_an_image_without_a_prediction_counts_as_chance():
    boxes = places(np.random.default_rng(0))
    half = [box if i % 2 else np.zeros((0, 4)) for i, box in enumerate(boxes)]
    iou, of_images = held_out_agreement(table(half), table(boxes), SIZES)
    assert iou == pytest.approx(0.5)
    assert (of_images[::2] == 0).all()
    assert of_images.mean() == pytest.approx(0.5)
    nothing = held_out_agreement(table([np.zeros((0, 4))] * 40), table(boxes), SIZES)
    assert nothing[0] == 0
    assert (nothing[1] == 0).all()


def test_noise_of_the_given_boxes_does_not_hide_which_detector_is_better():
    """60 % of the given boxes are anywhere; of two detectors the one that errs less agrees more."""
    rng = np.random.default_rng(1)
    right, given = places(rng, 150), places(rng, 150)
    given[: int(0.4 * 150)] = right[: int(0.4 * 150)]
    given = given[(order := rng.permutation(150))]
    right = right[order]
    sizes = np.full((150, 2), 100)
    good, bad = right + rng.normal(0, 1, right.shape), right + rng.normal(0, 6, right.shape)
    values = [
        held_out_agreement(table(np.sort(b.reshape(-1, 2, 2), 1).reshape(-1, 1, 4)), given, sizes)
        for b, given in ((good, table(given)), (bad, table(given)))
    ]
    better, worse = (of_images for _, of_images in values)
    assert judge(better, worse).accepted
    assert not judge(worse, better).accepted


@pytest.mark.parametrize(
    ("now", "before", "accepted"),
    [
        ([0.5, 0.6, 0.7, 0.6], None, True),
        ([0.1, -0.1, 0.1, -0.1], None, False),  # the detectors have learned nothing
        ([0.5, 0.6, 0.7, 0.6], [0.8, 0.9, 1.0, 0.8], False),  # -0.3, -0.3, -0.3, -0.2
        ([0.5, 0.6, 0.7, 0.6], [0.6, 0.5, 0.8, 0.5], True),  # -0.1, 0.1, -0.1, 0.1: no fall
        ([0.5, 0.6], [0.5, 0.6], True),  # nothing differs
        ([0.5], [0.9], True),  # an image tells nothing
    ],
)
def test_verdict(now, before, accepted):
    before = None if before is None else np.array(before)
    assert judge(np.array(now), before).accepted is accepted
