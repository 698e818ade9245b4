"""wend.evaluation.tables and wend.reports.draw: what a person looks at."""

import numpy as np
import pytest
from PIL import Image

from wend.errors import MissingFileError
from wend.evaluation.evaluation import append_to_curve
from wend.evaluation.protocols import get_protocol
from wend.evaluation.scoring import score_all
from wend.evaluation.tables import format_table, labelled_table
from wend.reports.curve import draw_curve
from wend.reports.draw import BLUE, GREEN, RED, draw_record, draw_sheet
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
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


def test_table_shows_numbers_k_protocols_and_what_is_missing(scene):
    record, boxes, scores = scene
    data_set = DataSet.from_records([record])
    detections = BoxTable.from_lists([boxes], [scores])
    rows = {
        "detector (d)": score_all(data_set, detections, [get_protocol("original")], [3]),
        "truth": score_all(data_set, data_set.truth.scored(), [get_protocol("original")], [3]),
    }
    header, _, *body = labelled_table(rows).split("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in (header, *body)]
    assert cells == [  # no interval, no fixed boxes
        ["", "images", "protocol", "metric", "K", "boxes/image", "lowest score", "value"],
        ["detector (d)", "1", "original", "GT-known Loc", "1", "1.00", "0.9", "0.00"],
        ["detector (d)", "1", "original", "GT-known Loc multi", "3", "3.00", "0.2", "0.00"],
        ["truth", "1", "original", "GT-known Loc", "1", "1.00", "1", "100.00"],
        ["truth", "1", "original", "GT-known Loc multi", "3", "1.00", "1", "100.00"],
    ]
    assert labelled_table(rows).split("\n\n")[1].splitlines() == [
        "- per cent; original: original pixels; IoU > 0.5; mean over images",
        "- Top-1 Loc, Top-5 Loc, Top-5 Loc multi: needs class predictions "
        "(--class-predictions, or WEND.CLASS_PREDICTIONS)",
    ]


def test_curve_is_a_picture_whose_line_is_not_empty(tmp_path):
    for epoch in (1, 2, 3):
        append_to_curve(
            tmp_path / "c.csv", epoch, epoch, "d", {"original": {"gt_known_loc": 30.0 * epoch}}
        )
    draw_curve(tmp_path / "c.csv", tmp_path / "c.png")
    image = np.asarray(Image.open(tmp_path / "c.png").convert("RGB")).astype(int)
    matplotlib_blue = (31, 119, 180)
    assert (np.abs(image - matplotlib_blue).max(-1) < 10).sum() > 200


def test_a_missing_curve_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"c\.csv: there is no such file"):
        draw_curve(tmp_path / "c.csv", tmp_path / "c.png")


def test_latex_escapes_what_latex_reads_as_its_own():
    text = format_table(["a_b"], [["5 %"]], ["of 50 %"], "latex")
    assert text.startswith("% of 50 %\n")
    assert "a\\_b" in text
    assert "5 \\%" in text
