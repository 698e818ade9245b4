import json
import logging

import pytest
import torch

pytest.importorskip("detectron2", reason="Detectron2 is not installed")
from detectron2.evaluation import DatasetEvaluators
from detectron2.evaluation.testing import print_csv_format
from detectron2.structures import Boxes, Instances
from engine_runs import CROP, d2_config
from PIL import Image

from wend.classes.predictions import write_class_predictions
from wend.d2 import WSOLDatasetMapper, WSOLEvaluator
from wend.d2.frames import predict
from wend.datasets.catalog import DataSets
from wend.errors import InputError
from wend.evaluation.evaluation import Evaluation
from wend.evaluation.protocols import get_protocol
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

pytestmark = pytest.mark.detectron2


def _instances(boxes, scores):
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return Instances((CROP, CROP), pred_boxes=Boxes(boxes), scores=torch.tensor(scores))


def _inputs(records):
    mapper = WSOLDatasetMapper(False, resize=64, crop=56)
    return [
        mapper(
            {
                "file_name": r.file_name,
                "image_id": r.image_id,
                "width": r.width,
                "height": r.height,
                "class_id": r.class_id,
            }
        )
        for r in records
    ]


@pytest.fixture
def record(tmp_path):
    path = tmp_path / "wide.png"
    Image.new("RGB", (100, 50)).save(path)
    truth = [[25, 25, 75, 50]]
    return ImageRecord(5, str(path), 100, 50, "0/wide.png", 0, gt_boxes=truth)


def _process(evaluator, records, *instances):
    """Hand the evaluator what a detector predicts on crops of the records."""
    inputs = _inputs(records)
    outputs = [{"instances": each} for each in instances]
    evaluator.process(inputs, predict(lambda batch: outputs, inputs))


def _evaluator(records, output_dir=None, **more):
    protocols = [get_protocol("original")]
    data_set = DataSet.from_records(records, "mine")
    evaluation = Evaluation(data_set, protocols, more.pop("max_boxes", 2), **more)
    return WSOLEvaluator(evaluation=evaluation, output_dir=output_dir)


def test_detections_in_the_crop_become_coco_results_in_original_pixels(record, tmp_path):
    # The 100 x 50 image is squashed to 64 x 64 (0.64 and 1.28 pixels for one) and cut at 4.
    # Crop (12, 28, 44, 52): x = (12 + 4) / 0.64 = 25 to (44 + 4) / 0.64 = 75,
    #                        y = (28 + 4) / 1.28 = 25 to (52 + 4) / 1.28 = 43.75
    # Crop (0, 0, 56, 56): x = 6.25 to 93.75, y = 3.125 to 46.875
    evaluator = _evaluator([record], tmp_path / "out")
    predicted = _instances([[0, 0, 56, 56], [12, 28, 44, 52]], [0.25, 0.75])
    _process(evaluator, [record], predicted)
    results = evaluator.evaluate()
    rows = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [row["score"] for row in rows] == [0.75, 0.25]
    assert rows[0]["bbox"] == pytest.approx([25, 25, 50, 18.75], abs=1e-4)
    assert rows[1]["bbox"] == pytest.approx([6.25, 3.125, 87.5, 43.75], abs=1e-4)
    assert {(row["image_id"], row["category_id"]) for row in rows} == {(5, 1)}
    # truth (25, 25, 75, 50): the best box has IoU 18.75 / 25 = 0.75
    assert results["original"]["gt_known_loc"] == 100
    written = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert written["original"]["gt_known_loc"] == 100


def test_image_without_detection_is_a_miss_without_a_row(record, tmp_path):
    evaluator = _evaluator([record], tmp_path)
    _process(evaluator, [record], _instances([], []))
    assert evaluator.evaluate()["original"]["gt_known_loc"] == 0
    assert json.loads((tmp_path / "detections.json").read_text()) == []


def test_missing_image_is_an_error_and_nothing_is_written(record, tmp_path):
    with pytest.raises(InputError) as error:
        _evaluator([record], tmp_path / "out").evaluate()
    assert str(error.value) == (
        "detections must hold each of the 1 images of the data set once: 1 missing (5)"
    )
    assert not (tmp_path / "out").exists()


def test_reset_forgets(record):
    evaluator = _evaluator([record])
    _process(evaluator, [record], _instances([], []))
    evaluator.reset()
    with pytest.raises(InputError, match="1 missing"):
        evaluator.evaluate()


def test_processes_are_gathered_and_only_the_first_has_results(record, monkeypatch, tmp_path):
    evaluator = _evaluator([record], tmp_path)
    predicted = _instances([[12, 28, 44, 52]], [0.9])
    _process(evaluator, [record], predicted)
    other = (evaluator.detections.rows, evaluator.problems)
    evaluator.reset()
    monkeypatch.setattr("wend.d2.evaluator.gather_on_main", lambda data: [data, other])
    assert evaluator.evaluate()["original"]["gt_known_loc"] == 100
    monkeypatch.setattr("wend.d2.evaluator.is_main", lambda: False)
    assert evaluator.evaluate() == {}


def _toy_results(cfg):
    records = DataSets().get("toy_test")
    evaluator = WSOLEvaluator(cfg, "toy_test")
    evaluator.output_dir = None
    _process(evaluator, records, *(_instances([[0, 0, CROP, CROP]], [0.5]) for _ in records))
    return evaluator.evaluate()


@pytest.fixture
def printed():
    """Messages of Detectron2's printer."""
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logger = logging.getLogger("detectron2.evaluation.testing")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield messages
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.mark.parametrize("with_classes", [False, True])
def test_detectron2_prints_every_metric(tmp_path, printed, with_classes):
    changes = {}
    names = {"gt_known_loc", "gt_known_loc_multi", "max_boxes", "mean_iou"}
    names |= {f"max_box_acc_{threshold}" for threshold in (30, 50, 70)}
    if with_classes:
        path = tmp_path / "classes.json"
        right = {r.key: [r.class_id, *range(100, 104)] for r in DataSets().get("toy_test")}
        write_class_predictions(path, right)
        changes = {"WEND.CLASS_PREDICTIONS": str(path)}
        names |= {"top1_loc", "top5_loc", "top5_loc_multi", "top1_cls", "top5_cls"}
    results = _toy_results(d2_config("fcos", changes))
    assert set(results) == {"psol-crop224", "original"}
    for metrics in results.values():
        assert set(metrics) == names
        assert not any("-" in name for name in metrics)
    print_csv_format(results)
    said = [message.removeprefix("copypaste: ") for message in printed]
    assert [message.split(",") for message in said[1::3]] == [list(m) for m in results.values()]


def test_detectron2_merges_it_with_other_evaluators(record):
    both = DatasetEvaluators([_evaluator([record])])
    both.reset()
    _process(both, [record], _instances([], []))
    assert both.evaluate()["original"]["gt_known_loc"] == 0


def test_class_predictions_give_top_1_and_top_5(tmp_path):
    # Boxes are right everywhere. Class: right at place 1 in images 0-2, at place 5 in 3-5, absent
    # in the other six of twelve: Top-1 3/12 = 25 %, Top-5 6/12 = 50 % over images.
    records = DataSets().get("toy_test")
    others = [100, 101, 102, 103]
    lists = {}
    for number, r in enumerate(records):
        place = 0 if number < 3 else 4 if number < 6 else None
        ids = [*others, 104]
        if place is not None:
            ids = others.copy()
            ids.insert(place, r.class_id)
        lists[r.key] = ids
    path = tmp_path / "classes.json"
    write_class_predictions(path, lists)
    evaluator = WSOLEvaluator(d2_config("fcos", {"WEND.CLASS_PREDICTIONS": str(path)}), "toy_test")
    evaluator.output_dir = None
    inputs = _inputs(records)
    for example, r in zip(inputs, records, strict=True):
        box = example["frame"].to_frame(r.gt_boxes[:1])
        output = [{"instances": _instances(box, [0.9])}]
        evaluator.process([example], predict(lambda _, output=output: output, [example]))
    metrics = evaluator.evaluate()["original"]
    assert metrics["gt_known_loc"] == 100
    assert metrics["top1_loc"] == 25
    assert metrics["top5_loc"] == 50
    assert metrics["top5_loc_multi"] == 50


def test_from_config_writes_below_output_dir(tmp_path):
    evaluator = WSOLEvaluator(d2_config("fcos", {"OUTPUT_DIR": str(tmp_path)}), "toy_test")
    assert evaluator.output_dir == tmp_path / "inference" / "toy_test"
    assert evaluator.evaluation.max_boxes == 5
    assert evaluator.evaluation.more_ks == [1, 5, 10, None]
    assert evaluator.evaluation.baseline.name == "chosen on the pseudo boxes of toy_train_c2am"
    few = d2_config("fcos", {"TEST.DETECTIONS_PER_IMAGE": "5"})
    assert WSOLEvaluator(few, "toy_test").evaluation.more_ks == [1, 5, None]
