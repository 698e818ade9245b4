"""The method that the others agree with, by hand."""

import numpy as np
import pytest

from wend.evaluation.agreement import agreement
from wend.structures.box_table import BoxTable

LEFT, RIGHT = [0, 0, 10, 20], [10, 0, 20, 20]
HALF_LEFT = [0, 0, 10, 10]
SIZES = np.array([[20, 20], [20, 20]])


def test_agreement_is_mean_iou_and_what_of_it_is_beyond_other_images():
    tables = {
        "first": BoxTable.from_lists([[LEFT], [RIGHT]]),
        "second": BoxTable.from_lists([[HALF_LEFT, RIGHT], [RIGHT]]),  # only best boxes count
        "third": BoxTable.from_lists([[LEFT], [LEFT]]),  # the same on every image
        "fourth": BoxTable.from_lists([[], [RIGHT]]),
    }
    agreed = agreement(tables, SIZES)
    # first and second: same (0.5 + 1) / 2; of the other image 0 and 0
    # first and third: same (1 + 0) / 2; chance (1 + 0) / 2
    # second and third: same (0.5 + 0) / 2; chance (0.5 + 0) / 2
    np.testing.assert_allclose(
        agreed.iou[:3, :3], [[1, 0.75, 0.5], [0.75, 1, 0.25], [0.5, 0.25, 1]]
    )
    np.testing.assert_allclose(agreed.beyond[:3, :3], [[1, 0.75, 0], [0.75, 1, 0], [0, 0, 1]])
    assert agreed.iou[3].tolist() == [1, 1, 0, 1]  # one image to compare, no chance
    np.testing.assert_allclose(agreed.with_others, np.array([1.75, 1.75, 0, 2]) / 3)
    assert agreed.names[agreed.most] == "fourth"
    assert agreed.chosen == "first"  # a difference of two images is none
    assert "fourth" in agreed.reason
    assert "0.750" in agreed.table()


def test_another_than_the_first_is_chosen_where_the_difference_is_beyond_doubt():
    places = [[x, y, x + 10, y + 10] for x in range(0, 90, 10) for y in range(0, 90, 20)]
    agreeing = BoxTable.from_lists([[place] for place in places])
    elsewhere = BoxTable.from_lists([[place] for place in places[::-1]])
    sizes = np.full((len(places), 2), 100)
    agreed = agreement({"wrong": elsewhere, "a": agreeing, "b": agreeing}, sizes)
    assert agreed.chosen == "a"
    assert agreed.reason == "which the others agree with most"
    np.testing.assert_allclose(np.nanmean(agreed.of_images, 1), agreed.with_others, atol=1e-12)


def test_boxes_are_compared_as_fractions_where_images_differ_in_size():
    boxes = BoxTable.from_lists([[[0, 0, 10, 10]], [[0, 0, 100, 100]]])
    same = agreement({"a": boxes, "b": boxes}, np.array([[20, 20], [200, 200]]))
    assert same.iou[0, 1] == 1
    assert same.beyond[0, 1] == pytest.approx(0)  # every image has the same box


def test_one_method_is_chosen_alone():
    agreed = agreement({"only": BoxTable.from_lists([[LEFT]])}, SIZES[:1])
    assert (agreed.chosen, agreed.with_others.tolist()) == ("only", [0.0])
    nothing = agreement({"none": BoxTable.empty(2), "nor": BoxTable.empty(2)}, SIZES)
    assert nothing.chosen == "none"
