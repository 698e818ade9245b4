"""Why a box did not reach the detector, box by box."""

import numpy as np
import pytest

from wend.loading.box_counts import BoxCounts
from wend.loading.crop import CropMapper


def counts(*boxes, scale=2.0, lost=None):
    boxes = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    lost = np.ones(len(boxes), dtype=bool) if lost is None else np.array(lost)
    return BoxCounts.of_image(boxes, boxes * scale - 3, lost)


@pytest.mark.parametrize(
    ("box", "cause"),
    [
        ([0.25, 0.25, 0.75, 0.75], "fractions"),
        ([0, 0, 1, 0.5], "fractions"),
        ([0, 0, 1, 1], "thin"),  # a pixel in the corner
        ([5, 5, 6, 20], "thin"),
        ([5, 5, 20, 6], "thin"),
        ([5, 5, 6.01, 20], "cut"),
        ([0.5, 0.5, 30, 30], "cut"),
    ],
)
def test_each_lost_box_has_one_cause(box, cause):
    assert counts(box) == BoxCounts(images=1, emptied=1, boxes=1, **{cause: 1})


def test_a_box_of_several_pixels_may_be_less_than_one_in_the_crop():
    assert counts([4, 4, 8, 40], scale=0.2).thin == 1


def test_kept_boxes_are_not_looked_at():
    assert counts([0, 0, 1, 1], [5, 5, 9, 9], lost=[False, True]) == BoxCounts(1, boxes=2, cut=1)
    assert counts([0, 0, 1, 1], lost=[False]) == BoxCounts(1, boxes=1)
    assert counts() == BoxCounts(1, without_box=1)


def test_counts_add_up():
    parts = [BoxCounts(1, 0, 1, 2, 1, 1, 0), BoxCounts(1, 1), BoxCounts(1, 0, 0, 4, 0, 0, 3)]
    assert BoxCounts.total(parts) == BoxCounts(3, 1, 1, 6, 1, 1, 3)
    assert BoxCounts.total(parts).lost == 5
    assert BoxCounts.total([]) == BoxCounts()


def test_the_crop_tells_them(tmp_path):
    from PIL import Image

    Image.new("RGB", (80, 72)).save(tmp_path / "a.png")
    boxes = np.array([[0.25, 0.25, 0.75, 0.75], [20, 20, 21, 60], [20, 20, 60, 60], [0, 0, 4, 72]])
    sample = CropMapper(64, 40, train=False)(str(tmp_path / "a.png"), 80, 72, boxes)
    assert sample.counts == BoxCounts(images=1, boxes=4, fractions=1, thin=1, cut=1)
    assert len(sample.boxes) == 1
