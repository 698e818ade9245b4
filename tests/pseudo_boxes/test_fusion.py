"""wend.pseudo_boxes.fusion: clusters, averages and agreement, by hand and against plain loops."""

import numpy as np
import pytest

from wend.errors import InputError
from wend.pseudo_boxes import fusion
from wend.pseudo_boxes.fusion import fuse_boxes
from wend.structures.box_table import BoxTable
from wend.structures.boxes import box_iou


def table(boxes, scores=None):
    return BoxTable.from_lists(boxes, scores)


def drawn(rng, images, sources, most=5):
    """Tables of 0 to ``most`` boxes per image, which overlap often, with scores in [0, 1]."""
    tables = []
    for _ in range(sources):
        counts = rng.integers(0, most + 1, images)
        corners = [60 * rng.random((count, 2)) for count in counts]
        boxes = [np.concatenate([c, c + 10 + 30 * rng.random((len(c), 2))], 1) for c in corners]
        tables.append(table(boxes, [rng.random(count) for count in counts]))
    return tables


def slow_fusion(tables, weights, threshold, image):
    """Section 3 of the paper for one image, word by word: averages (C, 4) and the boxes of each.

    A box is (score times weight, source, box).
    """
    every = [
        (score * weight, source, box)
        for source, (boxes, weight) in enumerate(zip(tables, weights, strict=True))
        for box, score in zip(boxes[image], boxes.scores_of(image), strict=True)
    ]
    every.sort(key=lambda row: -row[0])  # stable
    clusters, averages = [], []
    for row in every:
        ious = [box_iou(row[2][None], average[None])[0, 0] for average in averages]
        best = int(np.argmax(ious)) if ious else -1
        if best >= 0 and ious[best] > threshold:
            clusters[best].append(row)
        else:
            clusters.append([row])
            averages.append(None)
            best = len(clusters) - 1
        rows = clusters[best]
        averages[best] = sum(c * box for c, _, box in rows) / sum(c for c, _, _ in rows)
    return np.array(averages).reshape(-1, 4), clusters


def slow_agreement(tables, weights, average, image):
    """The mean of the pairs' IoUs, pair by pair."""
    nearest = []
    for boxes in tables:
        iou = box_iou(average[None], boxes[image])[0]
        nearest.append(boxes[image][iou.argmax()] if len(iou) and iou.max() > 0 else None)
    total = agreed = 0.0
    for p in range(len(tables)):
        for q in range(p):
            total += weights[p] * weights[q]
            if nearest[p] is not None and nearest[q] is not None:
                iou = box_iou(nearest[p][None], nearest[q][None])[0, 0]
                agreed += weights[p] * weights[q] * iou
    return agreed / total


@pytest.mark.parametrize("block", [1 << 21, 40], ids=["one block", "many blocks"])
@pytest.mark.parametrize(("sources", "threshold"), [(2, 0.3), (3, 0.55), (4, 0.0)])
def test_clusters_averages_and_agreement_are_those_of_plain_loops(
    monkeypatch, block, sources, threshold
):
    monkeypatch.setattr(fusion, "BLOCK", block)
    rng = np.random.default_rng(sources)
    tables, weights = drawn(rng, 12, sources), rng.integers(1, 4, sources).astype(float)
    fused = fuse_boxes(tables, weights=weights, iou_threshold=threshold)
    number = 0
    for image in range(12):
        averages, clusters = slow_fusion(tables, weights, threshold, image)
        agreement = [slow_agreement(tables, weights, a, image) for a in averages]
        score = [sum(row[0] for row in rows) for rows in clusters]
        order = np.lexsort((-np.array(score), -np.array(agreement)))
        np.testing.assert_allclose(fused.table[image], averages[order], atol=1e-12)
        expected = np.array(agreement)[order]
        np.testing.assert_allclose(fused.table.scores_of(image), expected, atol=1e-12)
        start = fused.table.offsets[image]
        sizes = [len(clusters[i]) for i in order]
        assert fused.members[start : start + len(order)].tolist() == sizes
        support = fused.support[start : start + len(order)]
        np.testing.assert_allclose(support, np.array(score)[order], atol=1e-12)
        number += len(order)
        if len(order):
            assert fused.agreement[image] == pytest.approx(expected.mean())
        else:
            assert np.isnan(fused.agreement[image])
    assert number == len(fused.table.boxes) > 20
    assert fused.members.sum() == sum(len(each.boxes) for each in tables)  # none is dropped


def test_averages_are_those_of_ensemble_boxes():
    theirs = pytest.importorskip("ensemble_boxes", reason="ensemble-boxes is not installed")
    tables = drawn(np.random.default_rng(1), 20, 3)
    weights = [1.0, 2.0, 3.0]
    fused = fuse_boxes(tables, weights=weights, iou_threshold=0.4)
    for image in range(20):
        boxes, *_ = theirs.weighted_boxes_fusion(
            [each[image] / 100 for each in tables],
            [each.scores_of(image) for each in tables],
            [np.zeros(len(each[image])) for each in tables],
            weights=weights,
            iou_thr=0.4,
        )
        ours = fused.table[image] / 100
        assert len(ours) == len(boxes)
        if len(boxes):  # theirs are float32, in another order
            np.testing.assert_allclose(
                ours[np.lexsort(ours.T)], boxes[np.lexsort(boxes.T)], atol=1e-6
            )


def test_two_boxes_by_hand():
    """Widths of 10, shifted by 2: IoU 8/12; C are 3/4 and 1/4, so the average is shifted 1/2."""
    a, b = table([[[0, 0, 10, 10]]], [[0.75]]), table([[[2, 0, 12, 10]]], [[0.25]])
    fused = fuse_boxes([a, b])
    assert fused.table.boxes.tolist() == [[0.5, 0, 10.5, 10]]
    assert fused.table.scores.tolist() == [pytest.approx(8 / 12)]
    assert fused.members.tolist() == [2]
    assert fused.pairs.tolist() == [[1, pytest.approx(2 / 3)], [pytest.approx(2 / 3), 1]]
    assert fused.of_sources.tolist() == [pytest.approx(2 / 3)] * 2
    ignored = fuse_boxes([a, b], use_scores=False)
    assert ignored.table.boxes.tolist() == [[1, 0, 11, 10]]
    weighted = fuse_boxes([a, b], use_scores=False, weights=[1, 3])
    assert weighted.table.boxes.tolist() == [[1.5, 0, 11.5, 10]]


def test_equal_boxes_agree_fully_and_boxes_apart_not_at_all():
    boxes = [[[1 / 3, 0.1, 7.7, 9.9]], [[0, 0, 5, 5]]]
    apart = [[[1 / 3, 0.1, 7.7, 9.9]], [[6, 6, 9, 9]]]
    fused = fuse_boxes([table(boxes), table(boxes), table(apart)])
    assert fused.table.scores_of(0).tolist() == [1.0]
    assert fused.table[0].tolist() == pytest.approx(np.array(boxes[0]))
    # the first two sources agree, the third is alone
    assert fused.table[1].tolist() == [boxes[1][0], apart[1][0]]
    assert fused.table.scores_of(1).tolist() == [pytest.approx(1 / 3), 0.0]
    assert fused.agreement[1] == pytest.approx(1 / 6)


def test_a_box_that_only_one_source_has_stays_with_agreement_0():
    fused = fuse_boxes([table([[[0, 0, 4, 4]], []]), table([[], []])])
    assert fused.table[0].tolist() == [[0, 0, 4, 4]]
    assert fused.table.scores.tolist() == [0.0]
    assert fused.agreement.tolist() == [0.0, pytest.approx(np.nan, nan_ok=True)]


@pytest.mark.parametrize(
    ("absent", "expected"), [("disagrees", [1 / 3, 0.0]), ("silent", [1.0, 0.0])]
)
def test_a_source_without_a_box_disagrees_or_says_nothing(absent, expected):
    box = [[0, 0, 4, 4]]
    fused = fuse_boxes([table([box, box]), table([box, []]), table([[], []])], absent=absent)
    assert fused.table.scores.tolist() == pytest.approx(expected)


def test_the_medoid_is_the_box_that_the_others_agree_with_most():
    """Three boxes in a row: the middle one has IoU 3/5 with each, the outer ones 1/3 with another.

    Threshold 0.3, so that they are one cluster.
    """
    left, middle, right = [0, 0, 4, 4], [1, 0, 5, 4], [2, 0, 6, 4]
    tables = [
        table([[box]], [[score]]) for box, score in ((left, 0.9), (right, 0.8), (middle, 0.7))
    ]
    assert fuse_boxes(tables, iou_threshold=0.3, method="medoid").table.boxes.tolist() == [middle]
    assert fuse_boxes(tables, iou_threshold=0.3, method="best").table.boxes.tolist() == [left]
    (score,) = fuse_boxes(tables, iou_threshold=0.3, method="best").table.scores
    assert score == pytest.approx((3 / 5 + 3 / 5 + 1 / 3) / 3)


def test_the_medoid_of_two_is_the_first_source_and_a_heavy_source_pulls_it():
    a, b = [0, 0, 4, 4], [1, 0, 5, 4]
    assert fuse_boxes([table([[a]]), table([[b]])], method="medoid").table.boxes.tolist() == [a]
    c = [2, 0, 6, 4]
    tables = [table([[box]]) for box in (a, b, c)]
    fused = fuse_boxes(tables, weights=[1, 1, 100], method="medoid", iou_threshold=0.3)
    # support: a (3/5 + 100/3) / 101, b (3/5 + 60) / 101, c (1/3 + 3/5) / 2
    assert fused.table.boxes.tolist() == [b]


def test_boxes_of_score_0_are_averaged_alike():
    tables = [table([[[0, 0, 4, 4]]], [[0.0]]), table([[[1, 0, 5, 4]]], [[0.0]])]
    assert fuse_boxes(tables).table.boxes.tolist() == [[0.5, 0, 4.5, 4]]


def test_scores_of_another_unit_count_by_their_order():
    """Log-odds -3 and 5 of two images are 1/2 and 1; per cent alike."""
    a = table([[[0, 0, 4, 4]], [[0, 0, 4, 4]]], [[-3.0], [5.0]])
    b = table([[[1, 0, 5, 4]], [[1, 0, 5, 4]]])
    assert fuse_boxes([a, b]).table.boxes[:, 0].tolist() == [pytest.approx(2 / 3), 0.5]


def test_most_boxes_per_image_are_those_most_agreed_on_and_the_others_counted():
    boxes = [[[0, 0, 4, 4], [20, 20, 30, 30], [50, 50, 60, 60]]]
    other = [[[21, 20, 31, 30], [50, 50, 60, 60]]]
    fused = fuse_boxes([table(boxes), table(other)], max_boxes=2)
    assert fused.table[0].tolist() == [[50, 50, 60, 60], [20.5, 20, 30.5, 30]]
    assert fused.left_out == 1
    assert fused.pairs[0, 1] == pytest.approx((1 + 9 / 11) / 2)


def test_no_boxes_and_no_images():
    fused = fuse_boxes([BoxTable.empty(3), BoxTable.empty(3)])
    assert fused.table.counts.tolist() == [0, 0, 0]
    assert np.isnan(fused.agreement).all()
    assert len(fuse_boxes([BoxTable.empty(0)] * 2).table) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": [1.0]}, "expected 2 numbers > 0, got 1"),
        ({"weights": [1.0, 0.0]}, "got 1, 0"),
        ({"weights": [1.0, np.nan]}, "got 1, nan"),
        ({"iou_threshold": 1.0}, r"IoU threshold: expected a number in \[0, 1\), got 1"),
        ({"iou_threshold": np.nan}, "IoU threshold"),
        ({"max_boxes": 0}, "boxes per image: expected a number from 1, got 0"),
        ({"method": "mean"}, "method: expected one of average, medoid, best, got 'mean'"),
        ({"absent": "0"}, "absent: expected one of disagrees, silent"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        fuse_boxes([BoxTable.empty(1), BoxTable.empty(1)], **arguments)


def test_tables_of_other_images_or_a_single_one_are_refused():
    with pytest.raises(InputError, match=r"tables of the same images, got \[1, 2\] images"):
        fuse_boxes([BoxTable.empty(1), BoxTable.empty(2)])
    with pytest.raises(InputError, match="at least two sources, got 1"):
        fuse_boxes([BoxTable.empty(1)])
