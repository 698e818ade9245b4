"""Detections of another kind of numbers are refused, those of a bad detector scored."""

import numpy as np
import pytest

from wend.errors import InputError
from wend.evaluation.detection_rows import DetectionRows, as_read, to_table
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.structures.frame import parse_box_frame
from wend.structures.records import ImageRecord

NUMBER = 40
SIZE = np.array([500.0, 375.0])


def natural(seed, spread=0.15):
    rng = np.random.default_rng(seed)
    half = rng.uniform(0.15, 0.4, (NUMBER, 2))
    centre = rng.normal(0.5, spread, (NUMBER, 2)).clip(half, 1 - half)
    return np.concatenate([centre - half, centre + half], 1) * np.tile(SIZE, 2)


TRUE = natural(0)
DATA_SET = DataSet.from_records(
    [ImageRecord(i, f"{i}.jpg", 500, 375, gt_boxes=TRUE[[i]]) for i in range(NUMBER)], "t"
)


def table(boxes, **options):
    """Two boxes of each image: the given, and a worse one."""
    both = np.concatenate([boxes, boxes * 0.9])
    codes = np.tile(np.arange(NUMBER), 2)
    scores = np.repeat([0.9, 0.1], NUMBER)
    rows = DetectionRows("d.json", "entry", DATA_SET.image_ids, codes, both, scores)
    return to_table(rows, DATA_SET, **options)


def copy(side):
    return TRUE / np.tile(SIZE, 2) * side


CORNERS = np.concatenate([TRUE[:, :2], TRUE[:, :2] + TRUE[:, 2:]], 1)


@pytest.mark.parametrize(
    ("boxes", "said"),
    [
        (copy(1), "40 of 40 best boxes of the images lie within 0..1"),
        (copy(100), "they look like per cent of the image"),
        (copy(224), "they look like pixels of a 224 crop or copy"),
        (CORNERS, "they look like corners x1, y1"),
        (TRUE[:, [1, 0, 3, 2]], "x and y of the boxes"),
        (TRUE + np.tile((TRUE[:, 2:] - TRUE[:, :2]) / 2, 2), "they look like centres cx, cy"),
        (np.where(np.arange(NUMBER)[:, None] < 8, copy(1), TRUE), "8 of 40 best boxes"),
        (copy(1)[::-1], "40 of 40 best boxes of the images lie within 0..1"),  # misses as fractions
    ],
)
def test_another_kind_of_numbers_is_refused_or_counted(boxes, said, caplog):
    with pytest.raises(InputError, match=r"^d\.json: ") as error:
        table(boxes)
    assert said in str(error.value)
    counted, _ = table(boxes, implausible="count")
    assert len(counted.boxes) == 2 * NUMBER
    assert said in caplog.text


@pytest.mark.parametrize(
    "boxes",
    [
        natural(1),
        natural(2) * 1.3,  # a third reaches out
        np.tile([0, 0, 500, 375], (NUMBER, 1)),
        np.tile([-5, -5, 510, 380], (NUMBER, 1)),
        np.tile([0, 0, 0, 0], (NUMBER, 1)),
        np.tile([250, 187.5, 700, 525], (NUMBER, 1)),  # SCR: x = y = 0.5, w = h = 0.9
        np.tile([0, 0, 0.5, 0.5], (NUMBER, 1)),  # collapsed to a corner
        np.tile([0, 0, 50, 50], (NUMBER, 1)),
        np.tile([100, 75, 600, 450], (NUMBER, 1)),
    ],
)
def test_a_bad_detector_is_scored(boxes):
    scored, counts = table(np.asarray(boxes, dtype=np.float64))
    assert (len(scored), counts["rows"]) == (NUMBER, 2 * NUMBER)


@pytest.mark.parametrize(
    ("boxes", "named", "right"),
    [
        (TRUE, "fractions", "original"),
        (TRUE, "squash224", "original"),
        (copy(1), "crop224", "fractions"),
    ],
)
def test_boxes_that_fit_the_truth_in_another_frame_than_the_named_are_refused(boxes, named, right):
    frame = parse_box_frame(named)
    with pytest.raises(InputError, match=f"d.json: .* give --box-frame {right}"):
        table(boxes, frame=frame)
    counted, _ = table(boxes, frame=frame, implausible="count")
    assert len(counted.boxes) == 2 * NUMBER
    table(copy(frame.resize) - frame.offset, frame=frame)


def test_a_runs_own_detections_are_never_refused(caplog):
    ours = BoxTable(np.arange(NUMBER + 1), copy(1), np.ones(NUMBER))
    scored, _ = as_read(DATA_SET, ours, "detections.json")
    assert len(scored.boxes) == NUMBER
    assert "look like fractions" in caplog.text


def test_clipping_comes_after_the_look():
    with pytest.raises(InputError, match="corners"):
        table(CORNERS, outside="clip")
    clipped, counts = table(natural(2) * 1.3, outside="clip")
    assert counts["boxes_outside"] > 0
    assert (clipped.boxes <= np.tile(SIZE, 2)).all()


def test_boxes_most_of_which_reach_out_are_asked_about(caplog):
    table(natural(3) + 150)
    assert "another split may have the same ids" in caplog.text
