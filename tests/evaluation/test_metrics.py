"""Metrics and protocols against tests/reference.py, hand values and published lists."""

import dataclasses
import json

import numpy as np
import pytest
import reference

from wend.errors import InputError
from wend.evaluation import per_image
from wend.evaluation.collect import detection_table
from wend.evaluation.metrics import DEFAULT_METRICS, METRICS, accuracy, hits
from wend.evaluation.numbers import iou_histogram, max_box_acc, mean_boxes, recall_curve
from wend.evaluation.per_image import NO_HIT, score
from wend.evaluation.protocols import PROTOCOLS, EvalProtocol, get_protocol
from wend.evaluation.scoring import score_all
from wend.structures.class_predictions import ClassPredictions
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

ORIGINAL = get_protocol("original")
PSOL = get_protocol("psol-crop224")


def compute(records, detections, classes=None, *, protocol, max_boxes):
    data_set = DataSet.from_records(records)
    table = detection_table(data_set, detections)
    return score_all(data_set, table, [protocol], [max_boxes], classes)[protocol.name]


def score_images(records, detections, classes, protocol):
    data_set = DataSet.from_records(records)
    ranks = None if classes is None else classes.ranks(data_set)
    return score(data_set, detection_table(data_set, detections), protocol, ranks)


def made_up(seed, num_images=200, num_classes=7):
    """Random images as the reference takes them: several truths, near misses, ties, no boxes."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(num_images):
        width, height = rng.integers(40, 500, 2).tolist()
        scale = np.array([width, height, width, height])
        corners = rng.uniform(0, 1, (rng.integers(1, 4), 2, 2))
        truth = np.concatenate([corners.min(1), corners.max(1)], 1)
        near = truth[rng.integers(0, len(truth), rng.integers(0, 9))]
        near = (near + rng.normal(0, 0.12, near.shape)).clip(0, 1)
        near = np.concatenate(
            [np.minimum(near[:, :2], near[:, 2:]), np.maximum(near[:, :2], near[:, 2:])], 1
        )
        images.append(
            {
                "width": width,
                "height": height,
                "class_id": int(rng.integers(num_classes)),
                "gt_boxes": (truth * scale).tolist(),
                "boxes": (near * scale).tolist(),
                "scores": rng.integers(0, 5, len(near)).astype(float).tolist(),
                "class_ranking": rng.permutation(num_classes).tolist(),
            }
        )
    return images


def as_records(images):
    records = [
        ImageRecord(
            i, f"c/{i}.jpg", d["width"], d["height"], class_id=d["class_id"], gt_boxes=d["gt_boxes"]
        )
        for i, d in enumerate(images)
    ]
    detections = [(i, d["boxes"], d["scores"]) for i, d in enumerate(images)]
    classes = ClassPredictions({i: d["class_ranking"] for i, d in enumerate(images)})
    return records, detections, classes


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("protocol", ["original", "psol-crop224"])
@pytest.mark.parametrize("max_boxes", [1, 3, 10])
def test_equals_the_plain_python_reference(seed, protocol, max_boxes):
    images = made_up(seed)
    records, detections, classes = as_records(images)
    ours = compute(
        records, detections[::-1], classes, protocol=get_protocol(protocol), max_boxes=max_boxes
    )
    theirs = reference.metrics(images, protocol, max_boxes)
    assert ours.numbers.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours.numbers[name] == pytest.approx(value, abs=1e-9), name
    assert len(set(ours.numbers.values())) > 3 or max_boxes == 1  # the case tells metrics apart


@pytest.mark.parametrize(
    ("folder", "share", "original", "crop"),
    [
        pytest.param("ILSVRC/test", 0.8, 51.914, 53.956, marks=pytest.mark.slow),
        pytest.param("ILSVRC/test", 1.0, 40.34, 50.424, marks=pytest.mark.slow),
        ("CUB/test", 1.0, 18.174, 34.501),
    ],
)
def test_fixed_boxes_on_the_published_lists(shared, folder, share, original, crop):
    """A centred box of a share of the width and height; facts and issue give the per cents.

    The whole of the frame is that of the image, and of the crop the crop.
    """
    images = reference.read_metadata(shared / "data/wsol_metadata" / folder)
    records = [
        ImageRecord(i, "x", d["width"], d["height"], class_id=d["class_id"], gt_boxes=d["gt_boxes"])
        for i, d in enumerate(images)
    ]
    per_image = dataclasses.replace(PSOL, average="image")
    for protocol, expected, margin in ((ORIGINAL, original, 0), (per_image, crop, 16 / 256)):
        edge = max((1 - share) / 2, margin)
        boxes = [[edge * d["width"], edge * d["height"], (1 - edge) * d["width"],
                  (1 - edge) * d["height"]] for d in images]  # fmt: skip
        detections = [(i, [box], [1.0]) for i, box in enumerate(boxes)]
        result = compute(records, detections, protocol=protocol, max_boxes=5)
        assert round(result.numbers["gt_known_loc"], 3) == expected
        assert len(result.per_image) == len(images)


def one_image(boxes, scores, gt=((0, 0, 10, 10),), class_id=2):
    return [ImageRecord(1, "c/1.jpg", 100, 100, class_id=class_id, gt_boxes=gt)], [
        (1, boxes, scores)
    ]


def gt_known(boxes, protocol=ORIGINAL, **image):
    records, detections = one_image(boxes, np.ones(len(boxes)), **image)
    return compute(records, detections, protocol=protocol, max_boxes=1).numbers["gt_known_loc"]


def test_iou_must_exceed_one_half_strictly():
    # 10x10 truth: a 10x5 half of it has IoU exactly 0.5, 10x5.01 just more
    assert gt_known([[0, 0, 10, 5]]) == 0
    assert gt_known([[0, 0, 10, 5.01]]) == 100
    loose = dataclasses.replace(ORIGINAL, strict=False)
    assert gt_known([[0, 0, 10, 5]], protocol=loose) == 100


def test_any_true_box_counts_not_only_the_first():
    assert gt_known([[50, 50, 60, 60]], gt=((0, 0, 10, 10), (50, 50, 60, 60))) == 100


def test_truth_outside_the_crop_is_never_hit():
    # 100x100 image: the crop shows 6.25..93.75; a truth in the corner is clipped away
    assert gt_known([[0, 0, 5, 5]], gt=((0, 0, 5, 5),), protocol=PSOL) == 0
    assert gt_known([[0, 0, 5, 5]], gt=((0, 0, 5, 5),)) == 100


def test_crop_frame_clips_truth_and_prediction():
    # The part of the truth that the crop shows is 6.25..50; the prediction shows the same
    assert gt_known([[6.25, 6.25, 50, 50]], gt=((0, 0, 50, 50),), protocol=PSOL) == 100
    # 25x25 of 50x50: 0.25 originally; (25-6.25)^2/(50-6.25)^2 = 0.184 in the crop
    assert gt_known([[0, 0, 25, 25]], gt=((0, 0, 50, 50),), protocol=PSOL) == 0


def test_the_best_score_decides_and_ties_keep_their_order():
    right, wrong = [0, 0, 10, 10], [60, 60, 90, 90]
    for boxes, scores, rank in (
        ([wrong, right], [0.1, 0.9], 0),
        ([right, wrong], [0.1, 0.9], 1),
        ([right, wrong], [0.5, 0.5], 0),
        ([wrong, right], [0.5, 0.5], 1),
    ):
        records, detections = one_image(boxes, scores)
        single = compute(records, detections, protocol=ORIGINAL, max_boxes=2).numbers
        assert single["gt_known_loc"] == (100 if rank == 0 else 0)
        assert single["gt_known_loc_multi"] == 100


def test_top5_multi_looks_at_five_boxes_at_most_and_gt_known_at_k():
    wrong, right = [60, 60, 90, 90], [0, 0, 10, 10]
    records, detections = one_image([wrong] * 5 + [right], [6, 5, 4, 3, 2, 1])
    classes = ClassPredictions({1: [9, 8, 7, 6, 2]})  # the true class is the fifth
    for k, top5, gt_known_multi in ((5, 0, 0), (6, 0, 100), (100, 0, 100)):
        result = compute(records, detections, classes, protocol=ORIGINAL, max_boxes=k)
        assert result.numbers["top5_loc_multi"] == top5
        assert result.numbers["gt_known_loc_multi"] == gt_known_multi
        assert result.scalars()["max_boxes"] == k
    records, detections = one_image([wrong] * 4 + [right], [6, 5, 4, 3, 2])
    result = compute(records, detections, classes, protocol=ORIGINAL, max_boxes=5)
    assert result.numbers["top5_loc_multi"] == 100
    assert result.numbers["top5_loc"] == 0
    result = compute(records, detections, classes, protocol=ORIGINAL, max_boxes=4)
    assert result.numbers["top5_loc_multi"] == 0


def test_average_over_classes_weighs_classes_not_images():
    # class 0: 3 images, 1 hit; class 1: 1 image, 1 hit -> (1/3 + 1) / 2, per image 2/4
    records, detections = [], []
    for i, (class_id, hit) in enumerate([(0, True), (0, False), (0, False), (1, True)]):
        records.append(
            ImageRecord(i, "x", 100, 100, class_id=class_id, gt_boxes=[[20, 20, 60, 60]])
        )
        box = [20, 20, 60, 60] if hit else [70, 70, 80, 80]
        detections.append((i, [box], [1.0]))
    assert compute(records, detections, protocol=PSOL, max_boxes=1).numbers[
        "gt_known_loc"
    ] == pytest.approx(100 * (1 / 3 + 1) / 2)
    assert (
        compute(records, detections, protocol=ORIGINAL, max_boxes=1).numbers["gt_known_loc"] == 50
    )


def test_an_image_without_detections_is_a_miss_and_stays_in_the_denominator():
    records, detections = one_image([[0, 0, 10, 10]], [1.0])
    records.append(ImageRecord(2, "c/2.jpg", 100, 100, class_id=0, gt_boxes=[[0, 0, 9, 9]]))
    detections.append((2, [], []))
    result = compute(records, detections, protocol=ORIGINAL, max_boxes=5)
    assert result.numbers["gt_known_loc"] == 50
    written = result.to_dict()
    assert (written["mean_boxes"], written["num_images"]) == (0.5, 2)


def test_without_class_predictions_it_says_what_is_missing():
    records, detections = one_image([[0, 0, 10, 10]], [1.0])
    result = compute(records, detections, protocol=ORIGINAL, max_boxes=5)
    without = {"gt_known_loc", "gt_known_loc_multi", "mean_iou"}
    assert set(result.numbers) == {*without, *(f"max_box_acc_{t}" for t in (30, 50, 70))}
    missing = result.to_dict()["missing"]
    assert set(missing) == {"top1_cls", "top5_cls", "top1_loc", "top5_loc", "top5_loc_multi"}
    assert "WEND.CLASS_PREDICTIONS" in missing["top1_loc"]


def test_images_without_truth_or_class_are_errors_that_name_them():
    records, detections = one_image([[0, 0, 10, 10]], [1.0], gt=())
    with pytest.raises(InputError, match=r"1 of 1 images have no true box \(1\)"):
        compute(records, detections, protocol=ORIGINAL, max_boxes=1)
    records, detections = one_image([[0, 0, 10, 10]], [1.0], class_id=None)
    with pytest.raises(
        InputError, match=r"averages over classes, and 1 images have no class \(1\).*original"
    ):
        compute(records, detections, protocol=PSOL, max_boxes=1)


def test_k_below_one_and_no_images_are_errors():
    records, detections = one_image([[0, 0, 10, 10]], [1.0])
    with pytest.raises(InputError, match=r"expected numbers from 1 or 'all', got \[0\]"):
        compute(records, detections, protocol=ORIGINAL, max_boxes=0)
    with pytest.raises(InputError, match="no image"):
        compute([], [], protocol=ORIGINAL, max_boxes=1)


def test_metric_names_survive_detectron2s_printer():
    records, detections, classes = as_records(made_up(0))
    scalars = compute(records, detections, classes, protocol=PSOL, max_boxes=5).scalars()
    assert not [name for name in scalars if "-" in name]
    assert scalars["max_boxes"] == 5


def test_unknown_protocol_lists_the_known():
    with pytest.raises(InputError, match=r"'psol'.*psol-crop224, original"):
        get_protocol("psol")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"resize": 256}, "resize and crop"),
        ({"iou_threshold": 1.0}, r"in \(0, 1\), got 1\.0"),
        ({"average": "macro"}, "one of .* got 'macro'"),
    ],
)
def test_protocol_fields_out_of_range(wrong, message):
    with pytest.raises(InputError, match=message):
        EvalProtocol("mine", **wrong)


def test_protocols_describe_themselves_and_go_to_json():
    for name, protocol in PROTOCOLS.items():
        assert protocol.to_dict()["name"] == name
        assert protocol.describe().startswith(f"{name}: ")
    assert "IoU > 0.5" in PSOL.describe()
    assert "per-class" in PSOL.describe()


# --- numbers that follow from each image's scores ------------------------------------------------


def hand_scored(average="image"):
    """Four images of one 10x10 truth each, and boxes of known IoU with it, best first."""
    ious = [[0.3, 0.6], [0.9], [], [0.5, 0.2, 0.8]]
    records = [
        ImageRecord(i, "x", 20, 20, class_id=min(i, 1), gt_boxes=[[0, 0, 10, 10]]) for i in range(4)
    ]
    detections = [
        (i, [[0, 0, 10, 10 * x] for x in values], -np.arange(len(values)))
        for i, values in enumerate(ious)
    ]
    classes = ClassPredictions({i: [1, 0, 2, 3, 4] for i in range(4)})
    return score_images(records, detections, classes, EvalProtocol("mine", average=average))


def test_the_scores_of_each_image():
    scores = hand_scored()
    assert scores.hit_rank.tolist() == [[1, 0, NO_HIT, 2]]
    np.testing.assert_allclose(scores.top_iou, [0.3, 0.9, 0, 0.5])
    np.testing.assert_allclose(scores.best_iou, [0.6, 0.9, 0, 0.8])
    assert scores.num_boxes.tolist() == [2, 1, 0, 3]
    assert scores.class_rank.tolist() == [1, 0, 0, 0]
    assert scores.class_ids.tolist() == [0, 1, 1, 1]


def test_multi_box_metrics_at_any_k_with_the_boxes_they_looked_at():
    scores = hand_scored()
    for k, expected, boxes in ((1, 25, 0.75), (2, 50, 1.25), (3, 75, 1.5), (None, 75, 1.5)):
        assert accuracy(scores, "gt_known_loc_multi", k) == expected
        assert mean_boxes(scores, k) == boxes
    np.testing.assert_allclose(recall_curve(scores, 5), [25, 50, 75, 75, 75])
    # class 0: image 0; class 1: images 1 to 3
    np.testing.assert_allclose(
        recall_curve(hand_scored("class"), 3), [100 / 6, 100 * (1 + 1 / 3) / 2, 100 * (5 / 3) / 2]
    )
    with pytest.raises(ValueError, match="K must be >= 1"):
        accuracy(scores, "gt_known_loc_multi", 0)


def test_hits_under_several_thresholds_ask_which():
    records = [ImageRecord("a", "a.jpg", 10, 10, class_id=0, gt_boxes=[[0, 0, 10, 10]])]
    data_set = DataSet.from_records(records)
    table = detection_table(data_set, {"a": ([[0, 0, 10, 6]], [1.0])})
    scores = score(data_set, table, get_protocol("wsoleval-v2"))
    with pytest.raises(InputError, match=r"several thresholds; say which .* or take localized"):
        hits(scores)
    assert [hits(scores, threshold=t).tolist() for t in (0.5, 0.7)] == [[True], [False]]


def test_hits_are_the_booleans_whose_mean_is_the_metric():
    scores = hand_scored()
    assert hits(scores).tolist() == [False, True, False, False]
    assert hits(scores, 2).tolist() == [True, True, False, False]
    assert hits(scores, 1, classes=1).tolist() == [False, True, False, False]
    assert hits(scores, 5, classes=5).tolist() == [True, True, False, True]
    for name in DEFAULT_METRICS:
        metric = METRICS.get(name)
        values = metric.values(scores, 2)
        assert values.dtype == (float if name == "mean_iou" else bool)
        assert metric.scale * values.mean() == accuracy(scores, name, 2)


def test_max_box_acc_mean_iou_and_histogram():
    scores = hand_scored()
    np.testing.assert_allclose(max_box_acc(scores, (0.2, 0.45, 0.7)), [75, 50, 25])
    for threshold in (0.3, 0.5, 0.7):
        name = f"max_box_acc_{100 * threshold:.0f}"
        assert [accuracy(scores, name)] == max_box_acc(scores, [threshold]).tolist()
    assert max_box_acc(scores).tolist() == [accuracy(scores, "gt_known_loc")]
    assert accuracy(scores, "mean_iou") == pytest.approx((0.3 + 0.9 + 0 + 0.5) / 4)
    assert accuracy(scores, "mean_best_iou") == pytest.approx((0.6 + 0.9 + 0 + 0.8) / 4)
    counts, edges = iou_histogram(scores, bins=4)
    assert counts.tolist() == [1, 1, 1, 1]
    assert edges.tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_scores_go_to_json():
    records, detections, classes = as_records(made_up(0))
    plain = compute(records, detections, classes, protocol=ORIGINAL, max_boxes=3).to_dict()
    assert json.loads(json.dumps(plain)).keys() == plain.keys()
    assert plain["multi"]["3"]["gt_known_loc_multi"] == plain["gt_known_loc_multi"]
    assert plain["recall_at_k"][2] == pytest.approx(plain["gt_known_loc_multi"])
    assert len(plain["recall_at_k"]) == 100
    assert sum(plain["iou_histogram"]) == plain["num_images"] == 200


@pytest.mark.parametrize("size", [1, 7, 1 << 15])
def test_the_work_may_be_cut_anywhere(size, monkeypatch):
    records, detections, classes = as_records(made_up(8))
    whole = score_images(records, detections, classes, PSOL)
    monkeypatch.setattr(per_image, "CHUNK_BOXES", size)
    parts = score_images(records, detections, classes, PSOL)
    for name in ("hit_rank", "top_iou", "best_iou", "num_boxes", "class_rank"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_an_image_of_unknown_size_is_a_miss_and_disturbs_no_other():
    records, detections, _ = as_records(made_up(2))
    data_set = DataSet.from_records(records)
    table = detection_table(data_set, [*detections[:-1], (199, [], [])])
    sizes = data_set.sizes.copy()
    sizes[-1] = 0  # its header cannot be read
    for protocol in (ORIGINAL, PSOL):
        scores = score(dataclasses.replace(data_set, sizes=sizes), table, protocol)
        expected = score(data_set, table, protocol)
        np.testing.assert_array_equal(scores.hit_rank, expected.hit_rank)
        np.testing.assert_array_equal(scores.top_iou, expected.top_iou)
        assert scores.hit_rank[0, -1] == NO_HIT
