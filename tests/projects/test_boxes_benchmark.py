"""projects/benchmark/boxes/run.py: its boxes are the commands', its numbers those of a loop."""

import importlib.util
import shlex
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from engine_runs import REPOSITORY

from wend.cli.parser import run_command
from wend.localize.method_options import contrast
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

FILE = REPOSITORY / "projects" / "benchmark" / "boxes" / "run.py"


@pytest.fixture
def table(monkeypatch):
    spec = importlib.util.spec_from_file_location("boxes_benchmark", FILE)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "boxes_benchmark", module)  # its dataclasses look there
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "described", lambda: "a commit")
    return module


def test_its_boxes_are_those_of_the_commands_that_it_prints(
    table, toy_root, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(toy_root.parent))
    monkeypatch.setitem(contrast.__kwdefaults__, "epochs", 2)
    given = ["--output", str(tmp_path / "table"), "--data", "toy_test", "--input-size", "64"]
    given += ["--network", "rn=torchvision:resnet18,random"]
    given += ["--methods", "border", "ddt", "contrast", "token-cut", "auto", "cam"]
    table.main(given)
    printed = capsys.readouterr().out
    commands = [line for line in printed.splitlines() if line.startswith("wend pseudo-boxes")]
    assert len(commands) == 6
    folder = tmp_path / "table/rn/toy_test"
    for number, command in ((1, commands[4]), (5, commands[5])):
        method = shlex.split(command)[3]
        output = tmp_path / f"{method}{number}"
        more = ["--dataset", "toy_test", "--output", output, "--boxes", number, "--num-workers", 0]
        words = [*shlex.split(command)[1:], *more, "--page", "none", "--device", "cpu"]
        assert run_command([*map(str, words), "--split", method]) == 0
        files = sorted(path.relative_to(output) for path in output.rglob("pseudo_boxes.json"))
        assert len(files) == (5 if method == "auto" else 1)
        for file in files:
            ours = folder / f"boxes{number}" / file
            assert ours.read_bytes() == (output / file).read_bytes()

    monkeypatch.setattr(table, "make_boxes", None)  # what is there is not made again
    table.main(given)
    again = capsys.readouterr().out
    assert [line for line in again.splitlines() if "load" not in line] == [
        line for line in printed.splitlines() if "load" not in line
    ]
    monkeypatch.setattr(table, "described", lambda: "another")
    with pytest.raises(table.InputError, match="name another --output"):
        table.main(given)


def test_each_true_box_is_taken_once_by_the_best_scores_first(table):
    square = np.array([0, 0, 10, 10])
    truth = BoxTable.from_lists([[square, square + 20], [square + 40], []])
    boxes = BoxTable.from_lists(
        [
            # the second is a repetition, the third takes the other one, the fourth has half of it
            [square, square + 1, square + 21, [20, 20, 30, 25]],
            [square],
            [square],  # of an image whose truth is not known
        ],
        [[0.9, 0.8, 0.7, 0.6], [0.5], [0.5]],
    )
    precision, recall = table.precision_and_recall(truth, boxes)
    assert precision == pytest.approx(100 * 2 / 5)
    assert recall == pytest.approx(100 * 2 / 3)


def test_images_without_a_true_box_are_neither_right_nor_wrong(table):
    """Of three images two have a true box, and one of these is right."""
    truth = {"a": [[0, 0, 10, 10]], "b": [], "c": [[20, 20, 30, 30]]}
    records = [
        ImageRecord(name, f"{name}.png", 40, 30, name, gt_boxes=np.reshape(boxes, (-1, 4)) * 1.0)
        for name, boxes in truth.items()
    ]
    boxes = BoxTable.from_lists([[[0, 0, 10, 9]]] * 3, [[1.0]] * 3)
    cell = SimpleNamespace(data_set=DataSet.from_records(records), boxes=lambda *_: boxes)
    assert table.accuracy(cell, "any") == "50.0 (50.0)"
