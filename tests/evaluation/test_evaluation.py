"""The files that an evaluation writes, against pycocotools and the metrics themselves."""

import contextlib
import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from pyarrow import parquet
from pycocotools.coco import COCO

from wend.errors import InputError
from wend.evaluation.coco_results import read_detections
from wend.evaluation.collect import detection_table
from wend.evaluation.curve import append_to_curve
from wend.evaluation.evaluation import Evaluation
from wend.evaluation.fixed_boxes import FixedBoxes
from wend.evaluation.metrics import METRICS, RESERVED, choose_metrics, register_metric
from wend.evaluation.protocols import get_protocol
from wend.formats.coco import records_to_coco
from wend.structures.box_table import BoxTable
from wend.structures.class_predictions import ClassPredictions
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord


@pytest.fixture
def data_set():
    boxes = [[[10, 10, 50, 60]], [[0, 0, 30, 30], [60, 60, 90, 90]], [[5, 5, 95, 95]]]
    return DataSet.from_records(
        (
            ImageRecord(i + 1, f"a/{i}.jpg", 100, 100, class_id=i, gt_boxes=b, pseudo_boxes=b[:1])
            for i, b in enumerate(boxes)
        ),
        "made_up",
    )


@pytest.fixture
def detections(data_set):
    by_id = {
        3: ([[0, 0, 20, 20], [5, 5, 90, 95]], [0.9, 0.4]),
        1: ([[10, 10, 50, 61]], [0.7]),
        2: ([], []),
    }
    return detection_table(data_set, by_id)


PROTOCOLS = [get_protocol("psol-crop224"), get_protocol("original")]


@pytest.fixture
def evaluation(data_set):
    return Evaluation(data_set, PROTOCOLS, max_boxes=2)


def test_what_cannot_be_scored_or_written_is_said_before_there_are_detections(data_set):
    without = replace(data_set, class_ids=np.array([0, -1, 2]))
    with pytest.raises(InputError, match=r"psol-crop224 averages over classes, and 1 images have"):
        Evaluation(without, PROTOCOLS, max_boxes=2)
    assert Evaluation(without, PROTOCOLS[1:], max_boxes=2).has_truth
    with pytest.raises(InputError, match=r"expected ids of images that are whole numbers"):
        Evaluation(replace(data_set, image_ids=[1, 2, 2**64]), PROTOCOLS, max_boxes=2)


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
    assert written["original"]["gt_known_loc"] == results["original"].numbers["gt_known_loc"]


def test_detections_file_is_coco_results_in_original_pixels(
    evaluation, detections, data_set, tmp_path
):
    evaluation.run(detections, tmp_path)
    rows = json.loads((tmp_path / "detections.json").read_text())
    assert rows[0] == {"image_id": 1, "category_id": 1, "bbox": [10, 10, 40, 51], "score": 0.7}
    assert [row["image_id"] for row in rows] == [1, 3, 3]  # the data set's order, best first
    truth = COCO()
    truth.dataset = records_to_coco(data_set)
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        results = truth.loadRes(str(tmp_path / "detections.json"))
    assert sorted(results.getImgIds()) == [1, 2, 3]
    assert results.loadAnns(results.getAnnIds(3))[0]["area"] == 400


def test_class_predictions_add_top1_and_top5(data_set, detections):
    classes = ClassPredictions({1: [0, 1, 2, 3, 4], 2: [1, 0, 2, 3, 4], 3: [4, 3, 0, 1, 2]})
    evaluation = Evaluation(data_set, [get_protocol("original")], 2, classes)
    metrics = evaluation.run(detections)["original"].numbers
    # image 1: class first, best box right; image 3: class fifth, second box right
    assert metrics["top1_loc"] == pytest.approx(100 / 3)
    assert metrics["top5_loc"] == pytest.approx(100 / 3)
    assert metrics["top5_loc_multi"] == pytest.approx(200 / 3)


def test_detections_of_other_images_leave_no_file(evaluation, detections, tmp_path):
    with pytest.raises(InputError, match="made_up has 3 images, the detections are of 2"):
        evaluation.run(detections.take([0, 1]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_pseudo_boxes_are_scored_as_detections(evaluation, data_set):
    results = evaluation.score(data_set.pseudo_boxes.scored())
    assert results["original"].numbers["gt_known_loc"] == 100  # the first true box, here


def test_table_says_what_is_missing_and_what_the_protocol_is(evaluation, detections, caplog):
    caplog.set_level("INFO", logger="wend")
    evaluation.run(detections)
    assert "33.33" in caplog.text
    assert "GT-known Loc multi |   2 |" in caplog.text
    assert "not computed (no training data set is named)" in caplog.text
    assert "needs class predictions" in caplog.text
    assert "IoU > 0.5; mean of per-class accuracies" in caplog.text


@pytest.fixture
def others():
    box = [[10, 10, 50, 60]]
    images = [ImageRecord(i, f"t/{i}.jpg", 100, 100, pseudo_boxes=box) for i in range(3)]
    return DataSet.from_records(images, "others")


@pytest.mark.parametrize("with_baseline", [True, False])
def test_the_baseline_is_chosen_on_the_training_sets_or_it_is_said_why_not(
    data_set, others, detections, tmp_path, with_baseline
):
    choice = {"baseline": FixedBoxes.from_training([others])}
    if not with_baseline:
        choice = {"why_no_baseline": "not computed (they are on holiday)"}
    evaluation = Evaluation(data_set, [get_protocol("original")], 1, **choice)
    evaluation.run(detections, tmp_path / "out")
    note = "chosen on the pseudo boxes of others" if with_baseline else "they are on holiday"
    assert note in (tmp_path / "out" / "results.md").read_text()
    entry = json.loads((tmp_path / "out" / "metrics.json").read_text())["original"]
    # the only training box is image 1's truth
    expected = {"gt_known_loc": 100 / 3, "gt_known_loc_multi@1": 100 / 3, "mean_iou": None}
    expected |= dict.fromkeys(("max_box_acc_30", "max_box_acc_50", "max_box_acc_70"), 100 / 3)
    expected["mean_iou"] = entry["baseline"].get("mean_iou")
    assert entry["baseline"] == pytest.approx(expected if with_baseline else {})
    assert ("baseline_boxes" in entry["inputs"]) == with_baseline


def test_metrics_of_any_form_go_into_every_file_and_the_curve(data_set, detections, tmp_path):
    with METRICS.temporary():

        @register_metric("Wide", unit="px", digits=1, average="image", most_boxes=None)
        def widest(per_image):
            widths = np.diff(per_image.detections.boxes[:, ::2], axis=1)[:, 0]
            return np.array([widths[i:j].max(initial=0) for i, j in zip(
                per_image.detections.offsets, per_image.detections.offsets[1:], strict=False
            )])  # fmt: skip

        @register_metric("IoU sum of", has_k=True, unit="IoU")
        def iou_over_k(per_image, k):
            return per_image.best_iou / (k or 100)

        @register_metric("Boxes", average="none", unit="boxes", digits=0, most_boxes=None)
        def all_boxes(per_image):
            return len(per_image.detections.boxes)

        metrics = choose_metrics(["widest", "iou_over_k", "all_boxes", "corloc", "ap50"])
    protocol = get_protocol("original")
    evaluation = Evaluation(data_set, [protocol], 2, more_ks=[1], metrics=metrics)
    results = evaluation.run(detections, tmp_path)
    # widths 40, 0, 85; the best IoU of images 1 and 3
    best = [2000 / 2040, 0, 85 * 90 / 8100]
    scalars = results["original"].scalars()
    assert scalars["widest"] == pytest.approx(125 / 3)
    assert scalars["iou_over_k"] == pytest.approx(sum(best) / 6)
    assert scalars["all_boxes"] == 3
    assert scalars["corloc"] == scalars["gt_known_loc"]
    assert scalars["ap50"] > 0
    entry = json.loads((tmp_path / "metrics.json").read_text())["original"]
    assert entry["multi"]["1"]["iou_over_k"] == pytest.approx(sum(best) / 3)
    assert {name: entry[name] for name in scalars} == scalars
    # widths 40, 0 and 85 have no bounds: Student's interval of three images reaches far out
    low, high = entry["intervals"]["widest"]
    assert low < 0 < scalars["widest"] < 85 < high
    assert entry["interval_kinds"]["widest"] == "t-skewness"
    assert entry["interval_kinds"]["gt_known_loc"] == "wilson"
    assert entry["interval_kinds"]["mean_iou"] == "wilson-effective-n"
    assert not {"all_boxes", "ap50"} & set(entry["intervals"])
    columns = parquet.read_table(tmp_path / "per_image.parquet").to_pydict()
    assert columns["original:widest"] == [40, 0, 85]
    assert columns["original:iou_over_k@2"] == pytest.approx([x / 2 for x in best])
    assert columns["original:corloc"] == [1, 0, 0]
    assert "original:all_boxes" not in columns
    with open(tmp_path / "results.csv", newline="") as file:
        rows = {(row["metric"], row["K"]): row for row in csv.DictReader(file)}
    assert rows["Wide (px)", "all"]["value"] == "41.7"
    assert rows["Boxes (boxes)", "all"]["value"] == "3"
    assert rows["Boxes (boxes)", "all"]["low"] == ""
    assert ("IoU sum of (IoU)", "1") in rows
    assert rows["AP50", "100"]["boxes/image"] == "1.00"
    append_to_curve(tmp_path / "c.csv", 1, 1, {"made_up": {"original": scalars}})
    assert {row[4]: float(row[5]) for row in read(tmp_path / "c.csv")} == pytest.approx(
        scalars, abs=1e-6
    )


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (lambda p: p.top_iou[1:], {}, r"odd: expected a finite number of each of the 3 images"),
        (lambda p: p.top_iou / 0, {}, "NaN or infinity"),
        (lambda p: p.top_iou, {"average": "none"}, r"odd: expected one finite number, got shape"),
        (lambda p: "much", {"average": "none"}, "expected one finite number"),
        (lambda p: p.top_iou, {"average": "mean"}, "average must be one of"),
        (lambda p: p.top_iou, {"name": "top-1"}, 'letters, digits and "_" alone'),
        (lambda p: p.top_iou, {"name": "num_images"}, "'num_images': the files of an evaluation"),
        (lambda p: p.top_iou, {"has_k": True}, r"has_k=True is called with \(per_image, K\)"),
        (
            lambda p, k: p.top_iou,
            {},
            r"'k'; a metric with has_k=False is called with \(per_image\)",
        ),
        (
            lambda p: p.top_uio,
            {},
            r"(?s)metric odd failed.*AttributeError: .*no attribute 'top_uio",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:.*encountered in.*:RuntimeWarning")
def test_a_metric_that_is_none_is_named(evaluation, detections, function, options, message):
    def run():
        metric = register_metric("Odd", **{"name": "odd", **options})(function)
        replace(evaluation, metrics=choose_metrics([metric.name])).run(detections)

    with METRICS.temporary(), pytest.raises(InputError, match=message):
        run()


def test_a_metric_that_fails_loses_no_detections(evaluation, detections, tmp_path):
    with METRICS.temporary():

        @register_metric("fails", name="fails")
        def fails(per_image):
            raise ZeroDivisionError("of mine")

        metrics = choose_metrics(["fails"])
        with pytest.raises(InputError, match=r"metric fails failed") as raised:
            replace(evaluation, metrics=metrics).run(detections, tmp_path)
    path = tmp_path / "detections.json"
    assert f"The detections are not lost: {path} holds them" in str(raised.value)
    assert [p.name for p in tmp_path.iterdir()] == ["detections.json"]
    kept = read_detections(path, evaluation.data_set)
    assert kept.boxes.tolist() == detections.boxes.tolist()
    assert kept.scores.tolist() == detections.scores.tolist()


def test_a_metric_may_be_registered_again_and_has_a_title_of_its_own(tmp_path):
    def define(title):
        @register_metric(title)
        def again(per_image):
            return per_image.top_iou

        return again

    path = tmp_path / "mine.py"
    path.write_text("def plain(per_image): ...\n")
    with METRICS.temporary():
        define("Once")
        assert choose_metrics(["again"])[-1] is not define("Once") is METRICS.get("again")
        define("GT-known Loc")
        with pytest.raises(InputError, match="two metrics have the same heading: Top-1 Cls, "):
            choose_metrics(["again"])
        with pytest.raises(InputError, match=r"'plain' is no metric in .*mine\.py; it has: none"):
            choose_metrics([f"{path}:plain"])


def test_no_metric_has_the_name_of_another_entry_of_the_files(data_set, detections, tmp_path):
    evaluation = Evaluation(data_set, [get_protocol("original")], 1)
    evaluation.run(detections, tmp_path / "out")
    entry = json.loads((tmp_path / "out" / "metrics.json").read_text())["original"]
    assert set(entry) - set(METRICS) <= RESERVED
    columns = parquet.read_table(tmp_path / "out" / "per_image.parquet").column_names
    ours = {name.partition(":")[2].partition("@")[0] for name in columns if ":" in name}
    assert ours - set(METRICS) <= RESERVED


def test_metrics_are_chosen_by_name_or_from_a_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from wend.evaluation.metrics import register_metric\n\n"
        "@register_metric('IoU > 0.7')\ndef loc70(per_image):\n    return per_image.top_iou > 0.7\n"
    )
    names = [metric.name for metric in choose_metrics()]
    assert names == [
        *("top1_cls", "top5_cls", "top1_loc", "top5_loc", "gt_known_loc"),
        *("max_box_acc_30", "max_box_acc_50", "max_box_acc_70"),
        *("gt_known_loc_multi", "top5_loc_multi", "mean_iou"),
    ]
    with METRICS.temporary():
        chosen = choose_metrics([f"{path}:loc70", "mean_best_iou", "loc70", "gt_known_loc"])
    assert [metric.name for metric in chosen] == [*names, "loc70", "mean_best_iou"]
    with pytest.raises(InputError, match=r"unknown metric 'mean_iuo'.*'mean_iou'.*Known: ap, ap50"):
        choose_metrics(["mean_iuo"])


def read(path):
    with open(path, newline="") as file:
        return [tuple(row.values()) for row in csv.DictReader(file)]


def test_a_data_set_of_which_some_images_have_no_truth_is_refused():
    records = [
        ImageRecord(7, "x.jpg", 5, 5),
        ImageRecord(8, "y.jpg", 5, 5, gt_boxes=[[0, 0, 2, 2]]),
    ]
    with pytest.raises(InputError, match=r"some_truth: 1 images have no true box \(7\)"):
        Evaluation(DataSet.from_records(records, "some_truth"), PROTOCOLS, 1)


def test_detections_of_a_data_set_without_truth_are_written_and_not_scored(tmp_path):
    records = [ImageRecord(7, "x.jpg", 5, 5), ImageRecord(8, "y.jpg", 5, 5)]
    evaluation = Evaluation(DataSet.from_records(records, "mine"), PROTOCOLS, max_boxes=1)
    detections = BoxTable.from_lists([[], [[0, 1, 2, 3]]], [[], [0.5]])
    assert evaluation.run(detections, tmp_path) == {}
    assert [path.name for path in tmp_path.iterdir()] == ["detections.json"]
    (row,) = json.loads((tmp_path / "detections.json").read_text())
    assert (row["image_id"], row["bbox"], row["score"]) == (8, [0, 1, 2, 2], 0.5)


def test_scores_and_boxes_survive_the_file_to_the_last_bit(tmp_path):
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 300, (50, 2, 2))
    boxes = np.concatenate([corners.min(1), corners.max(1)], 1)
    record = ImageRecord("val/a.jpg", "a.jpg", 300, 300, gt_boxes=[[0, 0, 9, 9]])
    data_set = DataSet.from_records([record], "d")
    detections = BoxTable.from_lists([boxes], [rng.random(50)])
    results = Evaluation(data_set, PROTOCOLS[1:], 1).run(detections, tmp_path)
    again = read_detections(tmp_path / "detections.json", data_set)
    np.testing.assert_array_equal(again.scores, detections.scores)
    np.testing.assert_allclose(again.boxes, detections.boxes, rtol=0, atol=1e-12)
    scored = results["original"].per_image.detections  # what was scored is what the file holds
    np.testing.assert_array_equal(again.boxes, scored.boxes)
