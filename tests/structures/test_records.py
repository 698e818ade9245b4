"""wend.structures.records: what travels is checked once, copied and cannot be changed."""

import re

import numpy as np
import pytest

from wend.errors import InputError
from wend.structures.checks import as_boxes
from wend.structures.class_predictions import ClassPredictions
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord


@pytest.mark.parametrize("boxes", [[], np.zeros((0, 4)), np.zeros((0, 4), dtype=np.float32), ()])
def test_no_boxes_have_shape_0_4(boxes):
    assert as_boxes(boxes, "x").shape == (0, 4)


def test_boxes_become_a_read_only_float64_copy():
    given = np.array([[1, 2, 3, 4]], dtype=np.int32)
    boxes = as_boxes(given, "x")
    given[:] = 0
    assert boxes.dtype == np.float64
    assert boxes.tolist() == [[1, 2, 3, 4]]
    with pytest.raises(ValueError, match="read-only"):
        boxes[0, 0] = 9


def test_box_without_area_is_a_box():
    assert as_boxes([[1, 2, 1, 2]], "x").tolist() == [[1, 2, 1, 2]]


@pytest.mark.parametrize(
    ("boxes", "said"),
    [
        ([1, 2, 3, 4], r"shape \(N, 4\), got \(4,\)"),
        ([[1, 2, 3]], r"shape \(N, 4\), got \(1, 3\)"),
        ([[[1, 2, 3, 4]]], r"shape \(N, 4\), got \(1, 1, 4\)"),
        (5, r"shape \(N, 4\), got \(\)"),
        ([[1, 2, 3, 4], [1, 2, 3]], r"rows of four numbers, got \[\[1, 2, 3, 4\], \[1, 2, 3\]\]"),
        ([["a", 2, 3, 4]], r"rows of four numbers, got \[\['a', 2, 3, 4\]\]"),
        ({"x": 1}, r"rows of four numbers, got \{'x': 1\}"),
        ([[0, 0, 1, 1], [0, 0, 1, float("nan")]], r"box \[0\.0, 0\.0, 1\.0, nan\] is not four"),
        ([[0, 0, float("inf"), 1]], r"box \[0\.0, 0\.0, inf, 1\.0\] is not four finite"),
        ([[0, 0, None, 1]], r"rows of four numbers, got \[\[0, 0, None, 1\]\]"),
        ([[0, 0, 1, 1], [3, 0, 2, 1]], r"box \[3\.0, 0\.0, 2\.0, 1\.0\] ends before it starts"),
        ([[0, 3, 1, 2]], r"box \[0\.0, 3\.0, 1\.0, 2\.0\] ends before it starts.*y0 <= y1"),
    ],
)
def test_what_is_no_box_is_named_with_its_value(boxes, said):
    with pytest.raises(InputError, match=rf"^some\.jpg: .*{said}"):
        as_boxes(boxes, "some.jpg")


@pytest.mark.parametrize("name", ["gt_boxes", "pseudo_boxes"])
def test_record_checks_and_keeps_both_kinds_of_boxes(name):
    record = ImageRecord(1, "/a.jpg", 10, 10, **{name: [[1, 2, 3, 4]]})
    assert getattr(record, name).tolist() == [[1, 2, 3, 4]]
    assert getattr(record, {"gt_boxes": "pseudo_boxes", "pseudo_boxes": "gt_boxes"}[name]).size == 0
    with pytest.raises(InputError, match=rf"/a\.jpg, {name}: box \[5\.0, .*ends before it starts"):
        ImageRecord(1, "/a.jpg", 10, 10, **{name: [[5, 2, 3, 4]]})


@pytest.mark.parametrize("size", [(0, 10), (10, 0), (-3, 10), (float("nan"), 10)])
def test_record_of_no_size_is_named(size):
    with pytest.raises(InputError, match=rf"^/a\.jpg: size {size[0]}x{size[1]} is not positive"):
        ImageRecord(1, "/a.jpg", *size)


def test_rank_is_the_place_of_the_true_class():
    records = [ImageRecord(i, "/a", 1, 1, class_id=c) for i, c in enumerate((4, 0, 9, 6))]
    data_set = DataSet.from_records(records)
    predictions = ClassPredictions(
        {
            0: [4, 1, 2, 3, 5],  # first
            1: [4, 1, 2, 3, 0],  # fifth
            2: [4, 1, 2, 3, 0],  # not in the list of five: behind it
            3: np.array([1, 2, 3, 4, 5, 7, 6]),  # seventh: no top-5 hit
        }
    )
    assert predictions.ranks(data_set).tolist() == [0, 4, 5, 6]
    # rank 0 is a top-1 hit, ranks below 5 are top-5 hits
    assert (predictions.ranks(data_set) < 5).tolist() == [True, True, False, False]
    assert predictions.ranks(data_set.take([3, 2, 1, 0])).tolist() == [6, 5, 4, 0]


@pytest.mark.parametrize(
    "classes",
    [[], [True, 0, 2, 3, 4], [0, 1, 2, 3, -1], [0, 0, 1, 2, 3], [0, 1.0, 2, 3, 4], ["0"], [None]],
    ids=str,
)
def test_classes_that_are_not_distinct_numbers_from_0_are_named(classes):
    message = (
        rf"^b7\.json: image 'x': expected distinct class numbers from 0.*{re.escape(str(classes))}"
    )
    with pytest.raises(InputError, match=message):
        ClassPredictions({"x": classes}, source="b7.json")


@pytest.mark.parametrize(
    ("class_id", "predictions", "said"),
    [
        (0, {}, r"1 of 1 images have no class prediction \(8\)"),
        (None, {8: [0, 1, 2, 3, 4]}, r"1 images have none \(8\); leave WEND\.CLASS_PREDICTIONS"),
        (0, {8: [0, 1, 2, 3]}, r"1 images have fewer than the five classes .*\(8\)"),
    ],
)
def test_predictions_that_do_not_cover_the_images_are_an_error(class_id, predictions, said):
    data_set = DataSet.from_records([ImageRecord(8, "/a", 1, 1, class_id=class_id)])
    with pytest.raises(InputError, match=rf"^b7\.json: .*{said}"):
        ClassPredictions(predictions, source="b7.json").ranks(data_set)


def test_long_lists_of_missing_images_are_cut_and_counted():
    data_set = DataSet.from_records(ImageRecord(i, "/a", 1, 1, class_id=0) for i in range(10))
    with pytest.raises(InputError, match=r"10 of 10 .*\(0, 1, 2 and 7 more\)"):
        ClassPredictions({}).check_covers(data_set)
