"""What a training leaves, evaluates, resumes and refuses to step, on either engine."""

import csv
import importlib
import json
import re
import shutil

import pytest
import torch
from engine_runs import (
    CONFIGS,
    EVALUATION_FILES,
    TWO_TESTS,
    build,
    config,
    file_config,
    kept_logging,
    optimizer,
    run,
    without_memory,
)
from torch import nn

from wend.cli.train import main

TERMS = {
    "detectron2": {"loss_fcos_cls", "loss_fcos_loc", "loss_fcos_ctr", "loss_unsup"},
    "torchvision": {"classification", "bbox_regression", "bbox_ctrness", "loss_unsup"},
}


def _files(output_dir, name="toy_test"):
    return {path.name: path.read_bytes() for path in (output_dir / "inference" / name).iterdir()}


def _curve(output_dir):
    with open(output_dir / "curve.csv", newline="") as file:
        return list(csv.DictReader(file))


def _checkpoint(output_dir, name="model_final"):
    return torch.load(output_dir / f"{name}.pth", weights_only=False)


def _evaluate(engine, weights, output_dir, changes=None, **options):
    changes = {"MODEL.WEIGHTS": str(weights), **(changes or {})}
    return run(engine, output_dir, "--eval-only", changes=changes, **options)


@pytest.fixture
def own_run(engine, finished, tmp_path):
    """A copy of the finished run, to go on in."""
    return shutil.copytree(finished(engine), tmp_path / "run")


# ---- the optimizer ----


def _groups(made):
    """Parameter -> its group; fails if one is in two groups."""
    owner = {}
    for group in made.param_groups:
        for parameter in group["params"]:
            assert parameter not in owner
            owner[parameter] = group
    return owner


@pytest.mark.parametrize("detector", ["fcos", "rcnn"])
def test_the_head_learns_at_twice_the_backbones_rate(engine, detector):
    changes = {"SOLVER.BASE_LR": "0.25", "SOLVER.WEIGHT_DECAY_NORM": "0.5"}
    cfg = config(engine, detector, {**changes, "SOLVER.WEIGHT_DECAY": "0.125"})
    model = build(engine, cfg)
    made = optimizer(engine, cfg, model)
    owner = _groups(made)
    backbone = set(model.backbone.parameters())
    norms = (nn.BatchNorm2d, nn.GroupNorm)
    normal = {p for m in model.modules() if isinstance(m, norms) for p in m.parameters()}
    for name, parameter in model.named_parameters():
        group = owner.pop(parameter)
        assert group["lr"] == (0.25 if parameter in backbone else 0.5), name
        assert group["weight_decay"] == (0.5 if parameter in normal else 0.125), name
        assert group["momentum"] == 0.9
    assert not owner
    assert isinstance(made, torch.optim.SGD)


def test_the_papers_solver_is_the_configs_default(engine):
    cfg = file_config(engine, CONFIGS / "CUB" / "fcos_R50.yaml", ["MODEL.DEVICE", "meta"])
    with without_memory():
        groups = optimizer(engine, cfg, build(engine, cfg)).param_groups
    assert {group["lr"] for group in groups} == {0.004, 0.008}
    assert {group["weight_decay"] for group in groups} == {1e-4}
    assert {group["momentum"] for group in groups} == {0.9}
    assert {group["nesterov"] for group in groups} == {False}
    assert cfg.SOLVER.IMS_PER_BATCH == 256
    assert cfg.WEND.EPOCHS == 50


@pytest.mark.parametrize("freeze_at", [0, 2, 5])
def test_frozen_stages_are_not_in_the_optimizer(engine, freeze_at):
    cfg = config(engine, "fcos", {"MODEL.BACKBONE.FREEZE_AT": str(freeze_at)})
    model = build(engine, cfg)
    taken = set(_groups(optimizer(engine, cfg, model)))
    stages = {
        re.search(r"\bstage\d", name)[0]
        for name, parameter in model.backbone.named_parameters()
        if parameter in taken
    }
    assert stages == {0: {"stage1", "stage2", "stage3"}, 2: {"stage3"}, 5: set()}[freeze_at]
    assert set(model.head.parameters()) <= taken


# ---- what a run leaves ----


def test_a_run_leaves_its_files_and_two_checkpoints(engine, finished):
    output_dir = finished(engine)
    names = {path.name for path in output_dir.iterdir()}
    assert {"config.yaml", "metrics.json", "last_checkpoint", "curve.csv", "inference"} <= names
    checkpoints = {name for name in names if name.endswith(".pth")}
    assert checkpoints == {"model_0000002.pth", "model_0000005.pth", "model_final.pth"}
    assert (output_dir / "last_checkpoint").read_text() == "model_final.pth"
    assert _checkpoint(output_dir)["iteration"] == 5
    lines = [json.loads(line) for line in (output_dir / "metrics.json").read_text().splitlines()]
    logged = next(line for line in lines if "total_loss" in line)
    terms = TERMS[engine]
    assert {*terms, "lr", "iteration"} <= set(logged)
    if engine == "torchvision":  # Detectron2 logs medians over iterations
        assert logged["total_loss"] == pytest.approx(sum(logged[name] for name in terms), rel=1e-5)


def test_training_changes_every_parameter(engine, finished):
    early = _checkpoint(finished(engine), "model_0000002")["model"]
    final = _checkpoint(finished(engine))["model"]
    same = [n for n in final if n.endswith(("weight", "bias")) and torch.equal(early[n], final[n])]
    assert not same


def test_the_same_seed_gives_the_same_run(engine, finished, tmp_path):
    assert run(engine, tmp_path / "out", changes=TWO_TESTS) == 0
    ours, theirs = (_checkpoint(path)["model"] for path in (tmp_path / "out", finished(engine)))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)  # Detectron2's differ by 3e-7
    if engine == "torchvision":
        assert _files(tmp_path / "out") == _files(finished(engine))


def test_loss_that_is_not_finite_ends_the_training_before_the_step(engine, tmp_path, capsys):
    changes = {"SOLVER.BASE_LR": "1e30", "SOLVER.WARMUP_ITERS": "0"}
    assert run(engine, tmp_path / "out", changes=changes) == 2
    error = capsys.readouterr().err
    # one step at this rate, then the second batch's losses are no numbers
    assert error.startswith("error: iteration 1: process 0: ")
    assert re.search("(cls|classification|bbox_regression) is|AssertionError in the losses", error)
    assert "on the images " in error
    assert "the step was not taken. Lower SOLVER.BASE_LR" in error


# ---- evaluating ----


@pytest.mark.parametrize("detector", ["fcos", "rcnn"])
def test_the_final_checkpoint_gives_the_last_evaluation_exactly(
    engine, detector, finished, tmp_path
):
    output_dir = finished(engine, detector)
    weights = output_dir / "model_final.pth"
    assert _evaluate(engine, weights, tmp_path / "out", detector=detector) == 0
    ours = _files(tmp_path / "out")
    assert set(ours) == EVALUATION_FILES
    assert ours == _files(output_dir)
    assert len(json.loads(ours["detections.json"])) >= 12


def test_an_earlier_checkpoint_gives_other_detections(engine, finished, tmp_path):
    output_dir = finished(engine)
    assert _evaluate(engine, output_dir / "model_0000002.pth", tmp_path / "out") == 0
    assert _files(tmp_path / "out")["detections.json"] != _files(output_dir)["detections.json"]


def test_eval_only_with_resume_takes_the_last_checkpoint(engine, own_run):
    expected = _files(own_run)
    shutil.rmtree(own_run / "inference")
    assert run(engine, own_run, "--eval-only", "--resume") == 0
    assert _files(own_run) == expected


def test_larger_batches_give_the_same_metrics(engine, finished, tmp_path):
    weights, changes = finished(engine) / "model_final.pth", {"WEND.TEST_BATCH": "5"}
    assert _evaluate(engine, weights, tmp_path / "out", changes) == 0
    assert _files(tmp_path / "out")["results.csv"] == _files(finished(engine))["results.csv"]


# ---- resuming ----


def test_interrupted_training_resumes_after_its_last_checkpoint(engine, tmp_path, monkeypatch):
    module = {"detectron2": "wend.d2.trainer", "torchvision": "wend.tv.engine"}[engine]
    trainer = importlib.import_module(module).Trainer
    train, step = trainer.train, torch.optim.SGD.step
    started, steps = [], []

    def watched(self):
        momentum = getattr(self, "_trainer", self).optimizer.state_dict()["state"]
        started.append((self.start_iter, self.scheduler.last_epoch, len(momentum) > 0))
        return train(self)

    def interrupted(self, *arguments):
        if len(steps) == 4:
            raise KeyboardInterrupt
        steps.append(1)
        return step(self, *arguments)

    monkeypatch.setattr(trainer, "train", watched)
    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", interrupted)
        assert run(engine, tmp_path / "out") == 130
    assert (tmp_path / "out" / "last_checkpoint").read_text() == "model_0000002.pth"
    assert not (tmp_path / "out" / "model_final.pth").exists()
    assert run(engine, tmp_path / "out", "--resume") == 0
    assert started == [(0, 0, False), (3, 3, True)]
    assert _checkpoint(tmp_path / "out")["iteration"] == 5
    rows = _curve(tmp_path / "out")
    assert {(row["iteration"], row["epoch"]) for row in rows} == {("3", "1"), ("6", "2")}
    assert len(rows) == 28  # of two evaluations, two protocols, seven numbers


def test_resuming_a_finished_training_repeats_its_evaluation_and_trains_no_more(engine, own_run):
    expected = _files(own_run), _curve(own_run)
    before = _checkpoint(own_run)["model"]
    assert run(engine, own_run, "--resume", changes=TWO_TESTS) == 0
    assert (_files(own_run), _curve(own_run)) == expected
    after = _checkpoint(own_run)["model"]
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_config_that_a_run_wrote_goes_on_with_more_epochs_and_evaluates(engine, own_run):
    """Its iterations follow from its epochs, which another number or batch may replace."""
    command = ["--config-file", str(own_run / "config.yaml"), "--engine", engine, "--resume"]
    folder = ["OUTPUT_DIR", str(own_run)]  # a copy of the run
    expected, before = _files(own_run), _checkpoint(own_run)["iteration"]
    shutil.rmtree(own_run / "inference")
    with kept_logging():
        assert main([*command, "--eval-only", *folder]) == 0
    assert _files(own_run) == expected
    with kept_logging():
        assert main([*command, "--allow-changes", *folder, "WEND.EPOCHS", "3"]) == 0
    assert (before, _checkpoint(own_run)["iteration"]) == (5, 8)
    assert {row["epoch"] for row in _curve(own_run)} == {"1", "2", "3"}


# ---- checkpoints that do not fit ----


def test_checkpoint_of_another_detector_is_refused(engine, finished, tmp_path, capsys):
    weights = finished(engine) / "model_final.pth"
    assert _evaluate(engine, weights, tmp_path / "out", detector="rcnn") == 2
    error = capsys.readouterr().err
    assert f"error: {weights}: not a checkpoint of this detector: " in error
    assert "missing in the file (" in error
    assert "not in the model (" in error
    assert "MODEL.META_ARCHITECTURE" in error
    assert not list(tmp_path.rglob("detections.json"))


def test_resuming_with_another_detector_is_refused(engine, own_run, capsys):
    assert run(engine, own_run, "--resume", detector="rcnn") == 2
    assert "MODEL.META_ARCHITECTURE: 'BinaryFCOS' -> 'BinaryRCNN'" in capsys.readouterr().err
    assert run(engine, own_run, "--resume", "--allow-changes", detector="rcnn") == 2
    assert "not a checkpoint of this detector" in capsys.readouterr().err
