"""wend.reports.draw and wend.reports.curve: what a person looks at."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageColor

from wend.errors import MissingFileError
from wend.evaluation.curve import append_to_curve
from wend.reports.curve import draw_curve
from wend.reports.draw import draw_boxes, draw_record, draw_sheet
from wend.reports.likely_boxes import distinct_boxes, likely_score
from wend.reports.roles import OURS, PSEUDO, ROLES, TRUTH
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


def has(image, role, x, y, reach=1):
    """Whether a pixel of about that role's colour is within reach of a point."""
    image, color = np.asarray(image), ImageColor.getrgb(role.color)
    window = image[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1].astype(int)
    return bool((np.abs(window - color).max(-1) < 60).any())


def test_each_kind_of_box_has_its_colour(scene):
    image = np.asarray(draw_record(*arrays(scene), side=200))  # twice the original
    assert image.shape == (100, 200, 3)
    assert has(image, TRUTH, 20, 21)  # beside the corner, where a stroke begins
    assert has(image, PSEUDO, 100, 11)
    assert has(image, OURS, 120, 40)
    assert not has(image, OURS, 20, 50)


def test_further_boxes_are_drawn_only_if_they_score_enough(scene):
    assert has(draw_record(*arrays(scene), side=200), OURS, 10, 30)  # the second scores 0.6
    assert not has(draw_record(*arrays(scene), side=200, min_score=0.7), OURS, 10, 30)
    assert not has(draw_record(*arrays(scene), side=200, max_boxes=1), OURS, 10, 30)


@pytest.mark.parametrize("role", ROLES, ids=[role.title for role in ROLES])
def test_strokes_begin_and_end_at_the_corners_and_leave_gaps_between(role):
    image = Image.new("L", (140, 100), 128)
    draw_boxes(image, np.array([[20, 20, 120, 80]]), role)
    side = np.asarray(image)[20, 20:121]  # the middle of the upper side
    ink = np.abs(side.astype(int) - ImageColor.getcolor(role.color, "L")) < 3
    assert ink[0]
    assert ink[-1]
    starts = 1 + (np.diff(ink.astype(int)) == 1).sum()
    # of 100 pixels: (100 - 12) / 18, (100 - 4.2) / 8.4, (100 - 15) / 27.6 periods, and the last
    expected = {"truth": 5 + 1, "pseudo boxes": 11 + 1, "other boxes": 2 * 3 + 1}
    assert starts == expected.get(role.title, 1)
    assert ink.all() == (role is OURS)


@pytest.mark.parametrize(
    "box", [[5, 5, 5, 5], [-900, -900, 1e6, 1e6], [3, 4, 8, 9], [10, 90, 40, 0]]
)
def test_boxes_of_any_shape_can_be_drawn(box):
    for role in ROLES:
        draw_boxes(Image.new("RGB", (50, 40)), np.array([box], dtype=float), role)


def test_sheet_holds_all_images_and_a_legend(scene, tmp_path):
    record, boxes, scores = scene
    detections = BoxTable.from_lists([boxes] * 5, [scores] * 5)
    shown = draw_sheet(tmp_path / "s.png", [record] * 5, detections, num_images=4, side=60)
    sheet = np.asarray(Image.open(tmp_path / "s.png"))
    assert sheet.shape[0] == 2 * 60 + 24
    assert sheet.shape[1] >= 2 * 60  # wider where the legend is
    assert shown == [record.key] * 4
    assert has(sheet, TRUTH, 6, 24 + 6)  # the file is RGB, not OpenCV's BGR: the truth is reddish


def test_half_of_a_sheets_images_have_several_objects(scene, tmp_path):
    record, *_ = scene
    one = [[10, 10, 30, 40]]
    records = [
        replace(record, image_id=i, key=str(i), gt_boxes=one * (2 if i in (3, 4, 90) else 1))
        for i in range(100)
    ]
    path = tmp_path / "s.png"
    shown = draw_sheet(path, records, BoxTable.empty(100), num_images=4, side=20)
    assert len({"3", "90"} & {*shown}) == 2  # the first and the last of those with two
    assert len(set(shown)) == 4
    assert shown == sorted(shown, key=int)
    assert len(draw_sheet(path, records[3:5], BoxTable.empty(2), num_images=9, side=20)) == 2


def test_a_sheet_draws_the_boxes_that_score_as_likely_ones_do(scene, tmp_path):
    """The second box scores 0.4, far over the rest and under any usual threshold."""
    record, boxes, _ = scene
    detections = BoxTable.from_lists([boxes] * 4, [[0.45, 0.4, 0.1]] * 4)
    draw_sheet(tmp_path / "s.png", [record] * 4, detections, num_images=1, side=200)
    sheet = Image.open(tmp_path / "s.png").crop((0, 24, 200, 124))
    assert has(sheet, OURS, 10, 30)
    assert has(sheet, OURS, 120, 40)
    assert not has(sheet, OURS, 5, 2, reach=0)  # the third's edge


def test_boxes_that_overlap_a_better_one_are_not_distinct():
    boxes = [[0, 0, 10, 10], [1, 0, 11, 10], [2, 0, 21, 10], [30, 0, 40, 10], [30, 0, 40, 9]]
    # the second leaves to the first; the third overlaps the first by 80 of 210, more than a tenth
    table = BoxTable.from_lists([boxes, [], boxes[:1]], [[0.9, 0.8, 0.7, 0.6, 0.5], [], [0.3]])
    distinct = distinct_boxes(table)
    assert distinct.counts.tolist() == [2, 0, 1]
    assert distinct[0].tolist() == [boxes[0], boxes[3]]
    assert distinct.scores.tolist() == [0.9, 0.6, 0.3]
    assert likely_score(distinct) == 0  # of one further box nothing can be said
    assert likely_score(BoxTable.empty(2)) == 0


def test_curve_is_a_picture_whose_line_is_not_empty(tmp_path):
    for epoch in (1, 2, 3):
        append_to_curve(
            tmp_path / "c.csv", epoch, epoch, {"d": {"original": {"gt_known_loc": 30.0 * epoch}}}
        )
    draw_curve(tmp_path / "c.csv", tmp_path / "c.png")
    image = np.asarray(Image.open(tmp_path / "c.png").convert("RGB")).astype(int)
    blue = (0, 114, 178)  # of Okabe and Ito
    assert (np.abs(image - blue).max(-1) < 10).sum() > 200


def test_a_missing_curve_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"c\.csv: there is no such file"):
        draw_curve(tmp_path / "c.csv", tmp_path / "c.png")
