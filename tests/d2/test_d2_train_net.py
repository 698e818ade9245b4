import json
import os
import shutil
import subprocess
import sys

import pytest
import torch

pytest.importorskip("detectron2", reason="Detectron2 is not installed")
from engine_runs import DETECTORS, EVALUATION_FILES, REPOSITORY, assert_refused, options, run

ENGINE = "detectron2"


def _evaluate(weights, output_dir, *flags, **more):
    changes = {"MODEL.WEIGHTS": str(weights), **more.pop("changes", {})}
    return run(ENGINE, output_dir, "--eval-only", *flags, changes=changes, **more)


def _files(output_dir):
    folder = output_dir / "inference" / "toy_test"
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_evaluating_the_final_checkpoint_gives_the_last_evaluation_exactly(d2_run, tmp_path):
    assert _evaluate(d2_run / "model_final.pth", tmp_path / "out") == 0
    ours, last = _files(tmp_path / "out"), _files(d2_run)
    assert set(ours) == EVALUATION_FILES
    assert ours == last
    assert len(json.loads(ours["detections.json"])) >= 12


def test_evaluating_an_earlier_checkpoint_gives_other_detections(d2_run, tmp_path):
    assert _evaluate(d2_run / "model_0000002.pth", tmp_path / "out") == 0
    assert _files(tmp_path / "out")["detections.json"] != _files(d2_run)["detections.json"]


def test_eval_only_with_resume_takes_the_last_checkpoint(d2_run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(d2_run, copy)
    expected = _files(copy)
    shutil.rmtree(copy / "inference")
    assert run(ENGINE, copy, "--eval-only", "--resume") == 0
    assert _files(copy) == expected


def test_larger_batches_give_the_same_metrics(d2_run, tmp_path):
    changes = {"WEND.TEST_BATCH": "5"}
    assert _evaluate(d2_run / "model_final.pth", tmp_path / "out", changes=changes) == 0
    assert _files(tmp_path / "out")["results.csv"] == _files(d2_run)["results.csv"]


def test_faster_rcnn_trains_and_evaluates(tmp_path):
    assert run(ENGINE, tmp_path / "out", detector="rcnn", changes={"WEND.EPOCHS": "1"}) == 0
    weights = tmp_path / "out" / "model_final.pth"
    assert _evaluate(weights, tmp_path / "again", detector="rcnn") == 0
    assert _files(tmp_path / "again") == _files(tmp_path / "out")


def test_two_hundred_classes_train(tmp_path):
    # table 1's comparison; the toy set has fewer classes than 200
    changes = {"WEND.FCOS.NUM_CLASSES": "200", "WEND.LOSS": "none", "WEND.EPOCHS": "1"}
    assert run(ENGINE, tmp_path / "out", changes=changes) == 0


def _process(toy_root, output_dir, *flags, changes=None):
    """``train_net.py`` in a process of its own (it starts others)."""
    chosen = options({**(changes or {}), "OUTPUT_DIR": str(output_dir)})
    script = REPOSITORY / "projects" / "WEND" / "train_net.py"
    command = [sys.executable, str(script), "--engine", ENGINE, *flags]
    command += ["--config-file", str(DETECTORS["fcos"]), *chosen]
    environment = {
        **os.environ,
        "DETECTRON2_DATASETS": str(toy_root.parent),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]),
    }
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.slow
def test_one_two_and_three_processes_write_identical_files(d2_run, toy_root, tmp_path):
    weights = {"MODEL.WEIGHTS": str(d2_run / "model_final.pth")}
    written = []
    for number in ("1", "2", "3"):
        flags = ("--eval-only", "--num-gpus", number)
        done = _process(toy_root, tmp_path / number, *flags, changes=weights)
        assert done.returncode == 0, done.stderr[-2000:]
        written.append(_files(tmp_path / number))
    assert set(written[0]) == EVALUATION_FILES
    for name in EVALUATION_FILES:
        assert written[0][name] == written[1][name] == written[2][name], name


@pytest.mark.slow
def test_two_processes_train_an_epoch(toy_root, tmp_path):
    changes = {"WEND.EPOCHS": "1"}
    done = _process(toy_root, tmp_path / "out", "--num-gpus", "2", changes=changes)
    assert done.returncode == 0, done.stderr[-2000:]
    final = torch.load(tmp_path / "out" / "model_final.pth", weights_only=False)
    assert final["iteration"] == 2
    assert set(_files(tmp_path / "out")) == EVALUATION_FILES
    log = (tmp_path / "out" / "log.txt").read_text()
    assert "(first process)" in log
    # both processes evaluated the weights and statistics that were saved
    assert _evaluate(tmp_path / "out" / "model_final.pth", tmp_path / "one") == 0
    assert _files(tmp_path / "out") == _files(tmp_path / "one")


@pytest.mark.slow
def test_wrong_checkpoint_in_two_processes_is_an_error_without_a_traceback(
    d2_run, toy_root, tmp_path
):
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"no weights")
    flags = ("--eval-only", "--num-gpus", "2")
    changes = {"MODEL.WEIGHTS": str(broken)}
    done = _process(toy_root, tmp_path / "out", *flags, changes=changes)
    assert done.returncode == 2, done.stderr[-2000:]
    assert "broken.pth: cannot be read as a weight file" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_nan_in_one_of_two_processes_ends_both_with_one_line(toy_root, tmp_path):
    changes = {"SOLVER.BASE_LR": "1e30", "SOLVER.WARMUP_ITERS": "0"}
    done = _process(toy_root, tmp_path / "out", "--num-gpus", "2", changes=changes)
    assert done.returncode == 2, done.stderr[-2000:]
    assert "error: iteration 1: process 0: " in done.stderr
    assert "the step was not taken" in done.stderr


WRONG = {
    "MODEL.WEIGHTS /no/such.pth": "config entry MODEL.WEIGHTS: there is no file /no/such.pth",
    "WEND.GAMMA -1.0": "config entry WEND.GAMMA: expected finite and >= 0, got -1.0",
    "WEND.ALPHA 1.5": "config entry WEND.ALPHA: expected in [0, 1], got 1.5",
    "WEND.TAU1 0.2": "config entry WEND.LOSS weighted_entropy: tau1 must be >= tau2, got tau1=0.2",
    "WEND.ETA -1.0": "config entry WEND.ETA: expected finite and >= 0, got -1.0",
    "WEND.LOSS focal": "config entry WEND.LOSS: unknown loss 'focal'. Known: entropy, none",
    "WEND.CROP 65": "config entries WEND.RESIZE and WEND.CROP: expected 0 < crop <= resize",
    "WEND.MAX_BOXES 11": "config entry WEND.MAX_BOXES: expected 1 .. TEST.DETECTIONS_PER_IMAGE",
    "WEND.PROTOCOLS ('best',)": "unknown evaluation protocol 'best'; there are: psol-crop224",
    "WEND.NO_SUCH_KEY 1": "Non-existent key: WEND.NO_SUCH_KEY",
    "WEND.ETA one": "command line",
    "SOLVER.MAX_ITER 10": "both set the schedule, and 2 epochs of 24 images make 6; add WEND",
    "TEST.EVAL_PERIOD 2": "TEST.EVAL_PERIOD (2) both set the schedule, and 2 epochs of 24 images",
    "SOLVER.CHECKPOINT_PERIOD 2": "SOLVER.CHECKPOINT_PERIOD (2) both set the schedule",
    "INPUT.CROP.ENABLED True": "INPUT.CROP: has no effect on WEND's crops (WEND.RESIZE",
    "TEST.AUG.ENABLED True": "TEST.AUG: has no effect on WEND's crops",
    "MODEL.MASK_ON True": "MODEL.MASK_ON: has no effect on WEND's crops (data sets have boxes",
    "INPUT.MIN_SIZE_TEST 400": "INPUT.MIN_SIZE_TEST: has no effect",
    "INPUT.RANDOM_FLIP sometimes": "INPUT.RANDOM_FLIP: expected one of horizontal, vertical, none",
    "SOLVER.WARMUP_ITERS 6": "config entry SOLVER.WARMUP_ITERS: expected fewer than the 6",
    "SOLVER.IMS_PER_BATCH 0": "config entry SOLVER.IMS_PER_BATCH: expected >= 1, got 0",
    "DATASETS.TRAIN ('toy_train_cam',)": "unknown data set 'toy_train_cam'. Did you mean",
    "DATASETS.TEST ('toy_tset',)": "unknown data set 'toy_tset'. Did you mean 'toy_test'?",
    "DATASETS.TEST ()": "config entry DATASETS.TEST: expected at least one data set, got none",
    "DATASETS.TRAIN ()": "config entry DATASETS.TRAIN: no image of an empty list has a box",
    "DATASETS.TRAIN ('cub_train_c2am',)": "there is no",
    "WEND.CLASS_PREDICTIONS /no/classes.json": "there is no file /no/classes.json",
    "INPUT.FORMAT L": "config entry INPUT.FORMAT: expected RGB or BGR, got 'L'",
    "MODEL.META_ARCHITECTURE BinaryYOLO": "config entry MODEL.META_ARCHITECTURE: 'BinaryYOLO'",
    "MODEL.BACKBONE.NAME build_vgg": "config entry MODEL.BACKBONE.NAME: 'build_vgg' is not",
    "WEND.SMALL_CNN.CHANNELS (32, 33)": "config entry WEND.SMALL_CNN.CHANNELS",
    "WEND.FCOS.IN_FEATURES ('res5',)": "config entry WEND.FCOS.IN_FEATURES: expected some of",
    "MODEL.BACKBONE.NAME build_vgg17_backbone": "there are: build_",
    "MODEL.PROPOSAL_GENERATOR.NAME NoRPN": "config entry MODEL.PROPOSAL_GENERATOR.NAME: 'NoRPN'",
    "MODEL.ROI_HEADS.POSITIVE_FRACTION 1.5": "MODEL.ROI_HEADS.POSITIVE_FRACTION: expected in (0",
    "WEND.FCOS.CONV_DIM 40": "config entry WEND.FCOS.NORM: GN needs",
    "MODEL.RPN.HEAD_NAME NoHead": "there are: CLNRPNHead, StandardRPNHead",
    "MODEL.ROI_HEADS.NAME NoHeads": "there are: BinaryROIHeads, CLNROIHeads, ",
    "MODEL.ANCHOR_GENERATOR.NAME NoAnchors": "there are: DefaultAnchorGenerator",
    "MODEL.META_ARCHITECTURE RetinaNet": "RetinaNet cannot be built from this config: KeyError",
    "MODEL.RESNETS.DEPTH 51": "config entry MODEL.RESNETS.DEPTH: expected one of (18, 34,",
    "MODEL.PIXEL_MEAN [1.0]": "config entry MODEL.PIXEL_MEAN: expected a number for each of 3",
    "MODEL.DEVICE gpu": "config entry MODEL.DEVICE gpu: cannot be used here (",
    "SOLVER.AMP.ENABLED True": "config entry SOLVER.AMP.ENABLED: mixed precision needs a GPU",
    "SOLVER.LR_SCHEDULER_NAME Cosine": "config entry SOLVER.LR_SCHEDULER_NAME: expected one of",
}


@pytest.mark.parametrize("override", WRONG)
def test_wrong_input_ends_with_a_message_before_anything_is_written(override, tmp_path, capsys):
    assert_refused(ENGINE, override, WRONG[override], tmp_path / "out", capsys)


DEEP = {"WEND.SMALL_CNN.CHANNELS": "(32, 32, 32, 32, 32, 32)"}  # stage6 has stride 64
RESNET = {"MODEL.BACKBONE.NAME": "build_resnet_backbone"}
PYRAMID = {"MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone"}
WRONG_TOGETHER = [
    ("rcnn", {"MODEL.RPN.IN_FEATURES": "('res5',)"}, "MODEL.RPN.IN_FEATURES: expected some of the"),
    ("rcnn", {"MODEL.ROI_HEADS.IN_FEATURES": "('p2',)"}, "MODEL.ROI_HEADS.IN_FEATURES: expected"),
    ("scr", {"WEND.SCR.IN_FEATURE": "stage9"}, "WEND.SCR.IN_FEATURE: expected some of the feature"),
    ("fcos", {**DEEP, "WEND.FCOS.IN_FEATURES": "('stage6',)"}, "expected feature maps of at least"),
    ("rcnn", {**DEEP, "MODEL.RPN.IN_FEATURES": "('stage6',)"}, "expected feature maps of at least"),
    ("scr", {**DEEP, "WEND.SCR.IN_FEATURE": "stage6"}, "expected feature maps of at least 1x1"),
    ("fcos", {**PYRAMID, "MODEL.FPN.IN_FEATURES": "['res3']"}, "MODEL.FPN.IN_FEATURES: expected"),
    ("fcos", {**PYRAMID, "MODEL.FPN.IN_FEATURES": "[]"}, "MODEL.FPN.IN_FEATURES: expected some"),
    ("fcos", {**RESNET, "MODEL.RESNETS.NORM": "XX"}, "cannot be built from this config: KeyError"),
    ("rcnn", {"MODEL.META_ARCHITECTURE": "GeneralizedRCNN"}, "WEND.LOSS: GeneralizedRCNN is not"),
    ("rcnn", {"MODEL.ROI_BOX_HEAD.NAME": "X"}, "No object named 'X' found in 'ROI_BOX_HEAD'"),
    ("rcnn", {"MODEL.ANCHOR_GENERATOR.SIZES": "[[16], [32]]"}, "Got sizes of length 2"),
    ("rcnn", {"MODEL.RPN.POSITIVE_FRACTION": "0.001"}, "expected one positive or more among the"),
    ("cln", {"MODEL.ROI_HEADS.POSITIVE_FRACTION": "0.01"}, "expected one positive or more among"),
]


@pytest.mark.parametrize(("detector", "changes", "message"), WRONG_TOGETHER)
def test_what_does_not_fit_together_is_one_line(detector, changes, message, tmp_path, capsys):
    fits = {"WEND.SCR.IN_FEATURE": "stage3"}
    if detector == "cln":
        fits["MODEL.ANCHOR_GENERATOR.SIZES"] = "[[16]]"
    assert run(ENGINE, tmp_path / "out", detector=detector, changes={**fits, **changes}) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("where", ["file", "override"])
def test_unknown_entry_is_said_to_be_in_neither_wherever_it_stands(where, tmp_path, capsys):
    if where == "override":
        assert run(ENGINE, tmp_path / "out", changes={"WEND.NO_SUCH_KEY": "1"}) == 2
    else:
        path = tmp_path / "own.yaml"
        path.write_text("WEND: {NO_SUCH_KEY: 1}\n")
        assert run(ENGINE, tmp_path / "out", "--config-file", str(path)) == 2
    error = capsys.readouterr().err
    assert "WEND.NO_SUCH_KEY" in error
    assert "Neither Detectron2 nor WEND has such an entry" in error
    assert not (tmp_path / "out").exists()


def test_missing_data_set_folder_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DETECTRON2_DATASETS", "/overwritten/by/the/flag")
    flags = ("--datasets-root", str(tmp_path / "nowhere"))
    assert run(ENGINE, tmp_path / "out", *flags) == 2
    assert str(tmp_path / "nowhere" / "toy" / "CUB_200_2011") in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_eval_only_without_weights_is_an_error(tmp_path, capsys):
    assert run(ENGINE, tmp_path / "out", "--eval-only") == 2
    assert "--eval-only: config entry MODEL.WEIGHTS is empty; name the checkpoint" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "out").exists()


def test_checkpoint_of_another_detector_is_refused(d2_run, tmp_path, capsys):
    weights = d2_run / "model_final.pth"
    assert _evaluate(weights, tmp_path / "out", detector="rcnn") == 2
    error = capsys.readouterr().err
    assert f"error: {weights}: not a checkpoint of this detector: " in error
    assert "missing in the file (" in error
    assert "not in the model (" in error
    assert "MODEL.META_ARCHITECTURE" in error
    assert not list((tmp_path / "out").rglob("detections.json"))


def test_checkpoint_of_another_width_is_refused(d2_run, tmp_path, capsys):
    weights, changes = d2_run / "model_final.pth", {"WEND.FCOS.CONV_DIM": "64"}
    assert _evaluate(weights, tmp_path / "out", changes=changes) == 2
    assert "of another shape (" in capsys.readouterr().err


def test_resuming_with_another_detector_is_refused(d2_run, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(d2_run, copy)
    assert run(ENGINE, copy, "--resume", detector="rcnn") == 2
    assert "not a checkpoint of this detector" in capsys.readouterr().err


def test_broken_checkpoint_is_named(tmp_path, capsys):
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"no weights")
    assert _evaluate(broken, tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert f"error: {broken}: cannot be read as a weight file" in error
    assert error.count("\n") == 1
