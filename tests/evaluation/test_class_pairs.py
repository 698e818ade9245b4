"""Detections with a class for each box, against TS-CAM's and GenPromp's loop and by hand."""

import numpy as np
import peers
import pytest
import reference

from wend.errors import InputError
from wend.evaluation.class_pairs import class_pairs
from wend.evaluation.fixed_boxes import FixedBoxes
from wend.evaluation.metrics import accuracy
from wend.evaluation.per_image import score
from wend.evaluation.protocols import get_protocol
from wend.evaluation.scoring import score_all
from wend.structures.box_table import BoxTable
from wend.structures.class_predictions import ClassPredictions
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord


def with_pairs(images, rng, frame, repeat):
    """Each image with up to seven whole-number boxes of a frame, each of one of eight classes.

    Without ``repeat`` each class stands once, as methods of class maps have it.
    """
    made = []
    for image in map(dict, images):
        size = np.tile([image["width"], image["height"]], 2)
        truth = np.array(image["gt_boxes"])[rng.integers(0, len(image["gt_boxes"]), 7)]
        truth = truth / size * frame
        boxes = truth + rng.normal(0, 0.25, (7, 4)) * np.tile(truth[:, 2:] - truth[:, :2], 2)
        boxes = np.round(boxes).clip(0, frame).reshape(7, 2, 2)
        number = rng.integers(0, 8)
        image["frame_boxes"] = np.sort(boxes, axis=1).reshape(7, 4)[:number].astype(int).tolist()
        classes = rng.integers(0, 8, 7) if repeat else rng.permutation(8)[:7]
        image["pairs"] = (image["class_id"] + classes[:number]).tolist()
        made.append(image)
    return made


def as_tables(images, frame):
    data_set = DataSet.from_records(
        ImageRecord(i, "x", d["width"], d["height"], class_id=d["class_id"], gt_boxes=d["gt_boxes"])
        for i, d in enumerate(images)
    )
    boxes = [d["frame_boxes"] for d in images]
    scores = [-np.arange(len(each)) for each in boxes]
    table = BoxTable.from_lists(boxes, scores, class_ids=[d["pairs"] for d in images])
    return data_set, table.given_in(frame, data_set.sizes)


@pytest.fixture(scope="module")
def truth(shared):
    images = reference.read_metadata(shared / "data/wsol_metadata/ILSVRC/test")
    chosen = np.random.default_rng(3).permutation(len(images))[:1000]
    return [images[i] for i in chosen]


@pytest.mark.parametrize("repeat", [False, True])
@pytest.mark.parametrize(
    ("name", "side"),
    [("tscam-squash224", 224), ("genpromp-squash512", 512), ("wsoleval-v2", 224)],
)
def test_pairs_are_counted_as_the_peers_loop_counts_them(truth, name, side, repeat):
    images = with_pairs(truth, np.random.default_rng(1), side, repeat)
    data_set, detections = as_tables(images, f"squash{side}")
    scores = score(data_set, detections, get_protocol(name))
    for k in (1, 2, 5, None):
        theirs, _ = peers.PEERS[name](images, k)
        for metric, value in theirs.items():
            assert accuracy(scores, metric, k) == pytest.approx(value, abs=1e-9), (metric, k)
    assert theirs["top1_loc"] < theirs["top5_loc"]
    ranks = []
    for image in images:
        different = list(dict.fromkeys(image["pairs"]))
        known = image["class_id"] in different
        ranks.append(different.index(image["class_id"]) if known else max(len(different), 5))
    assert scores.class_rank.tolist() == ranks
    own = [sum(c == image["class_id"] for c in image["pairs"]) for image in images]
    assert scores.num_boxes.tolist() == own


# --- by hand: the example of docs/protocols.md -------------------------------------------------

# (class, IoU) of the pairs, best first; a box [0, 0, 10, h] of truth [0, 0, 10, 10] has IoU h / 10
EXAMPLE = [
    (0, [(0, 0.3), (1, 0.9), (0, 0.8)]),
    (1, [(0, 0.9), (1, 0.6)]),
    (1, [(1, 0.7)]),
    (2, [(0, 0.9), (1, 0.9)]),
    (2, []),
]


def example(**changes):
    data_set = DataSet.from_records(
        ImageRecord(i, f"c/{i}.jpg", 10, 10, class_id=class_id, gt_boxes=[[0, 0, 10, 10]])
        for i, (class_id, _) in enumerate(EXAMPLE)
    )
    boxes = [[[0, 0, 10, 10 * iou] for _, iou in pairs] for _, pairs in EXAMPLE]
    scores = [-np.arange(len(each)) for each in boxes]
    class_ids = changes.get("class_ids", [[c for c, _ in pairs] for _, pairs in EXAMPLE])
    return data_set, BoxTable.from_lists(boxes, scores, class_ids=class_ids)


def test_the_example_of_the_documentation():
    scores = score(*example(), get_protocol("original"))
    assert scores.class_rank.tolist() == [0, 1, 0, 5, 5]
    assert [rank if rank < 9 else None for rank in scores.pair_rank[0].tolist()] == [
        *(2, 1, 0, None, None)
    ]
    assert accuracy(scores, "top1_loc") == 20  # image 2
    assert accuracy(scores, "top5_loc") == 60  # images 0, by its third pair, 1 and 2
    assert accuracy(scores, "gt_known_loc") == 40  # 1 and 2: the first of image 0's class is 0.3
    assert accuracy(scores, "gt_known_loc_multi", 1) == 40
    assert accuracy(scores, "gt_known_loc_multi", 2) == 60
    assert accuracy(scores, "top5_loc_multi", 1) == 40
    assert accuracy(scores, "top5_loc_multi", 2) == 60
    assert accuracy(scores, "corloc") == 40
    assert scores.top_iou.tolist() == pytest.approx([0.3, 0.6, 0.7, 0, 0])
    assert scores.best_iou.tolist() == pytest.approx([0.8, 0.6, 0.7, 0, 0])
    assert scores.num_boxes.tolist() == [2, 1, 1, 0, 0]


def test_a_box_of_each_class_that_covers_all_is_no_more_than_its_class():
    # every pair's box is right: what is left is the classification
    data_set, detections = example()
    boxes = np.tile([0.0, 0, 10, 10], (len(detections.boxes), 1))
    perfect = BoxTable(detections.offsets, boxes, detections.scores, detections.class_ids)
    scores = score(data_set, perfect, get_protocol("original"))
    assert accuracy(scores, "top1_loc") == 100 * np.mean(scores.class_rank < 1)
    assert accuracy(scores, "top5_loc") == 100 * np.mean(scores.class_rank < 5)


def test_boxes_of_one_class_are_as_boxes_without_and_fixed_boxes_have_none():
    data_set, detections = example()
    plain = BoxTable(detections.offsets, detections.boxes, detections.scores)
    classes = data_set.class_ids[detections.owner]
    own = BoxTable(detections.offsets, detections.boxes, detections.scores, classes)
    one, other = (score(data_set, each, get_protocol("original")) for each in (own, plain))
    assert one.hit_rank.tolist() == other.hit_rank.tolist()
    assert one.top_iou.tolist() == other.top_iou.tolist()
    baseline = FixedBoxes.from_boxes([[0, 0, 1, 1]], "whole")
    scores = score_all(data_set, detections, [get_protocol("original")], [1], baseline=baseline)[
        "original"
    ]
    cells = {column.label: cell for column, cell in scores.cells.items()}
    assert cells["gt_known_loc_multi@1"].baseline == 100
    assert cells["top1_loc"].baseline == 40  # the whole image is right: the best class decides


def test_contradictions_are_named():
    data_set, detections = example()
    predictions = ClassPredictions({i: range(5) for i in range(5)})
    with pytest.raises(InputError, match=r"class for each box, and there are class predictions"):
        score_all(data_set, detections, [get_protocol("original")], [1], predictions)
    unknown = DataSet.from_records(
        ImageRecord(i, "x", 10, 10, gt_boxes=[[0, 0, 5, 5]]) for i in range(5)
    )
    with pytest.raises(InputError, match=r"5 of 5 images have none .*--box-classes ignore"):
        class_pairs(unknown, detections)
    for wrong, message in (
        ([[0], [], [], [], []], "image 0: 3 boxes but 1 classes"),
        ([[0, 1, -1], [0, 1], [1], [0, 1], []], "image 0: expected classes as whole numbers"),
        ([[0, 1, 0.5], [0, 1], [1], [0, 1], []], "image 0: expected classes as whole numbers"),
    ):
        with pytest.raises(InputError, match=message):
            example(class_ids=wrong)
