"""projects/reproduce/disturb.py: the share that is right, what is replaced, and the way back."""

import json
import sys

import numpy as np
import pytest
from engine_runs import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "projects" / "reproduce"))

import disturb

from wend.errors import InputError
from wend.pseudo_boxes import join_boxes, read_boxes
from wend.structures.boxes import paired_iou
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

TRUTH = np.array([20.0, 20.0, 60.0, 50.0])


@pytest.fixture(scope="module")
def data_set():
    """Fifty images of one object; of every fifth the pseudo box is the corner (0, 0, 10, 10)."""
    boxes = [np.array([0, 0, 10, 10]) if i % 5 == 0 else TRUTH + 1 for i in range(50)]
    rows = [
        ImageRecord(i, f"c/{i}.jpg", 100, 80, gt_boxes=TRUTH[None], pseudo_boxes=box[None])
        for i, box in enumerate(boxes)
    ]
    return DataSet.from_records(rows, "birds")


def right(boxes):
    return paired_iou(boxes.boxes, TRUTH[None]) > 0.5


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_exactly_the_share_is_right_and_the_rest_is_as_given(data_set, share):
    disturbed = disturb.disturb(data_set, data_set.pseudo_boxes, share, seed=0)
    assert right(disturbed.boxes).sum() == 50 * share
    same = (disturbed.boxes.boxes == data_set.pseudo_boxes.boxes).all(1)
    assert same[::5].all()  # what was wrong stays
    assert same.sum() == 10 + 50 * share
    counts = disturbed.counts()
    assert (counts["right"], counts["wrong as given"]) == (50 * share, 10)


def test_kinds_have_their_proportions_and_forms(data_set):
    disturbed = disturb.disturb(data_set, data_set.pseudo_boxes, 0.0, seed=3)
    counts = disturbed.counts()
    assert [counts[kind] for kind in disturb.PROPORTIONS] == [16, 12, 8, 4]  # of 40
    box, size = TRUTH + 1, np.array([40.0, 30.0])
    for new, kind in zip(disturbed.boxes.boxes, disturbed.kinds, strict=True):
        low, high = new[:2], new[2:]
        assert (low >= 0).all()
        assert (high <= (100, 80)).all()
        if kind == "part":
            assert (low >= box[:2]).all()
            assert (high <= box[2:]).all()
            assert ((high - low) / size <= 0.68 + 1e-9).all()
        elif kind == "context":
            assert (high - low > size).all()
        elif kind == "shift":
            assert (np.abs((low + high) / 2 - (box[:2] + box[2:]) / 2) > 0.15 * size).any()
        elif kind == "whole":
            assert new.tolist() == [0, 0, 100, 80]


def test_smaller_shares_keep_what_is_wrong_at_larger_ones(data_set):
    some, more = (
        disturb.disturb(data_set, data_set.pseudo_boxes, share, seed=1) for share in (0.5, 0.2)
    )
    changed = (some.boxes.boxes != data_set.pseudo_boxes.boxes).any(1)
    assert changed.sum() == 15
    assert (some.boxes.boxes[changed] == more.boxes.boxes[changed]).all()
    again = disturb.disturb(data_set, data_set.pseudo_boxes, 0.2, seed=1)
    assert (again.boxes.boxes == more.boxes.boxes).all()
    other = disturb.disturb(data_set, data_set.pseudo_boxes, 0.2, seed=2)
    assert (other.boxes.boxes != more.boxes.boxes).any()


def test_the_file_is_read_back_by_the_coco_source(data_set, tmp_path):
    disturbed = disturb.disturb(data_set, data_set.pseudo_boxes, 0.4, seed=0)
    file = tmp_path / "a b" / "ü.json"
    disturb.write(file, data_set, disturbed, {"seed": 0})
    boxes = read_boxes({"source": "coco", "path": str(file)})
    table, _ = join_boxes(data_set.keys, data_set.frame_sizes, boxes)
    np.testing.assert_allclose(table.boxes, disturbed.boxes.boxes, atol=1e-9)
    info = json.loads(file.read_text())["info"]["settings"]
    assert info == {"seed": 0, "counts": disturbed.counts()}


@pytest.mark.parametrize(
    ("share", "weights", "message"),
    [
        (0.9, None, "only 0.8000 are right; give at most that"),
        (0.1, {"none": 1.0}, "too few"),
    ],
)
def test_a_share_that_cannot_be_reached_is_an_error(data_set, share, weights, message, monkeypatch):
    if weights:  # a kind that changes nothing
        monkeypatch.setattr(disturb, "draw", lambda kind, box, frame, rng: box)
    with pytest.raises(InputError, match=message):
        disturb.disturb(data_set, data_set.pseudo_boxes, share, 0, weights)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["half=1"], "--kinds half=1: expected KIND=WEIGHT"),
        (["part"], "expected KIND=WEIGHT"),
        (["part=-1", "whole=2"], "weights >= 0"),
        (["part=0"], "not all of them 0"),
    ],
)
def test_wrong_kinds_are_named(texts, message):
    with pytest.raises(InputError, match=message):
        disturb.read_kinds(texts)


def test_kinds_are_weights_that_add_up_to_one():
    assert disturb.read_kinds(["part=3", "whole=1"]) == {
        **{"part": 0.75, "context": 0.0, "shift": 0.0, "whole": 0.25}
    }


def test_the_command_says_what_is_missing(capsys, tmp_path):
    status = disturb.main(["none", "--right", "0.5", "--output", str(tmp_path / "x.json")])
    assert status == 2
    assert "unknown data set 'none'" in capsys.readouterr().err
    assert not (tmp_path / "x.json").exists()
