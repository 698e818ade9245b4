"""MaxBoxAcc of score maps: the peer's loop, identities, and the table's own numbers."""

import numpy as np
import pytest

from tests.map_peers import max_box_acc, normalized
from wend.errors import InputError
from wend.evaluation.fixed_boxes import FixedBoxes
from wend.evaluation.map_scores import evaluate_maps, score_maps
from wend.evaluation.map_sweep import MapOptions, map_detections, sweep_maps
from wend.evaluation.metrics import choose_metrics
from wend.evaluation.per_image import box_ious
from wend.evaluation.protocols import PROTOCOLS, get_protocol
from wend.evaluation.score_maps import SIDE, as_score_maps
from wend.evaluation.scoring import score_all
from wend.structures.box_table import BoxTable
from wend.structures.class_predictions import ClassPredictions
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

ALL = [get_protocol(name) for name in PROTOCOLS]


def random_images(number, rng, classes=3):
    """Images of odd sizes with one to three true boxes of whole pixels, and a map near one."""
    records, maps = [], []
    y, x = np.mgrid[:SIDE, :SIDE]
    for i in range(number):
        width, height = rng.integers(90, 600, 2).tolist()
        corners = np.sort(rng.random((rng.integers(1, 4), 2, 2)), axis=1)  # (G, 2, 2), x and y
        boxes = (corners.reshape(-1, 4) * np.tile([width, height], 2)).astype(int)
        boxes[:, 2:] = np.minimum(boxes[:, 2:] + 20, [width, height])
        records.append(
            ImageRecord(i, f"{i % classes}/{i}.jpg", width, height, class_id=i % classes,
                        gt_boxes=boxes.astype(float))
        )  # fmt: skip
        near = boxes[0] + rng.normal(0, 0.2, 4) * np.tile(boxes[0, 2:] - boxes[0, :2], 2)
        x0, y0, x1, y1 = near * np.tile([SIDE / width, SIDE / height], 2)
        blob = np.exp(-2 * ((x - (x0 + x1) / 2) / (x1 - x0 + 1)) ** 2
                      - 2 * ((y - (y0 + y1) / 2) / (y1 - y0 + 1)) ** 2)  # fmt: skip
        maps.append(normalized(blob + 0.8 * normalized(rng.random((9, 9)) ** 3)))
    return DataSet.from_records(records, "random"), maps


def perfect_maps(data_set):
    """The indicator of the first true box, of the whole pixels whose box has IoU 1 with it."""
    maps = []
    for boxes, (width, height) in zip(data_set.truth, data_set.sizes.tolist(), strict=True):
        x0, y0, x1, y1 = (
            int(v * SIDE / n) for v, n in zip(boxes[0], (width, height) * 2, strict=True)
        )
        maps.append(np.zeros((SIDE, SIDE)))
        maps[-1][y0:y1, x0:x1] = 0.6
    return maps


@pytest.fixture(scope="module")
def images():
    return random_images(40, np.random.default_rng(1))


@pytest.mark.parametrize(
    ("protocol", "ious"), [("wsoleval-v1", [0.5]), ("wsoleval-v2", [0.3, 0.5, 0.7])]
)
@pytest.mark.parametrize("choice", ["largest", "any"])
def test_max_box_acc_is_that_of_the_peers_loop(images, protocol, ious, choice):
    data_set, maps = images
    made = evaluate_maps(data_set, maps, [get_protocol(protocol)], MapOptions(0.05))
    truths, sizes = [b.tolist() for b in data_set.truth], data_set.sizes.tolist()
    expected = max_box_acc(maps, truths, sizes, 0.05, ious, choice == "any")
    best = made.sweep.best_thresholds(protocol, choice)
    assert [each["accuracy"] for each in best.values()] == expected
    assert made.sweep.max_box_acc(protocol, choice) == pytest.approx(np.mean(expected), abs=1e-12)
    assert all(0 < value < 100 for value in expected)


@pytest.mark.parametrize(
    ("boxes", "truth", "expected"),  # 96f4b88 evaluation_test.py:37-77
    [
        ([[0, 0, 0, 0]] * 3, [0, 0, 0, 0], [1, 1, 1]),
        ([[1, 1, 3, 3], [4, 4, 5, 5]], [1, 1, 3, 3], [1, 0]),
        ([[1, 2, 5, 6]], [3, 1, 4, 5], [8 / 27]),
    ],
)
def test_boxes_of_whole_pixels_have_the_published_ious(boxes, truth, expected):
    sizes = np.array([[SIDE, SIDE]])
    table = BoxTable.from_lists([boxes]).given_in("squash224", sizes)
    iou = box_ious(BoxTable.from_lists([[truth]]), table, sizes, get_protocol("wsoleval-v1"))
    assert iou == pytest.approx(expected, abs=1e-12)


def test_fixed_boxes_count_as_they_are_and_are_no_more_than_the_contours():
    data_set, _ = random_images(12, np.random.default_rng(4))
    two = np.zeros((SIDE, SIDE))
    two[:20, :20] = two[100:150, 100:160] = 1
    fixed = FixedBoxes.from_boxes([[0, 0, 1, 1], [0.2, 0.2, 0.8, 0.8], [0, 0.5, 0.5, 1]], "made up")
    made = evaluate_maps(data_set, [two] * 12, [get_protocol("wsoleval-v2")])
    scores = score_all(
        data_set, made.detections, [get_protocol("wsoleval-v2")], [1, 2, 3],
        metrics=choose_metrics(others=made.metrics()), baseline=fixed,
    )["wsoleval-v2"]  # fmt: skip
    baseline = scores.to_dict()["baseline"]
    assert baseline["map_max_box_acc"] == baseline["gt_known_loc"] > 0
    assert baseline["map_max_box_acc_any"] == baseline["gt_known_loc_multi@2"]
    assert baseline["gt_known_loc_multi@2"] < baseline["gt_known_loc_multi@3"]


@pytest.mark.parametrize("contours", ["all", "largest"])
def test_the_chosen_threshold_gives_the_table_the_same_number(images, contours):
    """GT-known Loc of the boxes is the sweep's accuracy at their threshold, in every protocol."""
    data_set, maps = images
    options = MapOptions(0.05, contours)
    scores, made = score_maps(data_set, maps, ALL, (1, None), options=options)
    for name, result in scores.items():
        step = int(np.flatnonzero(options.thresholds == made.threshold)[0])
        at = made.sweep.accuracy[name][..., step].mean(0)  # (K,)
        assert result.numbers["gt_known_loc"] == pytest.approx(at[0], abs=1e-9)
        assert result.to_dict()["multi"]["all"]["gt_known_loc_multi"] == pytest.approx(
            at[-1], abs=1e-9
        )
        assert result.numbers["map_max_box_acc"] == made.sweep.max_box_acc(name)
        assert ("map_max_box_acc_any" in result.numbers) == (contours == "all")
    first = ALL[0].name
    assert made.chosen_by == first
    assert scores[first].numbers["gt_known_loc"] == pytest.approx(
        made.sweep.accuracy[first][:, 0].mean(0).max(), abs=1e-9
    )


def test_maps_of_the_true_boxes_are_right_at_every_threshold():
    data_set, _ = random_images(20, np.random.default_rng(2))
    made = evaluate_maps(data_set, perfect_maps(data_set), [get_protocol("wsoleval-v2")])
    # the box ends at x1 - 1 in pixels, its corners at x1: cut at 223 by neither
    assert (made.sweep.accuracy["wsoleval-v2"] == 100).all()
    assert made.sweep.counts.maps == 20


def test_more_contours_never_make_it_worse(images):
    data_set, maps = images
    accuracy = sweep_maps(data_set, as_score_maps(maps, data_set), ALL, MapOptions(0.1)).accuracy
    for of_protocol in accuracy.values():
        assert (of_protocol[:, 1] >= of_protocol[:, 0]).all()


def test_images_are_averaged_over_classes_and_left_out_as_the_protocol_says(images, tmp_path):
    """Against the hits of each threshold's own detections, by the metrics of detections."""
    data_set, maps = images
    (tmp_path / "mine.yaml").write_text(
        f"base: psol-crop224\niou_threshold: [0.4, 0.6]\nblacklist: ['{data_set.keys[0]}']\n"
    )
    mine = get_protocol(str(tmp_path / "mine.yaml"))
    options = MapOptions(0.25)
    sweep = sweep_maps(data_set, as_score_maps(maps, data_set), [mine], options)
    for step, threshold in enumerate(options.thresholds):
        scores, _ = score_maps(
            data_set, maps, [mine], (1, None), options=options, threshold=threshold
        )
        numbers = scores["mine"].to_dict()["multi"]
        assert sweep.accuracy["mine"][:, :, step].mean(0) == pytest.approx(
            [numbers["1"]["gt_known_loc_multi"], numbers["all"]["gt_known_loc_multi"]], abs=1e-9
        )


def test_whole_numbers_of_the_frame_are_scored_as_they_are(images):
    """Not as they come back from original pixels, where a part of them is one less."""
    data_set, maps = images
    table = map_detections(data_set, as_score_maps(maps, data_set), 0.3)
    assert table.given.frame.name == "squash224"
    assert (table.given.boxes == table.given.boxes.round()).all()
    assert (table.scores <= 1).all()
    assert np.allclose(
        table.boxes * SIDE / np.tile(data_set.sizes[table.owner], 2), table.given.boxes
    )


def test_class_predictions_give_top1_and_top5(images):
    data_set, maps = images
    classes = ClassPredictions({i: [i % 2, 5, 6, 7, 8] for i in data_set.image_ids})
    scores, _ = score_maps(data_set, maps, ["wsoleval-v1"], (1,), classes, threshold=0.3)
    numbers = scores["wsoleval-v1"].numbers
    assert 0 < numbers["top1_loc"] < numbers["gt_known_loc"]


def test_another_process_gives_the_same(images):
    data_set, maps = images
    protocols = [get_protocol("wsoleval-v2")]
    here, there = (
        evaluate_maps(data_set, maps, protocols, MapOptions(0.1), num_workers=n) for n in (0, 1)
    )
    assert np.array_equal(*(m.sweep.accuracy["wsoleval-v2"] for m in (here, there)))
    assert here.sweep.sha256 == there.sweep.sha256
    assert np.array_equal(here.detections.boxes, there.detections.boxes)
    assert here.to_dict() == there.to_dict()


def test_a_wrong_map_of_another_process_is_named(images):
    data_set, maps = images
    with pytest.raises(InputError, match=r"^score map of image 39: the score map holds NaN"):
        sweep_maps(
            data_set, as_score_maps([*maps[:-1], np.full((7, 7), np.nan)], data_set),
            [get_protocol("original")], num_workers=1,
        )  # fmt: skip


def test_many_boxes_are_compared_some_at_a_time(images, monkeypatch):
    data_set, maps = images
    maps, protocols, options = as_score_maps(maps, data_set), ALL[:2], MapOptions(0.2)
    whole = sweep_maps(data_set, maps, protocols, options).accuracy
    monkeypatch.setattr("wend.evaluation.map_sweep.MAX_BOXES", 1)
    parts = sweep_maps(data_set, maps, protocols, options).accuracy
    assert all(np.array_equal(whole[name], parts[name]) for name in whole)


def test_maps_are_counted_and_their_sum_depends_on_each():
    data_set, _ = random_images(4, np.random.default_rng(3))
    maps = [np.zeros((SIDE, SIDE)), np.full((7, 7), 2.0), np.eye(9), np.eye(SIDE)]
    sweep = evaluate_maps(data_set, maps, ALL[:1]).sweep
    counts = sweep.counts
    assert (counts.maps, counts.resized, counts.constant, counts.blank) == (4, 2, 2, 2)
    assert evaluate_maps(data_set, [*maps[:3], 1 - maps[3]], ALL[:1]).sweep.sha256 != sweep.sha256


@pytest.mark.parametrize(
    "wrong", [{"interval": 0}, {"interval": 1}, {"interval": float("nan")}, {"contours": "two"}]
)
def test_options_out_of_range_are_named(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        MapOptions(**wrong)
