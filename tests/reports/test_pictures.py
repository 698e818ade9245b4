"""wend.reports.draw and wend.reports.curve: what a person looks at."""

import numpy as np
import pytest
from PIL import Image

from wend.errors import MissingFileError
from wend.evaluation.evaluation import append_to_curve
from wend.reports.curve import draw_curve
from wend.reports.draw import BLUE, GREEN, RED, draw_record, draw_sheet
from wend.structures.box_table import BoxTable
from wend.structures.records import ImageRecord


@pytest.fixture
def scene(tmp_path):
    path = tmp_path / "image.png"
    Image.new("RGB", (100, 50), (0, 0, 0)).save(path)
    record = ImageRecord(
        1,
        str(path),
        100,
        50,
        class_id=0,
        gt_boxes=[[10, 10, 30, 40]],
        pseudo_boxes=[[50, 5, 90, 45]],
    )
    boxes = [[60, 10, 80, 30], [5, 5, 20, 20], [1, 1, 4, 4]]
    return record, boxes, [0.9, 0.6, 0.2]


def arrays(scene):
    record, boxes, scores = scene
    return record, np.array(boxes), np.array(scores)


def has(image, color, x, y, reach=1):
    """Whether a pixel of about that colour is within reach of a point."""
    image = np.asarray(image)
    window = image[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1].astype(int)
    return bool((np.abs(window - color).max(-1) < 60).any())


def test_truth_is_red_pseudo_boxes_blue_and_ours_green(scene):
    image = np.asarray(draw_record(*arrays(scene), side=200))  # twice the original
    assert image.shape == (100, 200, 3)
    assert has(image, RED, 20, 50)
    assert has(image, BLUE, 100, 50)
    assert has(image, GREEN, 120, 40)
    assert not has(image, GREEN, 20, 50)


def test_further_boxes_are_drawn_only_if_they_score_enough(scene):
    assert has(draw_record(*arrays(scene), side=200), GREEN, 10, 30)  # the second scores 0.6
    assert not has(draw_record(*arrays(scene), side=200, min_score=0.7), GREEN, 10, 30)
    assert not has(draw_record(*arrays(scene), side=200, max_boxes=1), GREEN, 10, 30)


def test_sheet_holds_all_images_and_a_legend(scene, tmp_path):
    record, boxes, scores = scene
    detections = BoxTable.from_lists([boxes] * 5, [scores] * 5)
    shown = draw_sheet(tmp_path / "s.png", [record] * 5, detections, num_images=4, side=60)
    sheet = np.asarray(Image.open(tmp_path / "s.png"))
    assert sheet.shape == (2 * 60 + 24, 2 * 60, 3)
    assert shown == [record.key] * 4
    assert has(sheet, RED, 6, 24 + 15)  # the file is RGB, not OpenCV's BGR: the truth is red


def test_curve_is_a_picture_whose_line_is_not_empty(tmp_path):
    for epoch in (1, 2, 3):
        append_to_curve(
            tmp_path / "c.csv", epoch, epoch, "d", {"original": {"gt_known_loc": 30.0 * epoch}}
        )
    draw_curve(tmp_path / "c.csv", tmp_path / "c.png")
    image = np.asarray(Image.open(tmp_path / "c.png").convert("RGB")).astype(int)
    blue = (0, 114, 178)  # of Okabe and Ito
    assert (np.abs(image - blue).max(-1) < 10).sum() > 200


def test_a_missing_curve_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"c\.csv: there is no such file"):
        draw_curve(tmp_path / "c.csv", tmp_path / "c.png")
