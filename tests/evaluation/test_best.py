"""The best evaluation by a number that the user names."""

import math

import pytest

from wend.errors import InputError
from wend.evaluation.best import Best, best_of, find_number, higher_is_better, known_numbers
from wend.evaluation.evaluation import Evaluation
from wend.evaluation.metrics import METRICS, choose_metrics, register_metric
from wend.evaluation.protocols import get_protocol
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

KNOWN = [f"{d}/{p}/{m}" for d in ("a", "b") for p in ("p", "q") for m in ("loc", "ap50")]


def evaluation(**more):
    records = [ImageRecord(1, "a.jpg", 9, 9, class_id=0, gt_boxes=[[0, 0, 5, 5]])]
    protocols = [get_protocol("psol-crop224"), get_protocol("original")]
    return Evaluation(DataSet.from_records(records, "made_up"), protocols, 2, **more)


def told(values, **results):
    best = Best("m")
    for iteration, value in enumerate(values, 1):
        best.tell(iteration, {"d": {"p": {"m": value}}, **results})
    return best.value, best.iteration, best.without


def test_an_evaluation_has_the_numbers_that_are_known_before(tmp_path):
    made = evaluation(metrics=choose_metrics(["ap50"]))
    detections = made.data_set.truth.scored()
    for protocol, result in made.score(detections).items():
        names = {f"made_up/{protocol}/{name}" for name in result.numbers}
        assert names == {n for n in known_numbers([made]) if n.startswith(f"made_up/{protocol}/")}


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        ("a/p/loc", "a/p/loc"),
        ("b/ap50", None),
        ("a/q/ap50", "a/q/ap50"),
        ("p/loc", None),
        ("loc", None),
        ("oc", None),
        ("", None),
    ],
)
def test_a_number_is_meant_by_the_end_of_its_name(name, whole):
    if whole is None:
        with pytest.raises(InputError, match=r"config entry WEND\.KEEP_BEST: "):
            find_number(name, KNOWN)
    else:
        assert find_number(name, KNOWN) == whole


def test_a_name_that_is_none_or_several_lists_what_there_is():
    with pytest.raises(InputError, match=r"'loc' may be a/p/loc or a/q/loc; name one of them"):
        find_number("loc", KNOWN[:4])
    with pytest.raises(InputError, match=r"there are a/p/loc, a/p/ap50.*mean 'p/loc'\?"):
        find_number("p/lok", KNOWN)
    with pytest.raises(InputError, match=r"no test set has true boxes"):
        find_number("loc", [])
    # COCO's AP is the same number under every protocol
    assert find_number("ap50", KNOWN[:4]) == "a/p/ap50"


def test_ties_keep_the_earlier_and_nan_never_wins():
    assert told([1, 3, 3, 2]) == (3, 2, 2)
    assert told([math.nan, 1, math.nan, math.inf]) == (1, 2, 2)
    assert told([math.nan, math.inf]) == (None, 0, 2)
    assert told([1, 1 + 1e-9]) == (1, 1, 1)  # equal, as the curve states them
    best = Best("held_out/total_loss")
    for iteration, value in enumerate([3.0, 2.0, 2.5], 1):
        best.tell(iteration, {"held_out": {"": {"total_loss": value}}})
    assert (best.value, best.iteration, best.without) == (2, 2, 1)


def test_a_metric_says_whether_more_is_better():
    with METRICS.temporary():

        @register_metric("Error", name="error_of_mine", higher_is_better=False)
        def error_of_mine(per_image):
            return 1 - per_image.top_iou

        assert not higher_is_better("a/p/error_of_mine")
        assert higher_is_better("a/p/gt_known_loc")
        best = Best("error_of_mine")
        for iteration, value in enumerate([3.0, 2.0, 2.5], 1):
            best.tell(iteration, {"a": {"p": {"error_of_mine": value}}})
        assert best.iteration == 2
    assert higher_is_better("a/bbox/AP")  # of Detectron2's own evaluators


def test_the_best_of_a_curve_is_that_of_its_evaluations_in_order_whatever_is_told_twice():
    curve = {i: {"d": {"p": {"m": value}}} for i, value in ((20, 5.0), (10, 4.0), (30, 5.0))}
    best = best_of("m", curve)
    assert (best.value, best.iteration, best.without, best.evaluated) == (5, 20, 1, 30)
    assert best.tell(30, {"d": {"p": {"m": 9.0}}}) is False
    again = Best("other")
    again.load_state_dict(best.state_dict())
    assert again.state_dict() == best.state_dict()
    assert again.tell(40, {"d": {"p": {"m": 6.0}}})
    with pytest.raises(InputError, match=r"no evaluation has the number 'n'"):
        best_of("n", curve)
