"""Scores of pseudo boxes, from the file of their source to the batch of either engine."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from wend.cli.parser import main
from wend.datasets.catalog import DataSets
from wend.datasets.store import INFO_FILE, open_store
from wend.datasets.store_writer import write_store
from wend.errors import InputError
from wend.loading.crop import CropMapper
from wend.loading.selection import Selection
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord
from wend.structures.unit_scores import describe_scores, rescaled

SIDE = 40
LOG_ODDS = (0.0, 800.0, -800.0, np.log(3))  # 1/2, 1, 0, 3/4
# [x, y, w, h] and score, worst first: a table has the best first
BOXES = {
    "a.png": [([0, 0, 4, 4], 0.25), ([10, 10, 20, 20], 0.5), ([5, 20, 30, 15], 1.0)],
    "b.png": [],
    "c.png": [([8, 4, 16, 30], 0.125)],
}


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A data set ``photos`` of a folder whose boxes, with scores, are in COCO's JSON."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, name in enumerate(BOXES):
        pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / name)
    write_boxes(tmp_path, BOXES)
    (tmp_path / "photos.yaml").write_text(
        "name: photos\nformat: folder\nimages: ./photos\n"
        "pseudo_boxes: {source: coco, path: ./boxes.json}\n"
    )
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    return tmp_path


def write_boxes(root, boxes):
    rows = [
        {"image_id": name, "category_id": 1, "bbox": box}
        | ({} if score is None else {"score": score})
        for name, each in boxes.items()
        for box, score in each
    ]
    (root / "boxes.json").write_text(json.dumps(rows))


def declared(root):
    return DataSets(root).get(str(root / "photos.yaml"))


def test_a_data_set_has_the_scores_of_its_source_best_first(root):
    data_set = declared(root)
    assert data_set.pseudo_boxes.scores.tolist() == [1.0, 0.5, 0.25, 0.125]
    assert data_set[0].pseudo_scores.tolist() == [1.0, 0.5, 0.25]
    again = DataSet.from_records(list(data_set), "again")
    assert again.pseudo_boxes.scores.tolist() == data_set.pseudo_boxes.scores.tolist()
    assert again.pseudo_boxes.boxes.tolist() == data_set.pseudo_boxes.boxes.tolist()


def test_an_imported_store_has_the_scores_and_of_boxes_without_scores_none(root, tmp_path):
    data_set = declared(root)
    write_store(tmp_path / "scored", data_set, root)
    table = open_store(tmp_path / "scored", root).pseudo_boxes
    assert table.scores.tobytes() == data_set.pseudo_boxes.scores.tobytes()
    assert table.boxes.tobytes() == data_set.pseudo_boxes.boxes.tobytes()
    plain = replace(data_set, pseudo_boxes=replace(data_set.pseudo_boxes, scores=None))
    write_store(tmp_path / "plain", plain, root)
    assert open_store(tmp_path / "plain", root).pseudo_boxes.scores is None
    bytes_more = [(tmp_path / name / INFO_FILE).read_text() for name in ("scored", "plain")]
    scored, unscored = (json.loads(text)["bytes"] for text in bytes_more)
    assert scored - unscored < 1000  # 4 boxes; a column's header is of some hundreds of bytes


def test_a_store_from_before_scores_opens_and_is_imported_again(root, capsys):
    declaration = str(root / "photos.yaml")
    assert main(["data", "import", declaration]) == 0
    folder = root / ".wend" / "photos"
    info = json.loads((folder / INFO_FILE).read_text())
    del info["scores"], info["columns"]["pseudo_scores"], info["columns"]["pseudo_scores.offsets"]
    (folder / INFO_FILE).write_text(json.dumps(info))
    capsys.readouterr()
    old = declared(root)
    assert old.pseudo_boxes.scores is None
    assert len(old.pseudo_boxes.boxes) == 4
    assert "photos: the store is of a version that kept no scores" in capsys.readouterr().out
    assert main(["data", "import", declaration]) == 0
    assert "was made without scores of boxes; importing again" in capsys.readouterr().out
    assert declared(root).pseudo_boxes.scores.tolist() == [1.0, 0.5, 0.25, 0.125]


def test_a_selection_has_the_scores_of_the_boxes_that_are_learned_from(root):
    data_set = declared(root)
    chosen = Selection([data_set, data_set], with_boxes=True)
    assert [image.scores.tolist() for image in chosen] == [[1.0, 0.5, 0.25], [0.125]] * 2
    truth = replace(data_set, truth=BoxTable.from_lists([[[0, 0, 9, 9]]] * 3), train_on="gt_boxes")
    assert [image.scores for image in Selection([truth], with_boxes=True)] == [None] * 3


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([-2.0, 3.5, 0.1, 3.5], [0.25, 1.0, 0.5, 1.0]),  # log-odds: shares of no better boxes
        ([90.0, 10.0, 50.0, 99.0], [0.75, 0.25, 0.5, 1.0]),  # per cent
        ([7.0, 7.0], [1.0, 1.0]),
        ([1 + 1e-7, -1e-8, 0.5], [1.0, 0.0, 0.5]),  # a writer's rounding
    ],
    ids=["log-odds", "per cent", "equal", "rounded"],
)
def test_scores_outside_0_and_1_become_shares_in_the_same_order(scores, expected):
    assert rescaled(np.array(scores)).tolist() == expected


@pytest.mark.parametrize("scores", [[0.0, 1.0, 0.3], []], ids=["in it", "no box"])
def test_scores_in_0_and_1_count_as_they_are(scores):
    assert rescaled(np.array(scores)) is None


def test_scores_of_another_unit_are_said_and_reach_the_batch_in_order(root):
    write_boxes(root, {"a.png": [([0, 0, 9, 9], -1.5), ([9, 9, 9, 9], 2.5)]})
    data_set = declared(root)
    assert data_set.pseudo_boxes.scores.tolist() == [2.5, -1.5]  # the source's own
    assert Selection([data_set], with_boxes=True)[0].scores.tolist() == [1.0, 0.5]
    assert "scores of boxes go from -1.5 to 2.5" in describe_scores(data_set.pseudo_boxes.scores)


def with_unit(root, unit):
    text = (root / "photos.yaml").read_text()
    (root / "photos.yaml").write_text(text.replace("boxes.json", f"boxes.json, score_unit: {unit}"))
    return declared(root)


def test_a_source_may_say_the_unit_of_its_scores(root):
    write_boxes(root, {"a.png": [([0, 0, 9, 9], 50), ([9, 9, 9, 9], 100)]})
    data_set = with_unit(root, "percent")
    assert data_set.pseudo_boxes.scores.tolist() == [1.0, 0.5]
    assert describe_scores(data_set.pseudo_boxes.scores) == ""


def test_log_odds_become_probabilities_however_large(root):
    write_boxes(root, {"a.png": [([0, 0, 9, 9 + i], s) for i, s in enumerate(LOG_ODDS)]})
    scores = with_unit(root, "log_odds").pseudo_boxes.scores
    assert scores == pytest.approx([1.0, 0.75, 0.5, 0.0], abs=1e-15)


@pytest.mark.parametrize(
    ("unit", "boxes", "message"),
    [
        ("percent", [([0, 0, 9, 9], 101)], "a.png: score_unit percent: expected scores from 0 to"),
        ("probability", [([0, 0, 9, 9], -0.5)], "expected scores from 0 to 1, got -0.5"),
        ("odds", [([0, 0, 9, 9], 1)], "expected one of probability, percent, log_odds, got 'odds'"),
        ("percent", [([0, 0, 9, 9], None)], "score_unit needs boxes with scores, got none"),
    ],
)
def test_a_unit_that_the_scores_are_not_in_is_refused(root, unit, boxes, message):
    write_boxes(root, {"a.png": boxes})
    with pytest.raises(InputError, match=message):
        with_unit(root, unit)


@pytest.mark.parametrize("flip", ["horizontal", "vertical"])
def test_a_crop_keeps_each_boxs_score_and_loses_those_of_lost_boxes(root, flip):
    """Scores name their boxes: after any crop and flip a box has the score of its original."""
    path = str(root / "photos" / "a.png")
    boxes = np.array([[0, 0, 4, 4], [10, 10, 30, 30], [5, 20, 35, 35]], float)
    scores = np.array([0.25, 0.5, 1.0])
    mapper, lost = CropMapper(SIDE, 24, train=True, flip=flip), 0
    torch.manual_seed(0)
    for _ in range(20):
        sample = mapper(path, SIDE, SIDE, boxes, scores=scores)
        assert sample.scores.dtype == np.float32
        expected = sample.frame.clip(sample.frame.to_frame(boxes))
        for box, score in zip(sample.boxes, sample.scores, strict=True):
            assert box.tolist() == expected[scores.tolist().index(score)].tolist()
        lost += 3 - len(sample.boxes)
    assert lost > 5  # the corner's box is seldom in the crop
    assert mapper(path, SIDE, SIDE, boxes[1:]).scores.tolist() == [1.0, 1.0]
    assert mapper(path, SIDE, SIDE, boxes[:0]).scores.shape == (0,)


def test_an_example_of_torchvision_has_the_scores(root):
    from wend.tv.dataset import CroppedImages

    images = Selection([declared(root)], with_boxes=False)
    examples = CroppedImages(images, CropMapper(SIDE, SIDE, train=True))
    assert [examples[i].scores.tolist() for i in range(3)] == [[1.0, 0.5, 0.25], [], [0.125]]
    assert examples[0].scores.dtype == torch.float32


@pytest.mark.parametrize("scores", [[0.5], [0.5, np.nan]], ids=["too few", "not finite"])
def test_scores_of_a_record_are_checked(scores):
    boxes = [[0, 0, 4, 4], [0, 0, 5, 5]]
    with pytest.raises(InputError, match=r"a\.png, pseudo_scores: "):
        ImageRecord(1, "a.png", 9, 9, pseudo_boxes=boxes, pseudo_scores=scores)


def test_records_of_which_some_have_scores_count_1_where_there_are_none():
    box = [[0, 0, 4, 4]]
    rows = [
        ImageRecord(1, "a.png", 9, 9, pseudo_boxes=box * 2, pseudo_scores=[0.25, 0.5]),
        ImageRecord(2, "b.png", 9, 9, pseudo_boxes=box),
        ImageRecord(3, "c.png", 9, 9),
    ]
    assert DataSet.from_records(rows).pseudo_boxes.scores.tolist() == [0.5, 0.25, 1.0]
