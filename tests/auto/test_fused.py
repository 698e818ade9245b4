"""Which of several methods' fused boxes an image has."""

import numpy as np

from wend.auto.fused import supported
from wend.pseudo_boxes.fusion import fuse_boxes
from wend.structures.box_table import BoxTable

A, B, C = [0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]
WIDER_A = [0, 0, 10, 20]  # IoU with A 0.5: a box of its own when fused


def boxes_of_images(*images):
    return BoxTable.from_arrays([np.array(boxes, float).reshape(-1, 4) for boxes in images])


def test_further_boxes_are_those_that_two_methods_see_and_the_first_always_stays():
    methods = [
        boxes_of_images([A, B], [A], [A], []),
        boxes_of_images([A, C], [B], [A], [C]),
        boxes_of_images([A, C], [C], [WIDER_A], []),
    ]
    fused = fuse_boxes(methods, use_scores=False)
    assert fused.table.counts.tolist() == [3, 3, 2, 1]
    kept = supported(fused)
    assert kept[0].tolist() == [A, C]
    assert kept.counts.tolist() == [2, 1, 1, 1]
    assert kept[2].tolist() == [A]
