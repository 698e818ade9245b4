"""The method that the others agree with, by hand."""

import numpy as np

from wend.auto.agreement import agreement
from wend.structures.box_table import BoxTable

A, HALF_A, FAR = [0, 0, 10, 10], [0, 0, 10, 5], [50, 50, 60, 60]


def test_the_mean_iou_with_the_others_decides():
    tables = {
        "first": BoxTable.from_lists([[A], [A]]),
        "second": BoxTable.from_lists([[HALF_A, A], [A]]),  # only best boxes count
        "third": BoxTable.from_lists([[FAR], []]),  # one image to compare
    }
    agreed = agreement(tables)
    expected = [[1, 0.75, 0], [0.75, 1, 0], [0, 0, 1]]
    np.testing.assert_allclose(agreed.iou, expected)
    np.testing.assert_allclose(agreed.with_others, [0.375, 0.375, 0])
    assert agreed.chosen == "first"
    assert "0.750" in agreed.table()


def test_one_method_is_chosen_alone():
    agreed = agreement({"only": BoxTable.from_lists([[A]])})
    assert (agreed.chosen, agreed.with_others.tolist()) == ("only", [0.0])
