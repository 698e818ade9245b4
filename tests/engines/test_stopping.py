"""A signal costs no work, and a folder has one run, on either engine."""

import csv
import json
import os
import shlex
import shutil
import signal
import time

import pytest
import torch
from engine_runs import kept_logging, run

from wend.cli.train import main
from wend.evaluation.evaluation import Evaluation
from wend.run_lock import locked


def _at_step(patch, number, action):
    """Do something in the optimizer's step of this number, from 1, instead of before or after."""
    step, steps = torch.optim.SGD.step, []

    def watched(self, *arguments):
        steps.append(1)
        if len(steps) == number:
            action()
        return step(self, *arguments)

    patch.setattr(torch.optim.SGD, "step", watched)


def _send(number):
    os.kill(os.getpid(), number)


def _iterations(output_dir):
    with open(output_dir / "curve.csv", newline="") as file:
        return {row["iteration"] for row in csv.DictReader(file)}


def test_a_signal_lets_the_step_finish_and_saves_it(
    engine, finished, tmp_path, monkeypatch, capsys
):
    output_dir = tmp_path / "Läufe und mehr"
    with monkeypatch.context() as patch:
        _at_step(patch, 5, lambda: _send(signal.SIGTERM))
        assert run(engine, output_dir) == 143
    said = capsys.readouterr().err.strip().splitlines()[-1]
    saved = output_dir / "model_0000004.pth"
    assert torch.load(saved, weights_only=False)["iteration"] == 4
    assert f"by SIGTERM; {saved} is saved (5 iterations are done); go on with: " in said
    assert _iterations(output_dir) == {"3"}  # no evaluation at the end
    command = shlex.split(said.partition("go on with: ")[2])
    assert command.count("--resume") == 1
    with kept_logging():
        assert main(command[command.index("--resume") :]) == 0
    assert _iterations(output_dir) == {"3", "6"}
    expected, got = (
        torch.load(folder / "model_final.pth", weights_only=True)["model"]
        for folder in (finished(engine), output_dir)
    )
    assert all(torch.equal(expected[name], got[name]) for name in expected)  # nothing was lost


def test_a_signal_ends_an_evaluation_at_once(engine, tmp_path, monkeypatch, capsys):
    """The second evaluation, after step 4, whose checkpoint has no period of its own."""
    evaluations = []
    score = Evaluation.run

    def scored(self, *arguments, **options):
        evaluations.append(1)
        if len(evaluations) == 2:
            _send(signal.SIGINT)
            raise AssertionError("went on")
        return score(self, *arguments, **options)

    changes = {"WEND.EPOCHS": "0", "SOLVER.MAX_ITER": "6", "TEST.EVAL_PERIOD": "2"}
    changes["SOLVER.CHECKPOINT_PERIOD"] = "3"
    with monkeypatch.context() as patch:
        patch.setattr(Evaluation, "run", scored)
        assert run(engine, tmp_path / "out", changes=changes) == 130
    assert "model_0000003.pth is saved (4 iterations are done)" in capsys.readouterr().err
    assert run(engine, tmp_path / "out", "--resume", changes=changes) == 0
    assert _iterations(tmp_path / "out") >= {"2", "6"}


@pytest.mark.slow
def test_a_second_signal_ends_at_once(engine, tmp_path, monkeypatch, capsys):
    def twice():
        _send(signal.SIGINT)
        time.sleep(0.2)
        _send(signal.SIGINT)

    _at_step(monkeypatch, 5, twice)
    assert run(engine, tmp_path / "out") == 130
    assert "model_0000002.pth is saved" in capsys.readouterr().err
    assert not (tmp_path / "out/model_0000004.pth").exists()


def test_a_used_folder_is_refused_and_overwritten_if_asked(engine, finished, tmp_path, capsys):
    output_dir = tmp_path / "out"
    shutil.copytree(finished(engine), output_dir)
    (output_dir / "first_epoch.json").write_text("of the earlier run")
    (output_dir / "notes.txt").touch()
    before = {path: path.stat().st_mtime_ns for path in output_dir.rglob("*")}
    assert run(engine, output_dir) == 2
    said = capsys.readouterr().err
    for word in ("model_final.pth", "--resume", "--overwrite", str(output_dir)):
        assert word in said
    assert {path: path.stat().st_mtime_ns for path in output_dir.rglob("*")} == before
    assert run(engine, output_dir, "--overwrite", "--resume") == 2
    assert "give one of both" in capsys.readouterr().err
    weights = {"MODEL.WEIGHTS": str(output_dir / "model_final.pth")}
    assert run(engine, output_dir, "--overwrite", changes=weights) == 2
    assert "model_final.pth is of the run that --overwrite removes" in capsys.readouterr().err
    assert run(engine, output_dir, "--overwrite") == 0
    removed = capsys.readouterr().out.partition("held an earlier run; removed: ")[2]
    assert removed.startswith("config.yaml, curve.csv, ")
    lines = (output_dir / "metrics.json").read_text().splitlines()
    assert [n["iteration"] for n in map(json.loads, lines) if "total_loss" in n] == [5]
    assert (output_dir / "notes.txt").exists()
    assert "earlier" not in (output_dir / "first_epoch.json").read_text()


def test_a_start_that_ended_before_its_first_checkpoint_is_no_run(
    engine, tmp_path, monkeypatch, capsys
):
    def fail():
        raise RuntimeError("as if the machine had failed")

    output_dir = tmp_path / "out"
    with monkeypatch.context() as patch:
        _at_step(patch, 2, fail)
        with pytest.raises(RuntimeError):
            run(engine, output_dir)
    capsys.readouterr()
    assert run(engine, output_dir) == 0
    said = capsys.readouterr().out
    assert "a start ended there before its first checkpoint; removed: config.yaml" in said


def test_a_folder_in_which_another_process_writes_is_refused(engine, tmp_path, capsys, monkeypatch):
    output_dir = tmp_path / "out"
    with locked(output_dir, doing="a training"):
        monkeypatch.setattr("wend.run_lock._held", {})  # as another process sees it
        assert run(engine, output_dir) == 2
        assert sorted(path.name for path in output_dir.iterdir()) == [".wend-lock"]
    assert f"a training (process {os.getpid()} on " in capsys.readouterr().err
