"""wend.formats.coco: pycocotools reads what we write, and rows that are not ours are named."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from wend.errors import InputError, MissingFileError
from wend.evaluation.coco_results import detections_to_coco, read_detections
from wend.files import write_json
from wend.formats.coco import TRUTH, load_coco, records_to_coco, to_coco
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

RECORDS = [
    ImageRecord(11, "/a.jpg", 100, 50, key="c/a.jpg", gt_boxes=[[10, 5, 40, 45], [50, 0, 100, 50]]),
    ImageRecord(12, "/b.jpg", 64, 80, key="c/b.jpg"),  # truth unknown
    ImageRecord(5, "/c.jpg", 30, 30, key="d/c.jpg", gt_boxes=[[0.5, 1.25, 20.5, 9.25]]),
]
DATA_SET = DataSet.from_records(RECORDS, "truth")
ROW = {"image_id": 11, "category_id": 1, "bbox": [10, 5, 30, 40], "score": 0.5}


@pytest.fixture
def truth(tmp_path):
    write_json(tmp_path / "truth.json", records_to_coco(RECORDS))
    return COCO(str(tmp_path / "truth.json"))


def read(tmp_path, content):
    file = tmp_path / "detections.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_detections(file, DATA_SET)


def test_pycocotools_reads_the_truth(truth):
    assert sorted(truth.getImgIds()) == [5, 11, 12]
    assert truth.imgs[11] == {"id": 11, "file_name": "c/a.jpg", "width": 100, "height": 50}
    assert [c["name"] for c in truth.loadCats(truth.getCatIds())] == ["foreground"]
    first, second = truth.loadAnns(truth.getAnnIds(imgIds=[11]))
    assert first["bbox"] == [10, 5, 30, 40]  # 40 - 10 = 30 wide, 45 - 5 = 40 high
    assert first["area"] == 1200
    assert second["bbox"] == [50, 0, 50, 50]
    assert truth.getAnnIds(imgIds=[12]) == []
    assert len(set(truth.getAnnIds())) == 3
    assert min(truth.getAnnIds()) > 0  # COCOeval takes an annotation numbered 0 for "no match"


def test_pycocotools_scores_the_truth_as_detections_with_average_precision_1(truth, tmp_path):
    perfect = detections_to_coco(DATA_SET, DATA_SET.truth.scored())
    write_json(tmp_path / "results.json", perfect)
    evaluation = COCOeval(truth, truth.loadRes(str(tmp_path / "results.json")), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)


def test_detections_are_rows_of_category_1_with_width_and_height():
    boxes = [[[1, 2, 4, 8], [0, 0, 5, 5]], [], []]
    rows = detections_to_coco(DATA_SET, BoxTable.from_lists(boxes, [[0.25, 0.75], [], []]))
    # best first: scores 0.75, 0.25
    assert rows == [
        {"image_id": 11, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 0.75},
        {"image_id": 11, "category_id": 1, "bbox": [1, 2, 3, 6], "score": 0.25},
    ]
    assert detections_to_coco(DATA_SET, BoxTable.empty(3).scored()) == []


def test_detections_written_and_read_again_are_the_same(tmp_path):
    # quarters: x + (x1 - x) is exact in binary
    boxes = [[[0.25, 1.5, 10.75, 20], [3, 4, 5, 6]], [], [[1, 1, 2, 2]]]
    written = BoxTable.from_lists(boxes, [[0.9, 0.1], [], [1 / 3]])
    again = read(tmp_path, detections_to_coco(DATA_SET, written))
    for name in ("offsets", "boxes", "scores"):
        np.testing.assert_array_equal(getattr(again, name), getattr(written, name))


def test_detections_are_in_the_order_of_the_records_and_best_first(tmp_path):
    rows = [
        {**ROW, "image_id": 5, "score": 0.2, "bbox": [1, 1, 1, 1]},
        {**ROW, "image_id": 11},
        {**ROW, "image_id": 5, "score": 0.8, "bbox": [2, 2, 2, 2]},
    ]
    table = read(tmp_path, rows)
    assert table.counts.tolist() == [1, 0, 2]
    assert table[2].tolist() == [[2, 2, 4, 4], [1, 1, 2, 2]]
    assert table.scores_of(2).tolist() == [0.8, 0.2]


def test_no_rows_are_no_boxes_for_every_image(tmp_path):
    assert read(tmp_path, []).counts.tolist() == [0, 0, 0]


def test_row_that_is_no_coco_result_says_what_one_is(tmp_path):
    message = (
        r'detections\.json, entry 1: expected "bbox": .* a list of .*"score"}, got {\'image_id\''
    )
    with pytest.raises(InputError, match=message):
        read(tmp_path, [ROW, {**ROW, "bbox": [0, 0, 1]}])
    with pytest.raises(InputError, match=r'entry 0: expected "category_id": a whole number'):
        read(tmp_path, [{**ROW, "category_id": "dog"}])


@pytest.mark.parametrize("image_id", [99, "11"])
def test_row_of_an_image_that_the_data_set_lacks_is_named(tmp_path, image_id):
    message = f"detections.json, entry 1: image_id {image_id!r} is not in the data set"
    with pytest.raises(InputError, match=re.escape(message)):
        read(tmp_path, [ROW, {**ROW, "image_id": image_id}])


@pytest.mark.parametrize(
    ("content", "kind"), [("{}", "an object"), ("3", "int"), ("null", "NoneType")]
)
def test_file_that_is_no_list_is_named(tmp_path, content, kind):
    with pytest.raises(InputError, match=rf"detections\.json: expected a list of .*, got {kind}"):
        read(tmp_path, content)


def test_cut_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"detections\.json: not a whole JSON value"):
        read(tmp_path, json.dumps([ROW])[:-5])


def test_missing_file_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"nothing\.json: there is no such file"):
        read_detections(tmp_path / "nothing.json", DATA_SET)


@pytest.mark.parametrize("categories", [(7, 9), ()])
def test_truth_with_classes_is_read_as_it_was_written(tmp_path, categories):
    data_set = replace(DATA_SET, category_ids=categories, class_ids=np.array([1, 0, 1]))
    coco = to_coco(data_set, data_set.truth, TRUTH, with_classes=True)
    ids = categories or (0, 1)
    assert [category["id"] for category in coco["categories"]] == list(ids)
    owners = data_set.truth.owner.tolist()
    written = [annotation["category_id"] for annotation in coco["annotations"]]
    assert written == [ids[(1, 0, 1)[owner]] for owner in owners]
    write_json(tmp_path / "truth.json", coco)
    read = load_coco(tmp_path / "truth.json")
    kept = [i for i in range(3) if i in owners or not categories]  # an image's boxes tell its class
    assert [read.class_ids[i] for i in kept] == [(1, 0, 1)[i] for i in kept]
    assert read.category_ids == categories
