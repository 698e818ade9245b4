"""wend.audit.signals and suspicion: constructed boxes whose order is known, values by hand."""

import numpy as np
import pytest

from wend.audit import SIGNALS, Evidence, audit_signal
from wend.audit.signals import best_iou, columns, mirror_back, support
from wend.audit.suspicion import rank_shares, ranking_area, suspicion
from wend.errors import InputError
from wend.structures.box_table import BoxTable

BOX = [20, 20, 60, 60]
SHIFTED = [40, 20, 80, 60]  # IoU 800 / 2400 = 1/3 with BOX
AWAY = [70, 70, 90, 90]


@pytest.fixture
def own_signals():
    with SIGNALS.temporary():
        yield


def table(*images, scores=None):
    return BoxTable.from_lists(images, scores)


def evidence(boxes, **more):
    return Evidence(boxes, np.full((len(boxes), 2), 100), **more)


def values(which, made):
    return {column.name: column.values for column in columns(made)}[which]


def test_boxes_alone_have_several_signals_and_no_others():
    made = columns(evidence(table([BOX], [], [AWAY, SHIFTED])))
    assert [column.name for column in made] == ["area", "aspect", "border", "centre"]
    assert {column.family for column in made} == {"shape"}
    assert all(column.values.shape == (3,) for column in made)


def test_outlying_shapes_stand_out():
    boxes = [[[30, 30, 70 + i % 3, 70]] for i in range(9)]
    boxes += [[[0, 0, 100, 100]], [[30, 30, 34, 70]], [[2, 30, 42, 70]]]
    made = evidence(table(*boxes))
    assert values("area", made).argmax() == 10  # 0.016 of the image beside 0.16
    assert values("aspect", made).argmax() == 10
    assert values("centre", made).argmax() == 11
    assert values("border", made).tolist() == [0.0] * 9 + [4.0, 0.0, 0.0]
    combined = suspicion(columns(made), 12)
    assert set(np.argsort(-combined)[:2].tolist()) == {10, 11}
    assert combined[9] > np.median(combined)


def test_equal_shapes_are_all_alike():
    made = columns(evidence(table([BOX], [BOX], [BOX])))
    assert all((column.values == 0).all() for column in made)
    np.testing.assert_array_equal(suspicion(made, 3), [0.5, 0.5, 0.5])


def test_a_low_own_score_is_suspicious():
    made = evidence(table([BOX], [BOX, AWAY], scores=[[0.9], [0.8, 0.1]]))
    assert values("own_score", made).tolist() == [-0.9, -0.8, -0.1]


def test_another_source_disagrees_by_its_nearest_box():
    boxes = table([BOX], [BOX, AWAY], [BOX])
    others = {"a": table([SHIFTED], [AWAY, SHIFTED], []), "b": table([BOX], [BOX], [BOX])}
    made = evidence(boxes, others=others)
    np.testing.assert_allclose(values("other:a", made), [2 / 3, 2 / 3, 0, np.nan])
    np.testing.assert_allclose(values("other:b", made), [0, 0, 1, 0])


def test_support_weighs_by_the_share_of_the_highest_score():
    # IoU 1/3 at the highest score, IoU 1 at half of it
    got = support(np.array([BOX, AWAY]), np.array([SHIFTED, BOX]), np.array([0.8, 0.4]))
    np.testing.assert_allclose(got, [0.5, _iou(AWAY, SHIFTED)])
    np.testing.assert_array_equal(support(np.array([BOX]), np.zeros((0, 4)), np.zeros(0)), [0])
    np.testing.assert_allclose(support(np.array([BOX]), np.array([BOX]), np.array([0.0])), [1])


def _iou(a, b):
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    return width * height / (sum(areas) - width * height)


def test_the_detector_disagrees_or_is_unsure():
    boxes = table([BOX], [BOX], [BOX])
    predicted = table([BOX, SHIFTED], [SHIFTED, BOX], [], scores=[[0.9, 0.3], [0.8, 0.2], []])
    made = evidence(boxes, detector=predicted)
    np.testing.assert_allclose(values("detector", made), [0, 1 - 1 / 3, 1])
    np.testing.assert_allclose(values("detector_score", made), [0.1, 0.8, 1])
    assert "flips" not in {column.name for column in columns(made)}


def test_detections_that_flip_are_suspicious():
    boxes = table([BOX], [BOX], [BOX], [BOX, AWAY])
    predicted = table([BOX], [BOX], [], [BOX, AWAY], scores=[[0.9], [0.9], [], [0.9, 0.9]])
    mirrored = table([BOX], [AWAY], [BOX], [BOX, SHIFTED], scores=[[0.5], [0.5], [1], [1, 0.5]])
    made = evidence(boxes, detector=predicted, mirrored=mirrored)
    last = 1 - 0.5 * _iou(AWAY, SHIFTED)
    np.testing.assert_allclose(values("flips", made), [0, 1, np.nan, 0, last])


def test_mirrored_boxes_come_back():
    np.testing.assert_array_equal(mirror_back([[10, 5, 30, 8]], 100), [[70, 5, 90, 8]])
    boxes = np.array([BOX, AWAY], dtype=float)
    np.testing.assert_array_equal(mirror_back(mirror_back(boxes, 95), 95), boxes)


def test_ranks_are_shares_with_ties_in_the_middle():
    got = rank_shares(np.array([1, 1, 3, np.nan, 2]))
    np.testing.assert_allclose(got, [0.25, 0.25, 0.875, 0.5, 0.625])
    assert got.mean() == 0.5
    np.testing.assert_array_equal(rank_shares(np.full(3, np.nan)), [0.5] * 3)
    np.testing.assert_array_equal(rank_shares(np.zeros(0)), [])


def test_families_vote_together_and_shapes_count_half():
    boxes = table([BOX], [BOX], [BOX], [BOX])
    others = {"a": table([BOX], [BOX], [BOX], [AWAY])}
    made = columns(evidence(boxes, others=others))
    # shape: all equal, 0.5 each; other: 0.375 (of three equal ones), 0.875
    want = [(0.375 + 0.5 * 0.5) / 1.5] * 3 + [(0.875 + 0.25) / 1.5]
    np.testing.assert_allclose(suspicion(made, 4), want)
    np.testing.assert_array_equal(suspicion([], 2), [0.5, 0.5])


def test_more_sources_do_not_outvote_another_family():
    boxes = table([BOX], [BOX])
    others = {name: table([BOX], [AWAY]) for name in "abc"}
    predicted = table([AWAY], [BOX], scores=[[0.9], [0.9]])
    made = columns(evidence(boxes, others=others, detector=predicted))
    np.testing.assert_allclose(*suspicion(made, 2)[None].T)


def test_the_area_under_the_curve_counts_pairs():
    random = np.random.default_rng(0)
    marks, wrong = random.integers(0, 6, 40).astype(float), random.random(40) < 0.4
    pairs = [(a, b) for a in marks[wrong] for b in marks[~wrong]]
    by_hand = np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs])
    assert ranking_area(marks, wrong) == pytest.approx(by_hand)
    assert ranking_area(np.array([1, 2, 3]), np.array([False, False, True])) == 1
    assert np.isnan(ranking_area(np.array([1, 2]), np.array([True, True])))


def test_the_nearest_true_box_of_each_box():
    boxes = table([BOX], [BOX, AWAY], [BOX], [])
    truth = table([SHIFTED], [AWAY, SHIFTED], [], [BOX])
    np.testing.assert_allclose(best_iou(boxes, truth), [1 / 3, 1 / 3, 1, np.nan])


def test_a_signal_of_ones_own(own_signals):
    @audit_signal("left", family="mine", meaning="far to the left")
    def left(evidence):
        return -evidence.boxes.boxes[:, 0]

    made = columns(evidence(table([BOX], [AWAY])))
    assert made[-1].name == "left"
    assert made[-1].values.tolist() == [-20, -70]


@pytest.mark.parametrize("wrong", [np.zeros(3), np.array([0, np.inf]), np.zeros((2, 1))])
def test_a_signal_must_have_a_number_for_each_box(own_signals, wrong):
    audit_signal("bad", family="mine", meaning="?")(lambda evidence: wrong)
    with pytest.raises(InputError, match="audit signal 'bad': expected a finite number or NaN"):
        columns(evidence(table([BOX], [AWAY])))


def test_tables_of_other_images_are_refused():
    with pytest.raises(InputError, match="2 images but others of"):
        evidence(table([BOX], [BOX]), others={"a": table([BOX])})


def test_no_boxes_have_no_values():
    made = columns(evidence(table([], []), others={"a": table([BOX], [])}))
    assert all(column.values.shape == (0,) for column in made)
    assert set(SIGNALS) >= {column.name.partition(":")[0] for column in made}
