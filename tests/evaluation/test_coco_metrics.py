"""COCO metrics against AP by hand, pycocotools on files, and faster-coco-eval if there."""

import json

import numpy as np
import pytest

from wend.errors import InputError
from wend.evaluation.coco_metrics import coco_metrics
from wend.evaluation.coco_results import detections_to_coco
from wend.formats.coco import records_to_coco
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

T = [0, 0, 100, 10]
FAR = [500, 500, 600, 600]


def image(number, truths=(T,)):
    return ImageRecord(number, f"c/{number}.jpg", 1000, 1000, gt_boxes=list(truths))


def scores(truths, boxes, values, **options):
    data_set = DataSet.from_records([image(1, truths)])
    return coco_metrics(data_set, BoxTable.from_lists([boxes], [values]), **options)


def test_perfect_boxes_have_everything():
    result = scores([T, FAR], [T, FAR], [0.9, 0.1])
    # COCO adds 2e-16 to the denominator, and one box finds one of two: AR@1 is 50
    assert result == pytest.approx(
        {"ap": 100, "ap50": 100, "ap75": 100, "ar1": 50, "ar10": 100, "ar100": 100}, abs=1e-9
    )


def test_a_wrong_box_first_halves_the_precision():
    result = scores([T], [FAR, T], [0.9, 0.8])
    assert result["ap50"] == pytest.approx(50)
    assert (result["ar1"], result["ar10"]) == (0, 100)
    assert scores([T], [T, FAR], [0.9, 0.8])["ap50"] == pytest.approx(100)  # after it: no harm


def test_a_box_counts_at_the_thresholds_that_its_iou_reaches():
    # 62 of 100 columns: IoU 0.62 reaches 0.5, 0.55, 0.6 of ten thresholds
    result = scores([T], [[0, 0, 62, 10]], [1.0])
    assert result == pytest.approx(
        {"ap": 30, "ap50": 100, "ap75": 0, "ar1": 30, "ar10": 30, "ar100": 30}
    )
    assert scores([T], [[0, 0, 50, 10]], [1.0])["ap50"] == pytest.approx(100)  # 0.5 itself counts
    assert scores([T], [[0, 0, 49.9, 10]], [1.0])["ap50"] == 0


def test_one_of_two_truths_found_reads_51_of_101_recalls():
    result = scores([T, FAR], [T], [1.0])
    assert result["ap50"] == pytest.approx(100 * 51 / 101)
    assert result["ar100"] == 50


def test_a_second_box_on_the_same_truth_is_wrong():
    # right 0.9, double 0.8, right 0.7: precision 1 up to recall 1/2, then 2/3: (51 + 50 * 2/3)/101
    result = scores([T, FAR], [T, T, FAR], [0.9, 0.8, 0.7])
    assert result["ap50"] == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)


def test_scores_rank_boxes_across_images_and_images_without_truth_count():
    data_set = DataSet.from_records([image(1), image(2, ())])
    for marks, expected in (([0.5, 0.9], 50), ([0.9, 0.5], 100)):
        detections = BoxTable.from_lists([[T], [T]], [[mark] for mark in marks])
        assert coco_metrics(data_set, detections)["ap50"] == pytest.approx(expected)


def test_only_the_hundred_best_boxes_of_an_image_count():
    wrong = [FAR] * 99
    assert scores([T], [*wrong, T], np.arange(100, 0, -1))["ar100"] == 100
    assert scores([T], [*wrong, FAR, T], np.arange(101, 0, -1))["ar100"] == 0
    result = scores([T], [*wrong[:9], T], np.arange(10, 0, -1))
    assert (result["ar1"], result["ar10"]) == (0, 100)


def test_classes_of_boxes_change_nothing():
    records = [
        ImageRecord(i, f"c/{i}.jpg", 1000, 1000, class_id=i, gt_boxes=[T, FAR]) for i in range(3)
    ]
    data_set = DataSet.from_records(records)
    boxes, values = [[T, FAR], [FAR, [0, 0, 62, 10]], [T]], [[0.9, 0.8], [0.7, 0.3], [0.6]]
    without = BoxTable.from_lists(boxes, values)
    with_classes = BoxTable.from_lists(boxes, values, class_ids=[[0, 1], [2, 1], [0]])
    expected = coco_metrics(data_set, without)
    # of six true boxes four are met, and one at three of ten thresholds
    assert expected["ar100"] == pytest.approx(100 * 4.3 / 6)
    assert coco_metrics(data_set, with_classes) == expected


def test_no_boxes_at_all_are_zero():
    assert set(scores([T], [], []).values()) == {0.0}


def many(seed, num_images=60, names=False):
    """Several truths, near misses, ties within and across images, empty images, id 0."""
    rng = np.random.default_rng(seed)
    records, boxes, marks = [], [], []
    for i in rng.permutation(num_images).tolist():
        truth = np.sort(rng.integers(0, 90, (rng.integers(0, 4), 2, 2)), 1).reshape(-1, 4)
        truth = truth + np.array([0, 0, 10, 10])
        near = truth[rng.integers(0, max(len(truth), 1), rng.integers(0, 9) * bool(len(truth)))]
        near = near + rng.normal(0, 4, near.shape)
        near = np.concatenate(
            [np.minimum(near[:, :2], near[:, 2:]), np.maximum(near[:, :2], near[:, 2:])], 1
        )
        image_id = f"c/{i}.jpg" if names else i
        records.append(ImageRecord(image_id, f"c/{i}.jpg", 100, 100, gt_boxes=truth))
        boxes.append(near)
        marks.append(rng.integers(1, 6, len(near)) / 5)
    return DataSet.from_records(records), BoxTable.from_lists(boxes, marks)


@pytest.mark.parametrize("names", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_equals_pycocotools_on_the_exported_files(tmp_path, capsys, monkeypatch, seed, names):
    monkeypatch.setattr("wend.evaluation.coco_metrics.IMAGES_AT_ONCE", 17)  # 60 images: four parts
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    data_set, detections = many(seed, names=names)
    ours = coco_metrics(data_set, detections)
    assert capsys.readouterr().out == ""
    (tmp_path / "truth.json").write_text(json.dumps(records_to_coco(data_set)))
    (tmp_path / "found.json").write_text(json.dumps(detections_to_coco(data_set, detections)))
    truth = COCO(str(tmp_path / "truth.json"))
    theirs = COCOeval(truth, truth.loadRes(str(tmp_path / "found.json")), "bbox")
    theirs.evaluate()
    theirs.accumulate()
    theirs.summarize()
    expected = dict(zip(ours, 100 * theirs.stats[[0, 1, 2, 6, 7, 8]], strict=True))
    assert ours == pytest.approx(expected, abs=1e-9)
    assert 5 < ours["ap"] < 90  # the case tells things apart


@pytest.mark.parametrize("seed", range(3))
def test_faster_coco_eval_gives_the_same_numbers(capsys, seed):
    pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed")
    data_set, detections = many(seed)
    ours = coco_metrics(data_set, detections)
    theirs = coco_metrics(data_set, detections, backend="faster-coco-eval")
    assert theirs == pytest.approx(ours, abs=1e-9)
    assert theirs.keys() == ours.keys()
    assert capsys.readouterr().out == ""


def test_wrong_input_is_said(monkeypatch):
    with pytest.raises(InputError, match="none of the 1 images has a true box"):
        scores([], [T], [1.0])
    with pytest.raises(InputError, match="has 1 images, the detections are of 2"):
        coco_metrics(DataSet.from_records([image(1)]), BoxTable.empty(2))
    with pytest.raises(InputError, match="'coco'; there are: pycocotools, faster-coco-eval"):
        scores([T], [T], [1.0], backend="coco")
    monkeypatch.setitem(__import__("sys").modules, "faster_coco_eval", None)
    with pytest.raises(InputError, match="pip install faster-coco-eval"):
        scores([T], [T], [1.0], backend="faster-coco-eval")
