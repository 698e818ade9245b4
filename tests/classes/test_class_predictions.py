"""wend.classes.predictions: what is written is read for the right images, or named as wrong."""

import json
import logging
import re

import numpy as np
import pytest

from wend.classes.predictions import (
    explain_chance,
    read_class_predictions,
    read_predictions_file,
    write_class_predictions,
)
from wend.errors import InputError, MissingFileError
from wend.structures.class_predictions import ClassPredictions
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

DATA_SET = DataSet.from_records(
    [
        ImageRecord(1, "/a", 9, 9, key="c/a", class_id=7),
        ImageRecord(2, "/b", 9, 9, key="d/b", class_id=0),
    ]
)
GOOD = {"c/a": [3, 7, 1, 0, 2], "d/b": [0, 1, 2, 3, 4, 5]}


def read(tmp_path, predictions, **changes):
    content = {"format": "wend-class-predictions-1", "predictions": predictions, **changes}
    file = tmp_path / "classes.json"
    file.write_text(json.dumps(content))
    return read_class_predictions(file, DATA_SET)


def test_the_documented_file_is_read_by_image_key(tmp_path):
    loaded = read(tmp_path, GOOD)
    assert loaded.class_ids == {1: (3, 7, 1, 0, 2), 2: (0, 1, 2, 3, 4, 5)}
    assert loaded.source == str(tmp_path / "classes.json")
    # class 7 is second in image 1's list, class 0 first in image 2's
    assert loaded.ranks(DATA_SET).tolist() == [1, 0]


def test_written_file_is_the_documented_one_and_is_read_again(tmp_path):
    file = tmp_path / "new" / "classes.json"
    write_class_predictions(file, GOOD)
    assert json.loads(file.read_text()) == {
        "format": "wend-class-predictions-1",
        "predictions": GOOD,
    }
    assert read_class_predictions(file, DATA_SET).class_ids[1] == (3, 7, 1, 0, 2)


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
    data_set = DataSet.from_records([ImageRecord(9, "/a", 9, 9, key="c/a", class_id=None)])
    with pytest.raises(InputError, match=r"need the true class, and 1 images have none \(9\)"):
        read_class_predictions(tmp_path / "classes.json", data_set)


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
        read_class_predictions(file, DATA_SET)


@pytest.mark.parametrize("predictions", [None, [], {"c/a": 3}, {"c/a": {"0": 1}}, {"c/a": "01234"}])
def test_predictions_that_are_no_object_of_lists_are_named(tmp_path, predictions):
    with pytest.raises(InputError, match=r"classes\.json: entry 'predictions': expected "):
        read(tmp_path, predictions)


def test_cut_file_and_missing_file_are_named(tmp_path):
    file = tmp_path / "classes.json"
    with pytest.raises(MissingFileError, match=r"classes\.json: there is no such file"):
        read_class_predictions(file, DATA_SET)
    write_class_predictions(file, GOOD)
    file.write_text(file.read_text()[:-4])
    with pytest.raises(InputError, match=r"classes\.json: not a whole JSON value"):
        read_class_predictions(file, DATA_SET)


SCORES = {"c/a": [0.5, 0.2, 0.1, 0.1, 0.05], "d/b": [9, 8.5, 8, 7, 6, 5]}


def test_everything_known_is_written_and_read_again(tmp_path):
    file = tmp_path / "classes.json"
    names = [f"n{i}" for i in range(7)] + ["c"]
    names[0] = "d"
    settings = {"model": "efficientnet-b7", "weights_sha256": "ab", "ten_crop": False}
    write_class_predictions(file, GOOD, SCORES, 8, names, settings)
    content = json.loads(file.read_text())
    assert content["scores"] == SCORES
    assert content["model"] == "efficientnet-b7"
    loaded = read_predictions_file(file)
    assert loaded.predictions == GOOD
    assert loaded.scores == SCORES
    assert (loaded.num_classes, list(loaded.class_names), loaded.settings) == (8, names, settings)
    assert len(read_class_predictions(file, DATA_SET)) == 2


def test_old_files_without_the_new_entries_are_read(tmp_path):
    write_class_predictions(tmp_path / "c.json", GOOD)
    loaded = read_predictions_file(tmp_path / "c.json")
    assert (loaded.scores, loaded.num_classes, loaded.class_names, loaded.settings) == (
        {},
        None,
        [],
        {},
    )


def test_fewer_classes_than_the_data_sets_are_refused(tmp_path):
    low = {"c/a": [3, 4, 1, 0, 2], "d/b": [0, 1, 2, 3, 4]}
    with pytest.raises(InputError, match="knows 7 classes, but the data set's go up to number 7"):
        read(tmp_path, low, num_classes=7)
    assert len(read(tmp_path, GOOD, num_classes=8)) == 2
    with pytest.raises(InputError, match="knows 5 classes"):
        read(tmp_path, low, class_names=["d", "e", "f", "g", "h"])


def test_class_names_that_are_not_the_folders_are_refused(tmp_path):
    names = ["d", *"123456", "c"]
    assert len(read(tmp_path, GOOD, class_names=names)) == 2
    assert len(read(tmp_path, GOOD, class_names=["001.D", *names[1:]])) == 2  # CUB numbers folders
    message = r"1 of 2 class names are not .* \(class 7: '6', folder 'c'\); .*label order"
    with pytest.raises(InputError, match=message):
        read(tmp_path, GOOD, class_names=["d", *"12345", "c", "6"])


def test_class_names_are_not_compared_where_folders_are_no_classes(tmp_path):
    records = [ImageRecord(i, f"/val/{i}", 9, 9, class_id=i) for i in range(2)]
    write_class_predictions(
        tmp_path / "c.json",
        {r.key: [0, 1, 2, 3, 4] for r in records},
        class_names=list("abcde"),
    )
    assert len(read_class_predictions(tmp_path / "c.json", DataSet.from_records(records))) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": {"c/a": [1, 1, 1, 1, 1]}}, "entry 'scores': expected an object with the"),
        ({"scores": []}, "entry 'scores': expected an object"),
        ({"scores": {**SCORES, "c/a": [1, 2]}}, "image 'c/a': expected 5 finite numbers"),
        ({"scores": {**SCORES, "c/a": [1, 2, 3, 4, 5]}}, "highest first"),
        ({"scores": {**SCORES, "c/a": [1, None, 0, 0, 0]}}, "finite numbers"),
        ({"num_classes": 0}, "entry 'num_classes': expected a number from 1, got 0"),
        ({"num_classes": "9"}, "entry 'num_classes'"),
        ({"num_classes": 6}, "image 'c/a': class 7, but the file's 6 classes"),
        ({"num_classes": 9, "class_names": ["a"]}, "1 class_names, but num_classes is 9"),
        ({"class_names": [1]}, "entry 'class_names': expected a list of names"),
    ],
    ids=str,
)
def test_entries_that_contradict_each_other_are_named(tmp_path, changes, message):
    with pytest.raises(InputError, match=rf"classes\.json: .*{message}"):
        read(tmp_path, GOOD, **changes)


def chance_case(top1, truth, num_classes=1000):
    """The warning on images with these Top-1 classes and true classes."""
    records = [ImageRecord(i, f"/{i}", 9, 9, class_id=int(c)) for i, c in enumerate(truth)]
    lists = {i: [int(c), *(x for x in range(990, 995))] for i, c in enumerate(top1)}
    return explain_chance(ClassPredictions(lists), DataSet.from_records(records), num_classes)


TRUTH = np.repeat(np.arange(20), 10)  # 200 images


def test_a_permuted_label_order_is_recognized():
    permuted = np.random.default_rng(0).permutation(900)[20:40]
    warning = chance_case(permuted[TRUTH], TRUTH)
    assert re.search(r"Top-1 accuracy is 0\.\d+ %, near the chance of 0\.10 %", warning)
    assert "likely label order (sorted WordNet ids" in warning
    assert "devkit" in warning
    assert "100 % of the images agree" in warning


def test_predictions_without_any_order_name_the_preprocessing_first():
    warning = chance_case(np.random.default_rng(0).integers(30, 900, 200), TRUTH)
    assert re.search(r"likely preprocessing .*600x600 crops; 256/224.*or else label order", warning)


def test_one_class_for_all_images_is_no_label_order():
    warning = chance_case(np.full(200, 950), TRUTH)
    assert "; likely preprocessing" in warning
    assert "weights that were not trained" in warning


def test_classes_counted_from_one_are_recognized():
    assert "every class is +1 off" in chance_case(TRUTH + 1, TRUTH)


def test_few_images_of_a_class_leave_both_causes():
    warning = chance_case(np.full(200, 950), np.arange(200))
    assert "likely label order" in warning
    assert "or preprocessing" in warning


def test_no_warning_above_three_times_chance_or_for_100_images():
    top1 = np.full(200, 950)
    top1[:1] = TRUTH[:1]  # 0.5 % of 0.1 %
    assert chance_case(top1, TRUTH) is None
    top1[:5] = TRUTH[:5]  # 2.5 % of 1 %
    assert "is 2.50 %, near the chance of 1.00 %" in chance_case(top1, TRUTH, 100)
    top1[:6] = TRUTH[:6]  # 3 %
    assert chance_case(top1, TRUTH, 100) is None
    assert chance_case(np.full(100, 950), TRUTH[:100]) is None
    assert chance_case(np.full(101, 950), TRUTH[:101]) is not None


def test_reading_warns_of_chance(tmp_path, caplog):
    records = [ImageRecord(i, f"/c{c}/{i}", 9, 9, class_id=int(c)) for i, c in enumerate(TRUTH)]
    write_class_predictions(
        tmp_path / "c.json", {r.key: [50, 51, 52, 53, 54] for r in records}, num_classes=100
    )
    with caplog.at_level(logging.WARNING):
        read_class_predictions(tmp_path / "c.json", DataSet.from_records(records))
    assert "c.json: Top-1 accuracy is 0.00 %, near the chance of 1.00 %" in caplog.text
