"""Scores of boxes in Detectron2's dicts and batches."""

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("detectron2", reason="Detectron2 is not installed")
from detectron2.structures import BoxMode

from wend.d2 import WSOLDatasetMapper
from wend.d2.catalog import MappedImages, data_set_of_dicts, dataset_dict, dataset_dicts
from wend.errors import InputError
from wend.loading.selection import Selection
from wend.structures.records import ImageRecord

pytestmark = pytest.mark.detectron2


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(path)
    return str(path)


def a_dict(photo, *scores):
    rows = [
        {"bbox": [5.0 * i, 2.0, 30.0, 30.0], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}
        | ({} if score is None else {"score": score})
        for i, score in enumerate(scores)
    ]
    about = {"file_name": photo, "image_id": 7, "width": 60, "height": 40}
    return {**about, "annotations": rows}


def test_instances_have_the_annotations_scores_and_1_where_there_is_none(photo):
    mapper = WSOLDatasetMapper(True, resize=64, crop=64)
    mapped = mapper(a_dict(photo, 0.25, None, np.float32(0.5), 1))
    assert mapped["instances"].gt_scores.tolist() == [0.25, 1.0, 0.5, 1.0]
    assert mapper(a_dict(photo))["instances"].gt_scores.shape == (0,)


@pytest.mark.parametrize("score", [1.5, -0.1, float("nan"), "0.5", None, True])
def test_a_score_that_is_no_share_names_the_image(photo, score):
    entry = a_dict(photo, 0.5)
    entry["annotations"][0]["score"] = score
    with pytest.raises(InputError, match=r"a\.png: an annotation: score: expected a number from 0"):
        WSOLDatasetMapper(True, resize=64, crop=64)(entry)


def test_dicts_registered_with_detectron2_alone_keep_their_scores(photo):
    other = a_dict("b.png", None) | {"image_id": 8}
    data_set = data_set_of_dicts("theirs", [a_dict(photo, 0.25, 0.75), other])
    assert data_set.training_boxes.scores.tolist() == [0.75, 0.25, 1.0]
    mapper = WSOLDatasetMapper(True, resize=64, crop=64)
    mapped = MappedImages(Selection([data_set], with_boxes=True), mapper)[0]
    assert mapped["instances"].gt_scores.tolist() == [0.75, 0.25]
    unscored = data_set_of_dicts("theirs", [a_dict(photo, None)])
    assert unscored.training_boxes.scores is None


def test_a_registered_data_sets_dicts_have_scores_in_0_and_1(register, photo):
    boxes = [[0, 0, 9, 9], [3, 3, 30, 30]]
    rows = [
        ImageRecord(1, photo, 60, 40, pseudo_boxes=boxes, pseudo_scores=[-3, 8]),
        ImageRecord(2, "b.png", 60, 40),
    ]
    register("scored", lambda: rows)
    first, second = dataset_dicts("scored")
    assert [row["score"] for row in first["annotations"]] == [1.0, 0.5]
    assert [row["bbox"] for row in first["annotations"]] == [boxes[1], boxes[0]]
    assert second["annotations"] == []


def test_boxes_without_scores_have_none_in_their_dict():
    record = ImageRecord(1, "a.png", 60, 40)
    (row,) = dataset_dict(record, np.array([[0.0, 0, 9, 9]]))["annotations"]
    assert "score" not in row
