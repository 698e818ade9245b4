"""``curve.csv``: each evaluation as a whole, also in a run that was resumed."""

import csv
import math

import pytest

from wend.errors import InputError
from wend.evaluation.curve import append_to_curve, as_in_curve, read_results


def read(path):
    with open(path, newline="") as file:
        return [tuple(row.values()) for row in csv.DictReader(file)]


def test_curve_keeps_a_row_for_each_evaluation_and_metric(tmp_path):
    path = tmp_path / "curve.csv"
    for iteration, value in ((10, 1.5), (20, 2.5)):
        append_to_curve(path, iteration, iteration / 10, {"d": {"p": {"gt_known_loc": value}}})
    assert read(path) == [
        ("10", "1", "d", "p", "gt_known_loc", "1.500000"),
        ("20", "2", "d", "p", "gt_known_loc", "2.500000"),
    ]


def test_a_resumed_run_replaces_the_rows_that_it_repeats(tmp_path):
    path = tmp_path / "curve.csv"
    for iteration in (10, 20, 30):
        results = {dataset: {"p": {"m": float(iteration)}} for dataset in ("a", "b")}
        append_to_curve(path, iteration, 0, results)
    append_to_curve(path, 20, 0, {dataset: {"p": {"m": 99.0}} for dataset in ("a", "b")})
    rows = [(row[0], row[2], float(row[5])) for row in read(path)]
    assert rows == [("10", "a", 10), ("10", "b", 10), ("20", "a", 99), ("20", "b", 99)]


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "curve.csv"
    assert read_results(path) == {}
    results = {"ä, b": {"p": {"m": 1 / 3, "n": math.inf}}, "held_out": {"": {"total_loss": 2e-7}}}
    append_to_curve(path, 5, 0, results)
    (read_again,) = read_results(path).values()
    assert read_again == {
        "ä, b": {"p": {"m": 0.333333, "n": math.inf}},
        "held_out": {"": {"total_loss": 0.0}},
    }
    assert as_in_curve(1 / 3) == 0.333333
    with path.open("a") as file:
        file.write("6,0,d\n")
    with pytest.raises(InputError, match=r"curve.csv, line 5: expected columns iteration"):
        read_results(path)
