"""wend.data.class_predictions: what is written is read for the right images, or named as wrong."""

import json
import re

import pytest

from wend.data.class_predictions import read_class_predictions, write_class_predictions
from wend.errors import InputError, MissingFileError
from wend.records import ImageRecord

RECORDS = [
    ImageRecord(1, "/a", 9, 9, key="c/a", class_id=7),
    ImageRecord(2, "/b", 9, 9, key="d/b", class_id=0),
]
GOOD = {"c/a": [3, 7, 1, 0, 2], "d/b": [0, 1, 2, 3, 4, 5]}


def read(tmp_path, predictions, **changes):
    content = {"format": "wend-class-predictions-1", "predictions": predictions, **changes}
    file = tmp_path / "classes.json"
    file.write_text(json.dumps(content))
    return read_class_predictions(file, RECORDS)


def test_the_documented_file_is_read_by_image_key(tmp_path):
    found = read(tmp_path, GOOD)
    assert found.class_ids == {1: (3, 7, 1, 0, 2), 2: (0, 1, 2, 3, 4, 5)}
    assert found.source == str(tmp_path / "classes.json")
    # class 7 is second in image 1's list, class 0 first in image 2's
    assert found.ranks(RECORDS).tolist() == [1, 0]


def test_written_file_is_the_documented_one_and_is_read_again(tmp_path):
    file = tmp_path / "new" / "classes.json"
    write_class_predictions(file, GOOD)
    assert json.loads(file.read_text()) == {
        "format": "wend-class-predictions-1",
        "predictions": GOOD,
    }
    assert read_class_predictions(file, RECORDS).class_ids[1] == (3, 7, 1, 0, 2)


def test_predictions_of_other_images_are_passed_over(tmp_path):
    assert len(read(tmp_path, {**GOOD, "x/y": []})) == 2


def test_images_without_a_prediction_are_counted_and_named(tmp_path):
    message = r"classes\.json: 1 of 2 images have no class prediction \(2\)"
    with pytest.raises(InputError, match=message):
        read(tmp_path, {"c/a": GOOD["c/a"]})


def test_fewer_than_five_classes_are_an_error(tmp_path):
    with pytest.raises(
        InputError, match=r"classes\.json: 1 images have fewer than the five classes .*\(1\)"
    ):
        read(tmp_path, {**GOOD, "c/a": [0, 1, 2, 3]})


@pytest.mark.parametrize(
    "classes",
    [
        [],
        [True, 0, 2, 3, 4],
        [0, 1, 2, 3, -1],
        [0, 1, 2, 3, 3],
        [0, 1, 2, 3, 4.0],
        [0, 1, 2, 3, "4"],
        [0, 1, 2, 3, None],
        [[0, 1, 2, 3, 4]],
    ],
    ids=str,
)
def test_classes_that_are_not_distinct_numbers_from_0_are_named(tmp_path, classes):
    message = (
        rf"classes\.json: image 1: expected distinct class numbers from 0, best first, "
        rf"got {re.escape(str(classes))}"
    )
    with pytest.raises(InputError, match=message):
        read(tmp_path, {**GOOD, "c/a": classes})


def test_images_without_a_true_class_are_an_error(tmp_path):
    write_class_predictions(tmp_path / "classes.json", {"c/a": [0, 1, 2, 3, 4]})
    with pytest.raises(InputError, match=r"need the true class, and 1 images have none \(9\)"):
        read_class_predictions(
            tmp_path / "classes.json", [ImageRecord(9, "/a", 9, 9, key="c/a", class_id=None)]
        )


@pytest.mark.parametrize("name", [None, "wend-class-predictions-2", 1])
def test_another_format_is_an_error_that_says_which_was_expected(tmp_path, name):
    with pytest.raises(
        InputError, match=r'classes\.json: expected \{"format": "wend-class-predictions-1"'
    ):
        read(tmp_path, GOOD, format=name)


@pytest.mark.parametrize("content", ["[]", "3", "null", '"wend-class-predictions-1"', "{}"])
def test_json_that_is_no_such_object_is_named(tmp_path, content):
    file = tmp_path / "classes.json"
    file.write_text(content)
    with pytest.raises(
        InputError, match=r'classes\.json: expected \{"format": "wend-class-predictions-1"'
    ):
        read_class_predictions(file, RECORDS)


@pytest.mark.parametrize("predictions", [None, [], {"c/a": 3}, {"c/a": {"0": 1}}, {"c/a": "01234"}])
def test_predictions_that_are_no_object_of_lists_are_named(tmp_path, predictions):
    with pytest.raises(InputError, match=r"classes\.json: entry 'predictions': expected "):
        read(tmp_path, predictions)


def test_cut_file_and_missing_file_are_named(tmp_path):
    file = tmp_path / "classes.json"
    with pytest.raises(MissingFileError, match=r"classes\.json: there is no such file"):
        read_class_predictions(file, RECORDS)
    write_class_predictions(file, GOOD)
    file.write_text(file.read_text()[:-4])
    with pytest.raises(InputError, match=r"classes\.json: not a whole JSON value"):
        read_class_predictions(file, RECORDS)
