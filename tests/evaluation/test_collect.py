"""wend.evaluation.collect: detections by image id become the data set's table, or an error."""

import numpy as np
import pytest

from wend.errors import InputError
from wend.evaluation.collect import DetectionCollector, detection_table
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

DATA_SET = DataSet.from_records(ImageRecord(i, "x", 10, 10) for i in ("c/a.jpg", "b", "d"))
BOX = [[0, 0, 5, 5]]


def test_images_come_in_any_order_and_boxes_best_first_with_ties_in_their_order():
    boxes = [[i, 0, i + 1, 1] for i in range(6)]
    detections = {
        "d": (boxes, [0.1, 0.5, 0.9, 0.5, 0.1, 0.5]),
        "b": ([], []),
        "c/a.jpg": (np.array(BOX, np.float32), np.array([2], np.float32)),
    }
    for given in (detections, [(image_id, *pair) for image_id, pair in detections.items()]):
        table = detection_table(DATA_SET, given)
        assert table.counts.tolist() == [1, 0, 6]
        assert table[0].tolist() == BOX
        assert table[2][:, 0].tolist() == [2, 1, 3, 5, 0, 4]
        assert table.scores_of(2).tolist() == [0.9, 0.5, 0.5, 0.5, 0.1, 0.1]


def test_what_was_added_is_a_copy():
    collector = DetectionCollector(DATA_SET)
    scores = np.array([0.1, 0.2])
    collector.add("b", BOX * 2, scores)
    scores[:] = 7
    collector.add("d")
    other = DetectionCollector(DATA_SET)  # of another process
    other.add("c/a.jpg", BOX, [0.5])
    collector.rows += other.rows
    assert len(collector) == 3
    assert collector.table().scores.tolist() == [0.5, 0.2, 0.1]


def test_missing_doubled_and_unknown_images_are_all_named():
    collector = DetectionCollector(DATA_SET)
    for image_id in ("c/a.jpg", "c/a.jpg", "b", 77):
        collector.add(image_id, BOX, [1.0])
    with pytest.raises(
        InputError,
        match=r"each of the 3 images of the data set once: 1 missing \(d\); "
        r"1 there more than once \(c/a.jpg\); 1 not of the data set \(77\)$",
    ):
        collector.table()


@pytest.mark.parametrize(
    ("boxes", "scores", "said"),
    [
        (BOX, [0.5, 0.5], "1 boxes but 2 scores"),
        ([], [0.5], "0 boxes but 1 scores"),
        (BOX, [float("nan")], "score nan is not finite"),
        (BOX * 2, [0.5, -float("inf")], "score -inf is not finite"),
        (BOX, ["high"], r"expected scores as numbers, got \['high'\]"),
        ([[0, 0, 1, float("nan")]], [0.5], "is not four finite numbers"),
    ],
)
def test_detections_that_do_not_fit_are_named_with_their_image(boxes, scores, said):
    with pytest.raises(InputError, match=f"^detections of image 'c/a.jpg': .*{said}"):
        DetectionCollector(DATA_SET).add("c/a.jpg", boxes, scores)
