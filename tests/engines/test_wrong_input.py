"""Wrong input of ``train_net.py`` is one line that names it, before anything is written."""

import pytest
from engine_runs import ENGINES, assert_refused, run

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
    "SOLVER.WARMUP_ITERS 6": "config entry SOLVER.WARMUP_ITERS: expected fewer than the 6",
    "SOLVER.IMS_PER_BATCH 0": "config entry SOLVER.IMS_PER_BATCH: expected >= 1, got 0",
    "WEND.ACCUMULATE -1": "config entry WEND.ACCUMULATE: expected >= 0, got -1",
    "WEND.ACCUMULATE 3": "SOLVER.IMS_PER_BATCH: expected a multiple of 3 (1 processes of WEND.ACC",
    "DATASETS.TRAIN ('toy_train_cam',)": "unknown data set 'toy_train_cam'. Did you mean",
    "DATASETS.TEST ('toy_tset',)": "unknown data set 'toy_tset'. Did you mean 'toy_test'?",
    "DATASETS.TEST ()": "config entry DATASETS.TEST: expected at least one data set, got none",
    "DATASETS.TRAIN ()": "config entry DATASETS.TRAIN: no image of an empty list has a box",
    "DATASETS.TRAIN ('cub_train_c2am',)": "there is no",
    "WEND.CLASS_PREDICTIONS /no/classes.json": "there is no file /no/classes.json",
    "WEND.SMALL_CNN.CHANNELS (32, 33)": "config entry WEND.SMALL_CNN.CHANNELS",
    "MODEL.ROI_HEADS.POSITIVE_FRACTION 1.5": "MODEL.ROI_HEADS.POSITIVE_FRACTION: expected in (0",
    "MODEL.RESNETS.DEPTH 51": "config entry MODEL.RESNETS.DEPTH: expected one of (18, 34,",
    "MODEL.PIXEL_MEAN [1.0]": "config entry MODEL.PIXEL_MEAN: expected a number for each of 3",
    "MODEL.DEVICE gpu": "config entry MODEL.DEVICE gpu: cannot be used here (",
}
WRONG_FOR = {
    "detectron2": {
        "INPUT.CROP.ENABLED True": "INPUT.CROP: has no effect on WEND's crops (WEND.RESIZE",
        "TEST.AUG.ENABLED True": "TEST.AUG: has no effect on WEND's crops",
        "MODEL.MASK_ON True": "MODEL.MASK_ON: has no effect on WEND's crops (data sets have boxes",
        "INPUT.MASK_FORMAT bitmask": "INPUT.MASK_FORMAT: has no effect on WEND's crops (data sets",
        "INPUT.MIN_SIZE_TEST 400": "INPUT.MIN_SIZE_TEST: has no effect",
        "INPUT.RANDOM_FLIP sometimes": "INPUT.RANDOM_FLIP: expected one of horizontal, vertical",
        "INPUT.FORMAT L": "config entry INPUT.FORMAT: expected RGB or BGR, got 'L'",
        "MODEL.META_ARCHITECTURE BinaryYOLO": "config entry MODEL.META_ARCHITECTURE: 'BinaryYOLO'",
        "MODEL.BACKBONE.NAME build_vgg": "config entry MODEL.BACKBONE.NAME: 'build_vgg' is not",
        "WEND.FCOS.IN_FEATURES ('res5',)": "config entry WEND.FCOS.IN_FEATURES: expected some of",
        "MODEL.BACKBONE.NAME build_vgg17_backbone": "there are: build_",
        "MODEL.PROPOSAL_GENERATOR.NAME NoRPN": "entry MODEL.PROPOSAL_GENERATOR.NAME: 'NoRPN'",
        "WEND.FCOS.CONV_DIM 40": "config entry WEND.FCOS.NORM: GN needs",
        "MODEL.RPN.HEAD_NAME NoHead": "there are: CLNRPNHead, StandardRPNHead",
        "MODEL.ROI_HEADS.NAME NoHeads": "there are: BinaryROIHeads, CLNROIHeads, ",
        "MODEL.ANCHOR_GENERATOR.NAME NoAnchors": "there are: DefaultAnchorGenerator",
        "MODEL.META_ARCHITECTURE RetinaNet": "RetinaNet cannot be built from this config: KeyError",
        "SOLVER.AMP.ENABLED True": "config entry SOLVER.AMP.ENABLED: float16 needs a GPU",
        "SOLVER.LR_SCHEDULER_NAME Cosine": "config entry SOLVER.LR_SCHEDULER_NAME: expected one of",
        "DATALOADER.SAMPLER_TRAIN Mine": "config entry DATALOADER.SAMPLER_TRAIN: expected one of",
    },
    "torchvision": {
        "MODEL.BACKBONE.NAME build_vitdet_backbone": "others need --engine detectron2",
        "MODEL.FPN.FUSE_TYPE avg": "the torchvision engine has only 'sum', got 'avg'",
        "MODEL.META_ARCHITECTURE BinaryYOLO": "MODEL.META_ARCHITECTURE: unknown detector",
        "WEND.FCOS.NUM_CLASSES 200": "or run with --engine detectron2",
    },
}
CASES = [(engine, *case) for engine in ENGINES for case in {**WRONG, **WRONG_FOR[engine]}.items()]


@pytest.mark.parametrize(("engine", "override", "message"), CASES)
def test_a_wrong_entry(engine, override, message, tmp_path, capsys):
    assert_refused(engine, override, message, tmp_path / "out", capsys)


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


@pytest.mark.detectron2
@pytest.mark.parametrize(("detector", "changes", "message"), WRONG_TOGETHER)
def test_parts_that_do_not_fit_together_are_one_line(detector, changes, message, tmp_path, capsys):
    fits = {"WEND.SCR.IN_FEATURE": "stage3"}
    if detector == "cln":
        fits["MODEL.ANCHOR_GENERATOR.SIZES"] = "[[16]]"
    assert run("detectron2", tmp_path / "out", detector=detector, changes={**fits, **changes}) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_missing_data_set_folder(engine, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DETECTRON2_DATASETS", "/overwritten/by/the/flag")
    flags = ("--datasets-root", str(tmp_path / "nowhere"))
    assert run(engine, tmp_path / "out", *flags) == 2
    assert str(tmp_path / "nowhere" / "toy" / "CUB_200_2011") in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_eval_only_without_weights(engine, tmp_path, capsys):
    assert run(engine, tmp_path / "out", "--eval-only") == 2
    assert "--eval-only: config entry MODEL.WEIGHTS is empty; name the checkpoint" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.detectron2
@pytest.mark.parametrize("where", ["file", "override"])
def test_an_unknown_entry_wherever_it_stands(where, tmp_path, capsys):
    if where == "override":
        assert run("detectron2", tmp_path / "out", changes={"WEND.NO_SUCH_KEY": "1"}) == 2
    else:
        path = tmp_path / "own.yaml"
        path.write_text("WEND: {NO_SUCH_KEY: 1}\n")
        assert run("detectron2", tmp_path / "out", "--config-file", str(path)) == 2
    error = capsys.readouterr().err
    assert "WEND.NO_SUCH_KEY" in error
    assert "Neither Detectron2 nor WEND has such an entry" in error
    assert not (tmp_path / "out").exists()


def test_a_batch_that_processes_cannot_share(engine, tmp_path, capsys):
    assert run(engine, tmp_path / "out", "--num-gpus", "3") == 2
    assert capsys.readouterr().err == (
        "error: config entry SOLVER.IMS_PER_BATCH: expected a multiple of the 3 processes that "
        "share it, got 8\n"
    )
    assert not (tmp_path / "out").exists()
