"""wend.evaluation.analysis: breakdowns and error types, derived by hand."""

import numpy as np
import pytest

from wend.errors import InputError
from wend.evaluation.analysis import (
    ERROR_TYPES,
    Group,
    by_class,
    by_num_boxes,
    by_size,
    error_shares,
    error_types,
    true_box_sizes,
)
from wend.evaluation.analysis_report import boxes_in_frame
from wend.evaluation.protocols import EvalProtocol
from wend.structures.box_table import BoxTable
from wend.structures.boxes import box_iou
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord


def test_by_class_counts_each_class_once_in_order():
    hits = np.array([True, False, True, True, False, False])
    rows = by_class(hits, np.array([12, 3, 12, 3, 12, 0]))
    assert rows == [
        Group("0", 1, 0.0),
        Group("3", 2, 50.0),
        Group("12", 3, pytest.approx(200 / 3)),
    ]


def test_by_num_boxes_bins_at_their_edges():
    num = np.array([1, 1, 2, 3, 4, 5, 9, 10, 20])
    hits = np.array([1, 0, 1, 1, 0, 0, 0, 0, 1])
    rows = by_num_boxes(hits, num)
    assert [(r.label, r.num_images, r.percent) for r in rows] == [
        ("1", 2, 50),
        ("2", 1, 100),
        ("3-4", 2, 50),
        ("5-9", 2, 0),
        ("10+", 2, 50),
    ]
    assert [r.label for r in by_num_boxes(hits, num, edges=(1, 10))] == ["1-9", "10+"]
    assert [r.label for r in by_num_boxes(hits[:2], num[:2])] == ["1"]  # no empty rows


def test_by_size_bins_hold_their_upper_edge():
    share = np.array([0.0, 0.05, 0.050001, 0.5, 0.75, 0.9, 1.0])
    rows = by_size(np.array([1, 0, 1, 1, 0, 1, 1]), share)
    assert [(r.label, r.num_images, r.percent) for r in rows] == [
        ("0-5 %", 2, 50),
        ("5-10 %", 1, 100),
        ("25-50 %", 1, 100),
        ("50-75 %", 1, 0),
        ("75-100 %", 2, 100),
    ]


def test_true_box_sizes_take_the_largest_inside_the_image():
    records = [
        ImageRecord(0, "a", 100, 50, gt_boxes=[[0, 0, 10, 10], [50, 0, 100, 25]]),  # 1/50, 1/4
        ImageRecord(1, "b", 10, 10),
        ImageRecord(2, "c", 10, 20, gt_boxes=[[5, -20, 30, 10]]),  # 5x10 of 10x20 is inside
        ImageRecord(3, "d", 10, 10, gt_boxes=[[0, 0, 10, 10]]),
    ]
    num, share = true_box_sizes(DataSet.from_records(records))
    assert num.tolist() == [2, 0, 1, 1]
    np.testing.assert_allclose(share, [0.25, 0, 0.25, 1])
    assert [a.tolist() for a in true_box_sizes(DataSet.from_records(records[1:2]))] == [[0], [0]]


@pytest.mark.parametrize(
    ("breakdown", "values", "message"),
    [
        (by_class, [1, 2, 3], r"class ids of shape \(2,\), got \(3,\)"),
        (by_num_boxes, [1, 0], "an image has 0 true boxes, the bins start at 1"),
        (by_size, [0.5, 1.5], r"area shares 0.5..1.5 leave the bins' 0..1"),
        (by_size, [0.5, np.nan], "leave the bins"),
        (by_size, [[0.5, 0.5]], r"area shares of shape \(2,\), got \(1, 2\)"),
    ],
)
def test_breakdowns_say_what_is_wrong(breakdown, values, message):
    with pytest.raises(InputError, match=message):
        breakdown(np.array([1, 0]), np.array(values))


T = [0, 0, 40, 40]  # the object of most cases, area 1600
CASES = [  # best box, truths, type
    (None, [T], "none"),
    # 20x20 inside: IoU 400/1600 = 0.25
    ([10, 10, 30, 30], [T], "part"),
    # 4x4 inside: IoU 0.01, still on the object
    ([10, 10, 14, 14], [T], "part"),
    # 20x20, 15 of its 20 columns inside: exactly 0.75 of it
    ([25, 0, 45, 20], [T], "part"),
    # 14.9 of 20 columns: 0.745; IoU 298 / (1600 + 400 - 298) = 0.175
    ([25.1, 0, 45.1, 20], [T], "shifted"),
    # 80x80 around it: IoU 0.25; a whole frame of 400x400: IoU 0.01
    ([0, 0, 80, 80], [T], "whole"),
    ([0, 0, 400, 400], [T], "whole"),
    # 60x60 that holds 30 of the object's 40 columns: exactly 0.75 of it; then 29.9: 0.7475,
    # IoU 1196 / (1600 + 3600 - 1196) = 0.3
    ([10, 0, 70, 60], [T], "whole"),
    ([10.1, 0, 70.1, 60], [T], "shifted"),
    # same size, 24 of 40 columns shared: 0.6 both ways, IoU 960 / 2240 = 0.43
    ([16, 0, 56, 40], [T], "shifted"),
    # 10 of 40 columns: IoU 400 / 2800 = 0.143; 7: 280 / 2920 = 0.096
    ([30, 0, 70, 40], [T], "shifted"),
    ([33, 0, 73, 40], [T], "place"),
    # exactly 0.1: 10x10 and 12x10 sharing 2x10, IoU 20 / (100 + 120 - 20)
    ([8, 0, 20, 10], [[0, 0, 10, 10]], "place"),
    ([100, 100, 140, 140], [T], "place"),
    # 44x40 around it, 36x40 in it: IoU 0.91 and 0.9, misses of a stricter protocol; size decides
    ([0, 0, 44, 40], [T], "whole"),
    ([0, 0, 36, 40], [T], "part"),
    # a point inside has no area to lie anywhere
    ([20, 20, 20, 20], [T], "place"),
    # 100x40 over two objects: IoU 0.4 with each
    ([0, 0, 100, 40], [T, [60, 0, 100, 40]], "merged"),
    # the same with only half of the second: too large for one
    ([0, 0, 80, 40], [T, [60, 0, 100, 40]], "whole"),
    # twelve tiny ones, IoU < 0.1 with each
    ([0, 0, 120, 10], [[10 * i, 0, 10 * i + 9, 10] for i in range(12)], "merged"),
    # inside a large object but over two small ones: merged comes first
    ([0, 0, 20, 10], [[0, 0, 100, 100], [0, 0, 9, 9], [10, 0, 20, 10]], "merged"),
    # part of one object, and around a smaller one: part comes first
    ([0, 0, 20, 20], [[0, 0, 100, 100], [0, 0, 5, 5]], "part"),
    # shifted against the second truth, far from the first
    ([30, 0, 70, 40], [[200, 200, 210, 210], T], "shifted"),
    # no truth at all
    ([0, 0, 10, 10], [], "place"),
    # truth without area is not covered
    ([0, 0, 80, 80], [T, [5, 5, 5, 5]], "whole"),
]


def run(cases, hits=None, **options):
    best = np.array([np.full(4, np.nan) if box is None else box for box, *_ in cases], dtype=float)
    truth = np.array([t for _, truths, *_ in cases for t in truths], dtype=float).reshape(-1, 4)
    image = np.repeat(np.arange(len(cases)), [len(c[1]) for c in cases])
    hits = np.zeros(len(cases), dtype=bool) if hits is None else hits
    return error_types(best, truth, image, hits, **options).tolist()


@pytest.mark.parametrize(("box", "truths", "expected"), CASES)
def test_error_type_by_hand(box, truths, expected):
    assert run([(box, truths)]) == [expected]


def test_all_images_at_once_are_as_each_alone_and_hits_stay_hits():
    assert run(CASES) == [expected for *_, expected in CASES]
    hits = np.arange(len(CASES)) % 3 == 0
    mixed = run(CASES, hits)
    assert mixed == ["hit" if h else c[2] for h, c in zip(hits, CASES, strict=True)]
    assert {c[2] for c in CASES} == set(ERROR_TYPES)


def test_thresholds_move_the_types():
    half = [([20, 0, 60, 20], [T])]  # half of a box of half the object's size; IoU 400/2000 = 0.2
    assert run(half) == ["shifted"]
    assert run(half, mostly=0.5) == ["part"]
    assert run(half, touches=0.25) == ["place"]


def test_types_do_not_change_with_scale_or_with_the_order_of_images():
    rng = np.random.default_rng(0)
    best = np.sort(rng.random((400, 2, 2)), 1).reshape(-1, 4)
    truth = np.sort(rng.random((800, 2, 2)), 1).reshape(-1, 4)
    image = np.sort(rng.integers(0, 400, 800))
    misses = np.zeros(400, dtype=bool)
    types = error_types(best, truth, image, misses)
    assert set(types) == set(ERROR_TYPES) - {"none"}
    stretch = np.array([300, 7, 300, 7])
    assert (error_types(best * stretch, truth * stretch, image, misses) == types).all()
    reverse = error_types(best[::-1], truth[::-1], 399 - image[::-1], misses)
    assert (reverse[::-1] == types).all()
    # a box that lies in the truth and covers it overlaps it by 0.6: it never was a miss at 0.5
    iou = np.array([box_iou(best[i : i + 1], truth[image == i]).max(initial=0) for i in range(400)])
    assert (iou[types == "place"] <= 0.1).all()
    assert (iou[types == "shifted"] > 0.1).all()


def test_error_shares_are_of_the_misses():
    types = np.array(["hit", "part", "part", "place", "hit", "merged"])
    shares = error_shares(types)
    assert shares == {"none": 0, "merged": 25, "part": 50, "whole": 0, "shifted": 0, "place": 25}
    assert set(error_shares(np.array(["hit"])).values()) == {0.0}


def test_best_boxes_are_in_the_protocols_frame_with_the_truth_that_it_counts():
    data_set = DataSet.from_records(
        [
            ImageRecord(5, "a", 100, 100, gt_boxes=[T, [50, 50, 60, 60]]),
            ImageRecord(6, "b", 100, 100),
            ImageRecord(7, "c", 100, 100, gt_boxes=[T]),
        ]
    )
    boxes = [[[0, 0, 1, 1], [10, 10, 30, 30]], [[0, 0, 1, 1]], []]
    detections = BoxTable.from_lists(boxes, [[0.1, 0.9], [1], []])
    best, truth, image = boxes_in_frame(data_set, detections, EvalProtocol("original2"))
    assert best[:2].tolist() == [[10, 10, 30, 30], [0, 0, 1, 1]]
    assert np.isnan(best[2]).all()
    assert image.tolist() == [0, 0, 2]
    types = error_types(best, truth, image, np.zeros(3, dtype=bool))
    assert types.tolist() == ["part", "place", "none"]
    # twice the size, the last pixel counted; and only the first true box
    whole = EvalProtocol("whole", resize=200, crop=200, pixel_offset=1, truth="first")
    best, truth, image = boxes_in_frame(data_set, detections, whole)
    assert best[0].tolist() == [20, 20, 61, 61]
    assert truth.tolist() == [[0, 0, 81, 81]] * 2
    assert image.tolist() == [0, 2]


def test_error_types_refuse_arrays_of_other_lengths():
    with pytest.raises(InputError, match=r"best boxes \(2, 4\) and truth \(1, 4\)"):
        error_types(np.zeros((3, 4)), np.zeros((1, 4)), np.zeros(1, int), np.zeros(2, bool))
