"""wend.config: an entry out of its range is an error that names it; YAMLs are read in order."""

import json
import re

import pytest
from fvcore.common.config import CfgNode

from wend.config import check_config, localization_loss, merge_config
from wend.config.shipped import config_names
from wend.errors import InputError, MissingFileError
from wend.schedules import Scheduled
from wend.tv.config import get_cfg

# Detectron2's names
SAMPLES = {"POSITIVE_FRACTION": 0.5, "BATCH_SIZE_PER_IMAGE": 32}
NAN, INF = float("nan"), float("inf")


def config(*changes) -> CfgNode:
    """The torchvision engine's defaults (a part of Detectron2's), and changes: name, value."""
    cfg = get_cfg()
    for node in (cfg.MODEL.RPN, cfg.MODEL.ROI_HEADS):
        node.update(SAMPLES)
    for name, value in zip(changes[::2], changes[1::2], strict=True):
        node = cfg
        *parents, last = name.split(".")
        for part in parents:
            node = node[part]
        assert last in node
        node[last] = value
    return cfg


@pytest.mark.parametrize(
    "name", ["SOLVER.MAX_ITER", "SEED", "WEND.RESIZE", "WEND.FCOS.NUM_CLASSES"]
)
def test_numbers_that_nothing_holds_are_named(name):
    for value in (2**63, -(10**400)):
        with pytest.raises(InputError, match=rf"^config entry {name}: .* at most 63 bits, got"):
            check_config(config(name, value))


@pytest.mark.parametrize("names", [(3,), (["a"],), ({"a": 1},), ("",)])
def test_data_sets_are_named_by_text(names):
    with pytest.raises(InputError, match=r"entry DATASETS\.TEST: expected names of data sets, got"):
        check_config(config("DATASETS.TEST", names))


def test_defaults_are_the_papers_and_pass():
    cfg = config()
    check_config(cfg)
    wend = cfg.WEND
    # facts.md: Faster R-CNN on CUB; the crop, the schedule and the two rates of appendix A
    assert (wend.GAMMA, wend.ALPHA, wend.TAU1, wend.TAU2) == (6, 0.1, 0.3, 0.3)
    assert (wend.RESIZE, wend.CROP, wend.EPOCHS, wend.HEAD_LR_FACTOR) == (256, 224, 50, 2)
    assert wend.LOSS == "weighted_entropy"
    # table 1: the head of one class and one convolution directly on C5
    assert (wend.FCOS.NUM_CLASSES, wend.FCOS.NUM_CONVS, tuple(wend.FCOS.IN_FEATURES)) == (
        1,
        1,
        ("res5",),
    )


# entry, values just outside its range (and what a YAML's .nan would be), values at its ends
RANGES = [
    ("WEND.ETA", [-0.001, NAN, INF], [0.0, 1e6]),
    ("WEND.ETA_END", [-0.001, NAN, INF], [0.0, 1e6]),
    ("WEND.GAMMA", [-0.001, NAN, INF], [0.0, 100.0]),
    ("WEND.ALPHA", [-0.001, 1.001, NAN], [0.0, 1.0]),
    ("WEND.TAU1", [0.0, 1.0, -0.5, NAN], [0.3, 0.999]),
    ("WEND.TAU2", [0.0, 1.0, -0.5, NAN], [0.001, 0.3]),
    ("WEND.UNSUP_FACTOR", [-0.001, NAN, INF], [0.0, 392.0]),
    ("WEND.UNSUP_FACTOR_END", [-0.001, NAN, INF], [0.0, 392.0]),
    ("WEND.CLOSER_LOOK", [-0.5, 0.999, 1.0, NAN, INF], [0.0, 1.001, 3.0]),
    ("WEND.STEP_AT", [-0.001, 1.001, NAN], [0.0, 1.0]),
    ("WEND.HELD_OUT", [-0.001, 1.0, NAN], [0.0, 0.999]),
    ("WEND.EMA.DECAY", [-0.001, 1.0, NAN], [0.0, 0.9999]),
    ("WEND.EMA.WARM_UP", [-0.001, NAN, INF], [0.0, 1.0]),
    *[
        (f"WEND.TEACHER.{name}", [-0.001, 1.001, NAN], [0.0, 1.0])
        for name in ("START", "MIN_SCORE", "IOU", "WEIGHT", "WEIGHT_END", "MOST")
    ],
    ("WEND.TEACHER.SCORE_QUANTILE", [-0.001, 1.0, NAN], [0.0, 0.999]),
    ("WEND.TEACHER.CLOSER_LOOK", [-0.5, 1.0, NAN, INF], [0.0, 1.001]),
    ("WEND.TEACHER.GAMMA", [-0.001, NAN, INF], [0.0, 7.5]),
    ("WEND.WE.NORMALIZER", ["images", ""], ["samples", "positives", "boxes"]),
    ("WEND.WE.SAMPLES", ["positives"], ["all", "unassigned", "ignored"]),
    ("WEND.WE.FORM", ["focal"], ["entropy", "terms", "chosen", "swapped", "confidence"]),
    ("WEND.WE.WEIGHT_GRADIENT", ["true"], ["flow", "detach"]),
    ("WEND.SAMPLE_WEIGHTS", [("drop_loss", "drop_loss")], [(), ("small_loss", "drop_loss")]),
    ("WEND.IMAGE_WEIGHTS", [("box_score", "box_score")], [(), ("box_score",)]),
    *[
        (f"WEND.{name}", [-0.001, 1.001, NAN], [0.0, 1.0])
        for name in (
            *("GCE.Q", "GCE.FOCAL_ALPHA", "BOOTSTRAP.BETA", "BOX_SCORE.FLOOR"),
            *("IGNORE_REGIONS.MIN_SCORE", "SMALL_LOSS.RAMP"),
            *("TEACHER_AGREEMENT.IOU", "TEACHER_AGREEMENT.RAMP", "TEACHER_AGREEMENT.FLOOR"),
        )
    ],
    *[
        (f"WEND.{name}", [-0.001, 1.0, NAN], [0.0, 0.999])
        for name in (
            *("DROP_LOSS.IOU", "IGNORE_REGIONS.OVERLAP", "SMALL_LOSS.DROP", "SMALL_LOSS.START"),
            *("TEACHER_AGREEMENT.DROP", "TEACHER_AGREEMENT.START"),
        )
    ],
    *[
        (f"WEND.{name}", [-0.001, NAN, INF], [0.0, 100.0])
        for name in (
            *("GCE.FOCAL_GAMMA", "SCE.ALPHA", "SCE.BETA"),
            *("IGNORE_REGIONS.GROW", "BOX_SCORE.EXPONENT"),
        )
    ],
    ("WEND.SCE.LOG_ZERO", [0.0, 4.0, NAN, -INF], [-0.001, -9.2]),
    ("WEND.BOOTSTRAP.FORM", ["", "Soft"], ["soft", "hard"]),
    ("WEND.EPOCHS", [-1], [0, 1]),
    ("WEND.HEAD_LR_FACTOR", [0.0, -1.0, NAN, INF], [0.001]),
    ("SOLVER.WARMUP_ITERS", [-1], [0, 1]),
    ("WEND.PROTOCOLS", [()], [("original",), ["psol-crop224"]]),
    ("WEND.METRICS", [], [(), ("corloc", "mean_iou")]),  # bad ones have a test of their own
    ("WEND.MAX_BOXES", [0, -1, 101], [1, 100]),
    ("WEND.TEST_BATCH", [0, -1], [1]),
    ("WEND.ACCUMULATE", [-1], [0, 1, 4]),
    ("WEND.PRECISION", ["half", "Float16", "float64"], ["", "float32", "bfloat16", "float16"]),
    ("WEND.COMPILE", ["", "inductor"], ["none", "default", "reduce-overhead", "max-autotune"]),
    ("WEND.FCOS.NUM_CLASSES", [0], [1, 200]),
    ("WEND.FCOS.NUM_CONVS", [0], [1]),
    ("WEND.FCOS.CONV_DIM", [-1], [0, 256]),
    ("WEND.FCOS.NORM", ["BN", "gn"], ["GN", ""]),
    ("WEND.FCOS.PRIOR_PROB", [0.0, 1.0, NAN], [0.001, 0.999]),
    ("WEND.FCOS.CENTER_SAMPLING_RADIUS", [0.0, -1.0, NAN], [0.001]),
    ("WEND.FCOS.INITIAL_DISTANCE", [0.0, -1.0, NAN, INF], [0.001, 8.0]),
    ("WEND.FCOS.FOCAL_LOSS_ALPHA", [-0.001, 1.001, NAN], [0.0, 1.0]),
    ("WEND.FCOS.FOCAL_LOSS_GAMMA", [-0.001, NAN], [0.0]),
    ("WEND.FCOS.CLASS_WEIGHT", [-0.001, NAN], [0.0]),
    ("WEND.FCOS.BOX_WEIGHT", [-0.001, NAN], [0.0]),
    ("WEND.FCOS.CENTERNESS_WEIGHT", [-0.001, NAN], [0.0]),
    ("WEND.RCNN.RATIO", ["", "1:1"], ["cap", "exact"]),
    ("WEND.FCOS.SCORE_THRESH_TEST", [-0.001, 1.0, NAN], [0.0, 0.999]),
    ("WEND.FCOS.TOPK_CANDIDATES_TEST", [0], [1]),
    ("WEND.FCOS.NMS_THRESH_TEST", [0.0, 1.001, NAN], [0.001, 1.0]),
    ("WEND.OPTIMIZER", ["sgd", "", "LBFGS"], ["SGD", "Adam", "AdamW"]),
    ("WEND.VIEW", ["pads", "", "Crop"], ["crop", "squash", "pad"]),
    ("WEND.FCOS.REDUCE_DIM", [-1], [0, 256]),
    ("WEND.SCR.HIDDEN_DIM", [0], [1]),
    ("WEND.SCR.LOSS", ["mse", ""], ["l2", "l1", "smooth_l1"]),
    ("WEND.SCR.LOSS_WEIGHT", [0.0, -1.0, NAN, INF], [0.001]),
    ("WEND.CLN.OBJECTNESS_IOU", [0.0, 1.0, NAN], [0.001, 0.999]),
    ("WEND.CLN.RPN_LOC_WEIGHT", [-0.1, NAN, INF], [0.0]),
    ("WEND.CLN.RPN_OBJECTNESS_WEIGHT", [-0.1, NAN, INF], [0.0]),
    ("WEND.CLN.IOU_WEIGHT", [-0.1, NAN, INF], [0.0]),
    ("WEND.CLN.CLS_EXPONENT", [-0.001, 1.001, NAN], [0.0, 1.0]),
    ("WEND.DETR.IN_FEATURES", [(), ("res5", "res5")], [("res5",)]),
    *[
        (f"WEND.DETR.{name}", [least - 1], [least])
        for name, least in (
            *(("NUM_FEATURE_LEVELS", 1), ("NUM_QUERIES", 1), ("NUM_HEADS", 1)),
            *(("NUM_POINTS", 1), ("ENC_LAYERS", 1), ("DEC_LAYERS", 1), ("FFN_DIM", 1)),
        )
    ],
    ("WEND.DETR.HIDDEN_DIM", [0, -32, 48], [32, 256]),
    ("WEND.DETR.DROPOUT", [-0.001, 1.0, NAN], [0.0, 0.999]),
    *[
        (f"WEND.DETR.{term}_{what}", [-0.1, NAN, INF], [0.0])
        for term in ("CLASS", "L1", "GIOU")
        for what in ("COST", "WEIGHT")
    ],
    ("WEND.DETR.FOCAL_LOSS_ALPHA", [-0.001, 1.001, NAN], [0.0, 1.0]),
    ("WEND.DETR.FOCAL_LOSS_GAMMA", [-0.001, NAN, INF], [0.0]),
    ("WEND.DETR.PRIOR_PROB", [0.0, 1.0, NAN], [0.001, 0.999]),
    ("WEND.DATA.ON_BAD_IMAGE", ["ignore", "wrong", ""], ["raise", "skip"]),
    ("WEND.DATA.DECODER", ["turbo", "Pillow", ""], ["pillow", "simplejpeg", "simplejpeg-scaled"]),
    ("WEND.DATA.IMPLAUSIBLE", ["ignore", ""], ["error", "count"]),
    ("WEND.DATA.ON_BAD_TEST_IMAGE", ["skip", ""], ["raise", "wrong"]),
    ("WEND.DATA.MAX_BAD_SHARE", [-0.001, 1.001, NAN], [0.0, 1.0]),
    ("WEND.DATA.MAX_LOST_SHARE", [-0.001, 1.001, NAN], [0.0, 1.0]),
    ("WEND.DATA.MAX_MEGAPIXELS", [0.0, -1.0, NAN, INF], [0.001, 250.0]),
    ("WEND.DATA.QUARANTINE", ["no_such_file.jsonl"], ["", __file__]),
    ("WEND.DATA.CACHE", [__file__], ["", "a/new/folder"]),
    ("WEND.DATA.FEATURE_CACHE", [__file__], ["", "a/new/folder"]),
    ("WEND.DATA.VIEWS", [-1], [0, 1, 8]),
    ("WEND.TIMM.STRIDE", [12, -4], [0, 4, 32]),
    ("WEND.SMALL_CNN.CHANNELS", [(), (32, 0), (-32,)], [(1,), (32, 64)]),
    *[
        (f"MODEL.{node}.{name}", bad, good)
        for node in ("RPN", "ROI_HEADS")
        for name, bad, good in (
            ("POSITIVE_FRACTION", [0.0, -0.5, 1.001, 0.03, NAN], [0.03125, 1.0]),
            ("BATCH_SIZE_PER_IMAGE", [0], [2]),
        )
    ],
    (
        "MODEL.RPN.IOU_THRESHOLDS",
        [[], [0.5], [0.7, 0.3], [0.0, 0.5], [0.5, 1.0], [0.1, 0.2, 0.3]],
        [[0.001, 0.999], [0.5, 0.5]],
    ),
    ("MODEL.ROI_HEADS.IOU_THRESHOLDS", [[], [0.0], [1.0], [0.3, 0.7]], [[0.001], [0.999]]),
    *[
        (f"MODEL.RPN.{when}_NMS_TOPK_{phase}", [0], [1])
        for when in ("PRE", "POST")
        for phase in ("TRAIN", "TEST")
    ],
    *[
        (f"MODEL.ANCHOR_GENERATOR.{name}", [[], [[]], [[1.0], []], [[0.0]], [-1.0]], [[[8]], [8]])
        for name in ("SIZES", "ASPECT_RATIOS")
    ],
    ("MODEL.RPN.NMS_THRESH", [0.0, 1.001, NAN], [0.001, 1.0]),
    ("MODEL.ROI_HEADS.NMS_THRESH_TEST", [0.0, 1.001, NAN], [0.001, 1.0]),
    ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", [-0.001, 1.0, NAN], [0.0, 0.999]),
    ("MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", [0], [1]),
    ("MODEL.ROI_BOX_HEAD.FC_DIM", [0], [1]),
    ("MODEL.RESNETS.DEPTH", [0, 51], [18, 34, 50, 101, 152]),
    ("MODEL.PIXEL_MEAN", [[1.0], [1.0] * 4], [[0.0, -1.0, 300.0], []]),
    ("MODEL.PIXEL_STD", [[1.0], [1.0, 0.0, 1.0], [1.0, NAN, 1.0]], [[0.001, 1.0, 300.0], []]),
    ("MODEL.BACKBONE.FREEZE_AT", [-1, 6], [0, 5]),
    ("SOLVER.BASE_LR", [0.0, -0.1, NAN], [1e-9]),
    ("SOLVER.IMS_PER_BATCH", [0], [1]),
]


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, bad, _ in RANGES for value in bad]
)
def test_entry_out_of_range_is_named_with_its_value(name, value):
    shown = re.escape(f"{value!r}")
    with pytest.raises(InputError, match=rf"^config entry {re.escape(name)}\b.*got {shown}$"):
        check_config(config(name, value))


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, _, good in RANGES for value in good]
)
def test_ends_of_the_ranges_pass(name, value):
    check_config(config(name, value))


def test_every_entry_of_the_node_has_a_range_here_or_a_test_of_its_own():
    """A new entry of add_wend_config fails here until it is tested."""
    tested = {name for name, _, _ in RANGES}
    elsewhere = {"WEND.RESIZE", "WEND.CROP", "WEND.CLASS_PREDICTIONS"}
    elsewhere |= {"WEND.LOSS", "WEND.CLS_LOSS", "WEND.ETA_SCHEDULE", "WEND.IMPORTS"}
    elsewhere |= {"WEND.UNSUP_FACTOR_SCHEDULE", "WEND.LOGGERS"}
    elsewhere |= {"WEND.KEEP_BEST", "WEND.EARLY_STOPPING"}  # engines/test_evaluations.py
    elsewhere |= {"WEND.REFINE", "WEND.TEACHER.WEIGHT_SCHEDULE"}  # test_teaching_entries.py
    # true or false, or what only a built backbone can tell
    without_range = {
        *("WEND.CLN.NORMALIZE_FEATURES", "WEND.CROP_IN_MODEL", "WEND.FCOS.IN_FEATURES"),
        *("WEND.SCR.IN_FEATURE", "WEND.TIMM.MODEL", "WEND.METRICS", "WEND.MIRROR"),
        *("WEND.EMA.EVALUATE", "WEND.TEACHER.ENABLED", "WEND.TEACHER.FLIP"),
        *("WEND.CHANNELS_LAST", "WEND.TF32"),
    }

    def names(node, prefix):
        for key, value in node.items():
            if isinstance(value, CfgNode):
                yield from names(value, f"{prefix}.{key}")
            else:
                yield f"{prefix}.{key}"

    assert set(names(config().WEND, "WEND")) <= tested | elsewhere | without_range


def test_tau1_below_tau2_is_an_error_with_both_values():
    with pytest.raises(
        InputError,
        match=r"^config entry WEND\.LOSS weighted_entropy: tau1 must be >= tau2, got tau1=0\.2 < ",
    ):
        check_config(config("WEND.TAU1", 0.2))
    check_config(config("WEND.TAU1", 0.6, "WEND.TAU2", 0.2))


@pytest.mark.parametrize(("resize", "crop"), [(256, 0), (223, 224), (0, 0), (256, -1)])
def test_crop_that_does_not_fit_is_an_error_with_both_sizes(resize, crop):
    with pytest.raises(
        InputError,
        match=rf"WEND\.RESIZE and WEND\.CROP: .* got crop {crop} and resize {resize}",
    ):
        check_config(config("WEND.RESIZE", resize, "WEND.CROP", crop))
    check_config(config("WEND.RESIZE", 224, "WEND.CROP", 224))


def test_unknown_protocol_is_an_error_that_lists_the_known():
    with pytest.raises(InputError, match=r"protocol 'ilsvrc'; there are: psol-crop224, original"):
        check_config(config("WEND.PROTOCOLS", ("original", "ilsvrc")))


@pytest.mark.parametrize("name", ["corlok", "./nowhere.py:mine"])
def test_a_metric_that_there_is_not_is_named(name):
    with pytest.raises(InputError, match=rf"^config entry WEND\.METRICS: .*'{re.escape(name)}'"):
        check_config(config("WEND.METRICS", ("corloc", name)))


def test_more_boxes_than_the_detector_puts_out_are_an_error_with_their_number():
    with pytest.raises(InputError, match=r"DETECTIONS_PER_IMAGE \(10\), got 11$"):
        check_config(config("TEST.DETECTIONS_PER_IMAGE", 10, "WEND.MAX_BOXES", 11))


def test_class_predictions_must_be_a_file(tmp_path):
    file = tmp_path / "classes.json"
    with pytest.raises(
        MissingFileError, match=rf"WEND\.CLASS_PREDICTIONS: there is no file {re.escape(str(file))}"
    ):
        check_config(config("WEND.CLASS_PREDICTIONS", str(file)))
    file.write_text("{}")
    check_config(config("WEND.CLASS_PREDICTIONS", str(file)))


def test_loss_is_built_from_the_node():
    loss = localization_loss(
        config(
            *("WEND.ETA", 0.125, "WEND.ETA_END", 0.5, "WEND.ETA_SCHEDULE", "linear"),
            *("WEND.GAMMA", 4.0, "WEND.ALPHA", 0.25),
            *("WEND.TAU1", 0.9, "WEND.TAU2", 0.1, "WEND.WE.WEIGHT_GRADIENT", "detach"),
            *("WEND.WE.NORMALIZER", "boxes", "WEND.UNSUP_FACTOR", 8.0),
            *("WEND.UNSUP_FACTOR_SCHEDULE", "step", "WEND.STEP_AT", 0.25),
        )
    )
    assert (loss.name, loss.eta) == ("weighted_entropy", Scheduled(0.125, 0.5, "linear"))
    assert loss.parameters == {
        **{"gamma": 4.0, "alpha": 0.25, "tau1": 0.9, "tau2": 0.1},
        **{"form": "entropy", "weight_gradient": "detach"},
        **{"normalizer": "boxes", "samples": "all"},
    }
    assert loss.factor == Scheduled(8.0, 1.0, "step", {"step_at": 0.25})
    plain = localization_loss(config("WEND.LOSS", "entropy", "WEND.WE.SAMPLES", "ignored"))
    assert plain.parameters == {"normalizer": "samples", "samples": "ignored"}


def test_a_factor_on_no_loss_is_an_error():
    for change in (("WEND.UNSUP_FACTOR", 8.0), ("WEND.UNSUP_FACTOR_SCHEDULE", "linear")):
        with pytest.raises(InputError, match=r"WEND\.UNSUP_FACTOR: expected 1\.0, constant, where"):
            check_config(config("WEND.LOSS", "none", *change))


@pytest.mark.parametrize("name", ["focal", "", "Entropy"])
def test_unknown_loss_or_schedule_is_an_error_that_lists_the_known(name):
    for entry, known in (("LOSS", "entropy, none, weighted"), ("ETA_SCHEDULE", "constant, cosine")):
        with pytest.raises(
            InputError,
            match=rf"^config entry WEND\.{entry}: unknown .* {name!r}\..* Known: {known}",
        ):
            check_config(config(f"WEND.{entry}", name))


# ---- reading ----


def merge(tmp_path, text=None, *opts):
    cfg = config()
    file = tmp_path / "run.yaml"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    merge_config(cfg, str(file) if text is not None else "", opts, "Ask the engine's manual.")
    return cfg


def test_base_then_file_then_overrides_each_win_over_the_one_before(tmp_path):
    (tmp_path / "base.yaml").write_text("WEND: {ETA: 0.5, GAMMA: 1.0, EPOCHS: 7, MAX_BOXES: 9}\n")
    text = "_BASE_: base.yaml\nWEND: {GAMMA: 2.0, EPOCHS: 8}\n"
    wend = merge(tmp_path, text, "WEND.EPOCHS", "9").WEND
    assert (wend.ETA, wend.GAMMA, wend.EPOCHS, wend.MAX_BOXES) == (0.5, 2.0, 9, 9)
    assert wend.ALPHA == 0.1  # the default


def test_overrides_alone_are_enough(tmp_path):
    cfg = merge(tmp_path, None, "WEND.PROTOCOLS", "('original',)", "SOLVER.BASE_LR", "0.5")
    assert tuple(cfg.WEND.PROTOCOLS) == ("original",)
    assert cfg.SOLVER.BASE_LR == 0.5


def test_an_override_without_a_value_is_named(tmp_path):
    with pytest.raises(InputError, match=r"TEST\.DETECTIONS_PER_IMAGE: has no value"):
        merge(tmp_path, None, "TEST.DETECTIONS_PER_IMAGE", "None")


def test_what_was_read_is_checked(tmp_path):
    with pytest.raises(InputError, match=r"config entry WEND\.EPOCHS: .*got -1"):
        merge(tmp_path, "WEND: {EPOCHS: -1}\n")
    with pytest.raises(InputError, match=r"config entry WEND\.ETA: .*got nan"):
        merge(tmp_path, "WEND: {ETA: .nan}\n")


def test_an_entry_of_earlier_versions_is_taken_at_its_default_and_else_says_what_it_is(tmp_path):
    text = "WEND: {DETACH_WEIGHT: false, EPOCHS: 3}\n"  # as such a run's config.yaml has it
    cfg = merge(tmp_path, text)
    assert (cfg.WEND.EPOCHS, cfg.WEND.WE.WEIGHT_GRADIENT) == (3, "flow")
    assert "DETACH_WEIGHT" not in cfg.dump()
    message = r"WEND\.DETACH_WEIGHT True is WEND\.WE\.WEIGHT_GRADIENT detach now"
    with pytest.raises(InputError, match=rf"run\.yaml: config entry {message}"):
        merge(tmp_path, "WEND: {DETACH_WEIGHT: true}\n")
    with pytest.raises(InputError, match=rf"^command line: config entry {message}"):
        merge(tmp_path, None, "WEND.DETACH_WEIGHT", "True")


def test_missing_config_file_is_named(tmp_path):
    with pytest.raises(
        MissingFileError, match=r"^--config-file: there is no file .*none\.yaml, nor "
    ):
        merge_config(config(), str(tmp_path / "none.yaml"), [], "")


def test_a_config_of_wends_is_named_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "CUB/fcos_R50_we" in config_names()
    for name in ("CUB/fcos_R50_we", "configs/CUB/fcos_R50_we.yaml", "./configs/CUB/fcos_R50_we"):
        cfg = config()
        merge_config(cfg, name, [], "")
        assert (cfg.WEND.ETA, cfg.WEND.EPOCHS, cfg.SOLVER.BASE_LR) == (0.125, 50, 0.004)
    (tmp_path / "CUB").mkdir()
    (tmp_path / "CUB/fcos_R50_we").write_text("WEND: {ETA: 0.75}\n")  # a real file goes first
    merge_config(cfg := config(), "CUB/fcos_R50_we", [], "")
    assert cfg.WEND.ETA == 0.75


def test_a_folder_of_a_configs_name_is_no_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    merge_config(cfg := config(), "demo", [], "")
    assert cfg.WEND.RESIZE == 64


def test_a_yaml_starts_from_a_config_of_wends_unless_a_file_of_that_name_lies_beside_it(tmp_path):
    text = "_BASE_: [configs/demo.yaml, CUB/Base-CUB]\nWEND: {CROP: 48}\n"
    wend = merge(tmp_path, text).WEND
    assert (wend.RESIZE, wend.CROP, wend.EPOCHS, wend.LOSS) == (256, 48, 50, "none")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/demo.yaml").write_text("WEND: {ETA: 0.75}\n")
    assert merge(tmp_path, text).WEND.ETA == 0.75


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("demmo", "'demo'"),
        ("fcos_R50_lean.yaml", "'CUB/fcos_R50_lean'"),
        ("CUB/cln", "'CUB/cln_R50'"),
    ],
)
def test_the_nearest_config_is_named(tmp_path, name, near):
    with pytest.raises(MissingFileError, match=rf"^--config-file: .* Did you mean {near}"):
        merge_config(config(), name, [], "")
    with pytest.raises(MissingFileError, match=rf"run\.yaml: _BASE_: .* Did you mean {near}"):
        merge(tmp_path, f"_BASE_: {name}\n")


def test_the_file_of_a_chain_that_has_the_wrong_entry_is_named(tmp_path):
    (tmp_path / "base.yaml").write_text("WEND: {EPOCHS: 1.5}\n")
    with pytest.raises(InputError, match=r"base\.yaml: .*EPOCHS"):
        merge(tmp_path, "_BASE_: base.yaml\nWEND: {EPOCHS: 2}\n")
    (tmp_path / "base.yaml").write_text("WEND: {ETA:}\n")
    with pytest.raises(InputError, match=r"base\.yaml: config entry WEND\.ETA: has no value"):
        merge(tmp_path, "_BASE_: base.yaml\nWEND: {EPOCHS: 2}\n")


def test_iterations_that_follow_from_a_files_own_epochs_are_left_to_the_epochs(tmp_path, caplog):
    """As in the config.yaml of a run; otherwise they stay, and contradict the epochs or not."""
    text = (
        "WEND: {EPOCHS: %s}\nSOLVER: {MAX_ITER: 12, CHECKPOINT_PERIOD: 3}\nTEST: {EVAL_PERIOD: 3}\n"
    )
    with caplog.at_level("INFO"):
        cfg = merge(tmp_path, text % 4, "WEND.EPOCHS", "9")
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.CHECKPOINT_PERIOD, cfg.TEST.EVAL_PERIOD) == (
        *(40000, 5000),
        0,
    )
    assert "run.yaml: SOLVER.MAX_ITER 12 follows from WEND.EPOCHS" in caplog.text
    for epochs in (3, 0):
        cfg = merge(tmp_path, text % epochs)
        assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.CHECKPOINT_PERIOD) == (12, 3)


@pytest.mark.parametrize("version", [1, 3])
def test_a_config_of_another_version_of_detectron2s_is_refused(tmp_path, version):
    with pytest.raises(InputError, match=rf"run\.yaml: config entry VERSION: .*got {version}"):
        merge(tmp_path, f"VERSION: {version}\n")


def test_a_tag_runs_no_code(tmp_path):
    text = f"SEED: !!python/object/apply:os.mkdir ['{tmp_path / 'made'}']\n"
    with pytest.raises(InputError, match=r"run\.yaml, line 1: cannot be read as YAML: .*tag"):
        merge(tmp_path, text)
    assert not (tmp_path / "made").exists()


def test_an_unknown_entrys_nearest_is_named(tmp_path):
    with pytest.raises(InputError, match=r"WEND\.GAMA.* Did you mean 'WEND\.GAMMA'\?"):
        merge(tmp_path, "WEND: {GAMA: 2.0}\n")
    with pytest.raises(InputError, match=r"FCOS\.NORMS.* Did you mean 'WEND\.FCOS\.NORM'\?"):
        merge(tmp_path, None, "WEND.FCOS.NORMS", "GN")


def test_missing_base_is_named_with_the_file_that_asks_for_it(tmp_path):
    with pytest.raises(InputError, match=r"run\.yaml: .*gone\.yaml"):
        merge(tmp_path, "_BASE_: gone.yaml\n")


@pytest.mark.parametrize(
    "text",
    ["WEND: {EPOCHS: 1", "a: b: c\n", "WEND:\n\t- x\n", b"WEND: {LOSS: \xe9}\n", "- 1\n", "7\n"],
)
def test_file_that_is_no_yaml_mapping_is_named(tmp_path, text):
    with pytest.raises(InputError, match=re.escape(f"{tmp_path / 'run.yaml'}") + r"(, line \d)?: "):
        merge(tmp_path, text)


def test_unknown_key_in_a_file_is_named_with_the_engines_hint(tmp_path):
    with pytest.raises(
        InputError,
        match=r"run\.yaml: Non-existent.*WEND\.GAMA\. Ask the engine's manual.*--import names",
    ):
        merge(tmp_path, "WEND: {GAMA: 2.0}\n")


def test_unknown_key_in_the_overrides_is_named(tmp_path):
    with pytest.raises(InputError, match=r"^command line: Non-existent.*WEND\.GAMA"):
        merge(tmp_path, None, "WEND.GAMA", "2.0")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WEND.ETA", "1"),  # an int for a float
        ("WEND.EPOCHS", "1.5"),
        ("WEND.EPOCHS", "True"),
        ("WEND.TAU1", "nan"),  # a string, as Python's literals have no nan
        ("WEND.PROTOCOLS", "original"),
        ("WEND.LOSS", "3"),
    ],
)
def test_value_of_another_type_is_named_with_key_and_both_types(tmp_path, name, value):
    with pytest.raises(InputError, match=rf"command line: .*ismatch.*(?s:.)*config key: {name}"):
        merge(tmp_path, None, name, value)


def test_int_for_a_float_is_told_how_to_write_it(tmp_path):
    with pytest.raises(InputError, match=r"run\.yaml: .*WEND\.ETA \(write 1\.0, not 1"):
        merge(tmp_path, "WEND: {ETA: 1}\n")


def test_overrides_that_are_no_pairs_are_an_error(tmp_path):
    with pytest.raises(InputError, match=r"^command line: .*pairs"):
        merge(tmp_path, None, "WEND.ETA")


# ---- what CfgNode would read without a word ----


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("4_00", "expected a finite number such as 0.5 or 1e-3, got '4_00'"),
        (" 5", "expected a number without blanks around it, got ' 5'"),
        ("0x10", "got '0x10'"),
        ("(1, 2_0)", "got '2_0'"),
        ("('a' 'b')", "expected a comma between 'a' and 'b', got \"('a' 'b')\""),
        ('["a" "b", "c"]', "expected a comma between"),
        ("{'A': 1, 'A': 2}", "a key stands twice in"),
    ],
)
def test_a_value_that_only_python_reads(tmp_path, value, message):
    for name in ("command line", "file"):
        path = tmp_path / "run.yaml"
        path.write_text(f"WEND: {{ALPHA: {json.dumps(value if name == 'file' else 0.5)}}}\n")
        opts = ["WEND.ETA", value] if name != "file" else []
        where = "command line: config entry WEND.ETA: " if opts else f"{path}: config entry WEND.A"
        with pytest.raises(InputError) as error:
            merge_config(config(), str(path), opts, "")
        assert str(error.value).startswith(where)
        assert message in str(error.value)


def test_of_an_entry_that_is_overridden_twice_the_last_holds_as_in_detectron2(caplog):
    cfg = config()
    merge_config(cfg, "", ["WEND.ETA", "1.0", "WEND.CROP", "8", "WEND.ETA", "2.0"], "")
    assert cfg.WEND.ETA == 2.0
    assert "WEND.ETA is given twice, 1.0 and then 2.0; the last one holds" in caplog.text
    caplog.clear()
    merge_config(config(), "", ["WEND.ETA", "1.0", "WEND.ETA", "1.0"], "")
    assert not caplog.text


@pytest.mark.parametrize("flag", [["--config-file", "x.yaml"], ["--overwrite"]])
def test_a_flag_behind_the_overrides(flag):
    with pytest.raises(InputError, match=rf"^{flag[0]}: flags come before the KEY VALUE"):
        merge_config(config(), "", ["WEND.ETA", "1.0", *flag], "")


def test_an_override_without_a_value():
    with pytest.raises(InputError, match=r"KEY VALUE pairs; WEND.CROP has no value"):
        merge_config(config(), "", ["WEND.ETA", "1.0", "WEND.CROP"], "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("WEND: {ETA: 0.5, ETA: 0.25}\n", "the key 'ETA' stands already in line 1"),
        ("WEND: {ETA: 0.5}\nSEED: 1\nWEND: {GAMMA: 2.0}\n", "line 3: .*the key 'WEND' stands"),
        ("WEND: {CROP: 2_24}\n", "'2_24' is a number in YAML 1.1 and text in 1.2"),
        ("WEND: {CROP: 3:44}\n", "'3:44' is a number of base 60"),
        ("WEND: {CLN: {NORMALIZE_FEATURES: on}}\n", "'on' is true or false in YAML 1.1"),
    ],
)
def test_a_yaml_that_others_read_apart(tmp_path, text, message):
    (tmp_path / "base.yaml").write_text(text)
    (tmp_path / "run.yaml").write_text("_BASE_: base.yaml\n")
    for name in ("base.yaml", "run.yaml"):
        with pytest.raises(InputError, match=rf"base\.yaml.*{message}"):
            merge_config(config(), str(tmp_path / name), [], "")
