"""The files that an evaluation writes, against pycocotools and the metrics themselves."""

import contextlib
import csv
import io
import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from wend.errors import InputError
from wend.evaluation.coco_results import read_detections
from wend.evaluation.evaluation import Evaluation, append_to_curve, pseudo_box_detections
from wend.evaluation.metrics import compute
from wend.evaluation.protocols import get_protocol
from wend.formats.coco import records_to_coco
from wend.structures.records import ClassPredictions, Detections, ImageRecord


@pytest.fixture
def records():
    boxes = [[[10, 10, 50, 60]], [[0, 0, 30, 30], [60, 60, 90, 90]], [[5, 5, 95, 95]]]
    return [
        ImageRecord(i + 1, f"a/{i}.jpg", 100, 100, class_id=i, gt_boxes=b, pseudo_boxes=b[:1])
        for i, b in enumerate(boxes)
    ]


@pytest.fixture
def detections():
    return [
        Detections(3, [[0, 0, 20, 20], [5, 5, 90, 95]], [0.9, 0.4]),
        Detections(1, [[10, 10, 50, 61]], [0.7]),
        Detections(2, [], []),
    ]


@pytest.fixture
def evaluation(records):
    protocols = [get_protocol("psol-crop224"), get_protocol("original")]
    return Evaluation("made_up", records, protocols, max_boxes=2)


def test_files_hold_what_was_computed(evaluation, detections, tmp_path):
    results = evaluation.run(detections, tmp_path)
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert list(written) == ["psol-crop224", "original"]
    # image 1 is right, image 2 has no box, image 3 is right with its second box
    assert written["original"]["gt_known_loc"] == pytest.approx(100 / 3)
    assert written["original"]["gt_known_loc_multi"] == pytest.approx(200 / 3)
    assert written["original"]["max_boxes"] == 2
    assert written["original"]["mean_boxes"] == 1
    assert written["original"]["num_images"] == 3
    assert written["original"]["protocol"]["iou_threshold"] == 0.5
    assert written["original"]["dataset"] == "made_up"
    assert "top1_loc" in written["original"]["missing"]
    assert written["original"]["gt_known_loc"] == results["original"].metrics["gt_known_loc"]


def test_detections_file_is_coco_results_in_original_pixels(
    evaluation, detections, records, tmp_path
):
    evaluation.run(detections, tmp_path)
    rows = json.loads((tmp_path / "detections.json").read_text())
    assert rows[0] == {"image_id": 1, "category_id": 1, "bbox": [10, 10, 40, 51], "score": 0.7}
    assert [row["image_id"] for row in rows] == [1, 3, 3]  # the data set's order, best first
    truth = COCO()
    truth.dataset = records_to_coco(records)
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        results = truth.loadRes(str(tmp_path / "detections.json"))
    assert sorted(results.getImgIds()) == [1, 2, 3]
    assert results.loadAnns(results.getAnnIds(3))[0]["area"] == 400


def test_metrics_can_be_computed_again_from_the_file_alone(
    evaluation, detections, records, tmp_path
):
    results = evaluation.run(detections, tmp_path)
    again = evaluation.compute(read_detections(tmp_path / "detections.json", records))
    assert again == results


def test_class_predictions_add_top1_and_top5(records, detections):
    classes = ClassPredictions({1: [0, 1, 2, 3, 4], 2: [1, 0, 2, 3, 4], 3: [4, 3, 0, 1, 2]})
    evaluation = Evaluation("made_up", records, [get_protocol("original")], 2, classes)
    metrics = evaluation.run(detections)["original"].metrics
    # image 1: class first, best box right; image 3: class fifth, second box right
    assert metrics["top1_loc"] == pytest.approx(100 / 3)
    assert metrics["top5_loc"] == pytest.approx(100 / 3)
    assert metrics["top5_loc_multi"] == pytest.approx(200 / 3)


def test_a_missing_image_leaves_no_file(evaluation, detections, tmp_path):
    with pytest.raises(InputError, match=r"1 missing \(2\)"):
        evaluation.run(detections[:2], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_pseudo_boxes_are_scored_as_detections(records):
    result = compute(
        records, pseudo_box_detections(records), protocol=get_protocol("original"), max_boxes=1
    )
    assert result.metrics["gt_known_loc"] == 100  # they are the first true box here


def test_table_says_what_is_missing_and_what_the_protocol_is(evaluation, detections, caplog):
    caplog.set_level("INFO", logger="wend")
    evaluation.run(detections)
    assert "33.33" in caplog.text
    assert "GT-known Loc multi |   2 |" in caplog.text
    assert "not computed (no training data set is named)" in caplog.text
    assert "needs class predictions" in caplog.text
    assert "IoU > 0.5; mean of per-class accuracies" in caplog.text


@pytest.fixture
def training_sets(register, records):
    box = [[10, 10, 50, 60]]
    others = [ImageRecord(i, f"t/{i}.jpg", 100, 100, pseudo_boxes=box) for i in range(3)]
    register("others", lambda: others)
    register("same", lambda: records)
    register("bare", lambda: [ImageRecord(9, "t/9.jpg", 100, 100)])
    return records


@pytest.mark.parametrize(
    ("train_on", "note"),
    [
        (("others",), "chosen on the pseudo boxes of others"),
        (("same",), "not computed (same: 3 of its images are scored"),
        (("others", "same"), "not computed (same: 3 of its images are scored"),
        (("bare",), "not computed (fixed boxes: none of the 1 images has pseudo_boxes"),
        (("cub_train_c2am",), "not computed (cub_train_c2am cannot be read here)"),
        ((), "not computed (no training data set is named)"),
    ],
)
def test_the_baseline_is_chosen_on_the_training_sets_or_it_is_said_why_not(
    training_sets, detections, tmp_path, train_on, note, monkeypatch
):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "nowhere"))
    protocols = [get_protocol("original")]
    evaluation = Evaluation("made_up", training_sets, protocols, 1, train_on=train_on)
    evaluation.run(detections, tmp_path / "out")
    assert note in (tmp_path / "out" / "results.md").read_text()
    entry = json.loads((tmp_path / "out" / "metrics.json").read_text())["original"]
    # the only training box is image 1's truth
    expected = {"gt_known_loc": 100 / 3, "gt_known_loc_multi@1": 100 / 3}
    assert entry["baseline"] == pytest.approx(expected if note.startswith("chosen") else {})
    assert ("baseline_boxes" in entry["inputs"]) == note.startswith("chosen")
    assert str(tmp_path) not in "".join(
        path.read_text() for path in (tmp_path / "out").glob("*.[jm]*")
    )


def read(path):
    with open(path, newline="") as file:
        return [tuple(row.values()) for row in csv.DictReader(file)]


def test_curve_keeps_a_row_for_each_evaluation_and_metric(tmp_path):
    path = tmp_path / "curve.csv"
    for iteration, value in ((10, 1.5), (20, 2.5)):
        append_to_curve(path, iteration, iteration / 10, "d", {"p": {"gt_known_loc": value}})
    assert read(path) == [
        ("10", "1", "d", "p", "gt_known_loc", "1.500000"),
        ("20", "2", "d", "p", "gt_known_loc", "2.500000"),
    ]


def test_a_resumed_run_replaces_the_rows_that_it_repeats(tmp_path):
    path = tmp_path / "curve.csv"
    for iteration in (10, 20, 30):
        for dataset in ("a", "b"):
            append_to_curve(path, iteration, 0, dataset, {"p": {"m": float(iteration)}})
    for dataset in ("a", "b"):
        append_to_curve(path, 20, 0, dataset, {"p": {"m": 99.0}})
    rows = [(row[0], row[2], float(row[5])) for row in read(path)]
    assert rows == [("10", "a", 10), ("10", "b", 10), ("20", "a", 99), ("20", "b", 99)]


def test_from_config_refuses_a_data_set_of_which_some_images_have_no_truth(register):
    from fvcore.common.config import CfgNode

    from wend.config import add_wend_config

    records = [
        ImageRecord(7, "x.jpg", 5, 5),
        ImageRecord(8, "y.jpg", 5, 5, gt_boxes=[[0, 0, 2, 2]]),
    ]
    register("some_truth", lambda: records)
    cfg = CfgNode()
    add_wend_config(cfg)
    with pytest.raises(InputError, match=r"some_truth: 1 images have no true box \(7\)"):
        Evaluation.from_config(cfg, "some_truth")


def test_detections_of_a_data_set_without_truth_are_written_and_not_scored(tmp_path):
    records = [ImageRecord(7, "x.jpg", 5, 5), ImageRecord(8, "y.jpg", 5, 5)]
    evaluation = Evaluation("mine", records, [get_protocol("original")], max_boxes=1)
    found = [Detections(8, [[0, 1, 2, 3]], [0.5]), Detections(7, [], [])]
    assert evaluation.run(found, tmp_path) == {}
    assert [path.name for path in tmp_path.iterdir()] == ["detections.json"]
    (row,) = json.loads((tmp_path / "detections.json").read_text())
    assert (row["image_id"], row["bbox"], row["score"]) == (8, [0, 1, 2, 2], 0.5)


def test_scores_and_boxes_survive_the_file_to_the_last_bit(tmp_path):
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 300, (50, 2, 2))
    boxes = np.concatenate([corners.min(1), corners.max(1)], 1)
    record = ImageRecord("val/a.jpg", "a.jpg", 300, 300, gt_boxes=[[0, 0, 9, 9]])
    detections = Detections("val/a.jpg", boxes, rng.random(50))
    Evaluation("d", [record], [get_protocol("original")], 1).run([detections], tmp_path)
    (again,) = read_detections(tmp_path / "detections.json", [record])
    np.testing.assert_array_equal(again.scores, detections.scores)
    np.testing.assert_allclose(again.boxes, detections.boxes, rtol=0, atol=1e-12)
