"""The best checkpoint, the early end, and evaluations that a kill cost, on either engine."""

import math

import pytest
import torch
from engine_runs import assert_refused, run

from wend.evaluation.curve import read_results
from wend.evaluation.evaluation import Evaluation
from wend.training import evaluations as training_evaluations

KEEPS = {
    "WEND.EPOCHS": "0",
    "SOLVER.MAX_ITER": "6",
    "SOLVER.CHECKPOINT_PERIOD": "1",
    "TEST.EVAL_PERIOD": "1",
    "SOLVER.IMS_PER_BATCH": "2",
    "WEND.KEEP_BEST": "original/gt_known_loc",
    "WEND.EARLY_STOPPING": "2",
}


class Killed(BaseException):
    pass


class Numbers:
    """Results of evaluations, one after the other; ``None`` is a kill."""

    def __init__(self, values):
        self.values = iter(values)
        self.in_full = []

    def run(self, detections, output_dir=None, *, in_full=True):
        value = next(self.values)
        if value is None:
            raise Killed
        self.in_full.append(in_full)
        return {p: self.Scores(value) for p in ("psol-crop224", "original")}

    class Scores:
        def __init__(self, value):
            self.value = value

        def scalars(self):
            return {"gt_known_loc": self.value}


@pytest.fixture
def evaluations(monkeypatch):
    def give(*values):
        numbers = Numbers(values)
        monkeypatch.setattr(Evaluation, "run", lambda self, *a, **k: numbers.run(*a, **k))
        return numbers

    return give


@pytest.fixture
def said(monkeypatch):
    """What is logged of evaluations: Detectron2's handlers are not pytest's."""
    lines = []

    class Log:
        def info(self, message, *values):
            lines.append(message % values)

        warning = info

    monkeypatch.setattr(training_evaluations, "logger", Log())
    return lines


def _curve(folder):
    numbers = read_results(folder / "curve.csv")
    return {i: numbers[i]["toy_test"]["original"]["gt_known_loc"] for i in numbers}


def _saved(folder, name):
    return torch.load(folder / f"{name}.pth", weights_only=True, map_location="cpu")


@pytest.fixture(autouse=True)
def _toy(toy_root, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(toy_root.parent))


def test_a_kill_costs_no_evaluation_and_patience_is_counted_on(engine, evaluations, tmp_path, said):
    folder = tmp_path / "run"
    evaluations(3.0, 5.0, None)
    with pytest.raises(Killed):
        run(engine, folder, changes=KEEPS)
    assert _curve(folder) == {1: 3, 2: 5}
    assert _saved(folder, "model_best")["iteration"] == 1

    numbers = evaluations(5.0, math.nan)  # made up: a tie, which is no better; then the last
    assert run(engine, folder, "--resume", changes=KEEPS) == 0
    assert numbers.in_full == [False, True]
    assert {i: value for i, value in _curve(folder).items() if i < 4} == {1: 3, 2: 5, 3: 5}
    assert list(_curve(folder)) == [1, 2, 3, 4]
    best, final = _saved(folder, "model_best"), _saved(folder, "model_final")
    assert (best["iteration"], final["iteration"]) == (1, 3)
    kept = {"value": 5.0, "iteration": 2, "without": 2, "evaluated": 4}
    assert final["best"] == {"name": "original/gt_known_loc", **kept}
    assert said[-1] == (
        "WEND.EARLY_STOPPING 2: the training ends after 4 of 6 iterations; original/gt_known_loc "
        "was best after 2 iterations (5)"
    )

    evaluations()  # none is left to do
    assert run(engine, folder, "--resume", changes=KEEPS) == 0
    assert "this training is finished: it has taken 4 of 6 iterations" in said[-1]

    evaluations(1.0, 2.0)
    assert run(engine, folder, "--resume", changes={**KEEPS, "WEND.EARLY_STOPPING": "4"}) == 0
    assert _saved(folder, "model_final")["iteration"] == 5
    assert _saved(folder, "model_final")["best"]["without"] == 3  # saved before the last


def test_a_finished_training_has_its_last_evaluation_alone_left(
    engine, evaluations, tmp_path, said
):
    folder, changes = (
        tmp_path / "run",
        {**KEEPS, "SOLVER.MAX_ITER": "2", "WEND.EARLY_STOPPING": "0"},
    )
    changes["SOLVER.WARMUP_ITERS"] = "0"
    evaluations(3.0, None)
    with pytest.raises(Killed):
        run(engine, folder, changes=changes)
    numbers = evaluations(4.0)
    assert run(engine, folder, "--resume", changes=changes) == 0
    assert numbers.in_full == [True]
    assert _curve(folder) == {1: 3, 2: 4}
    assert _saved(folder, "model_best")["iteration"] == 1
    evaluations()
    assert run(engine, folder, "--resume", changes=changes) == 0
    assert sum("this training is finished" in line for line in said) == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("WEND.KEEP_BEST gt_known_loc", "may be toy_test/psol-crop224/gt_known_loc or"),
        ("WEND.KEEP_BEST original/gt_known", "Did you mean 'original/gt_known_loc'"),
        ("WEND.KEEP_BEST original/top1_loc", "no evaluation has the number"),
        ("WEND.KEEP_BEST held_out/total_loss", "where WEND.HELD_OUT is 0"),
        ("WEND.EARLY_STOPPING 2", "WEND.EARLY_STOPPING: expected 0"),
        ("TEST.EXPECTED_RESULTS [['original','gt_known',1.0,1.0]]", "TEST.EXPECTED_RESULTS: no"),
        ("TEST.EXPECTED_RESULTS [['original',1.0,1.0]]", "expected rows [protocol, metric,"),
    ],
)
def test_what_names_no_number_is_refused_before_the_first_step(
    engine, override, message, tmp_path, capsys
):
    assert_refused(engine, override, message, tmp_path / "run", capsys)
