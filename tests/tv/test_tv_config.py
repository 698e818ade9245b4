import math

import pytest
import torch
from engine_runs import DETECTORS, options, tv_config

from wend.config import merge_config
from wend.errors import InputError
from wend.tv.config import ONLY_DETECTRON2, check_supported, get_cfg
from wend.tv.engine import lr_multiplier


def _leaves(node, prefix=""):
    for key, value in node.items():
        if hasattr(value, "items"):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def test_defaults_are_detectron2s():
    config = pytest.importorskip("detectron2.config", reason="Detectron2 is not installed")
    from wend.config import add_wend_config

    theirs = config.get_cfg()
    add_wend_config(theirs)
    theirs = dict(_leaves(theirs))
    ours = dict(_leaves(get_cfg()))
    assert len(ours) > 50
    different = {
        name: (value, theirs.get(name, "absent"))
        for name, value in ours.items()
        if name not in theirs or theirs[name] != value or type(theirs[name]) is not type(value)
    }
    assert different == {}


def test_each_config_is_a_new_one():
    get_cfg().MODEL.BACKBONE.NAME = "changed"
    get_cfg().MODEL.RPN.IN_FEATURES.append("changed")
    assert get_cfg().MODEL.BACKBONE.NAME == "build_resnet_backbone"
    assert get_cfg().MODEL.RPN.IN_FEATURES == ["res4"]


FIXED = {
    "INPUT.FORMAT": ("BGR", "'RGB'", "'BGR'"),
    "SOLVER.LR_SCHEDULER_NAME": ("WarmupMultiStepLR", "'WarmupCosineLR'", "'WarmupMultiStepLR'"),
    "WEND.FCOS.NUM_CLASSES": ("200", "1", "200"),
    "WEND.FCOS.CONV_DIM": ("256", "0", "256"),
    "WEND.FCOS.NORM": ("''", "'GN'", "''"),
    "WEND.FCOS.PRIOR_PROB": ("0.5", "0.01", "0.5"),
    "WEND.FCOS.FOCAL_LOSS_GAMMA": ("3.0", "2.0", "3.0"),
}


@pytest.mark.parametrize("name", FIXED)
def test_value_that_torchvision_lacks_is_an_error_that_names_detectron2(name):
    value, has, got = FIXED[name]
    with pytest.raises(InputError) as error:
        check_supported(tv_config("fcos", {name: value}))
    assert str(error.value) == (
        f"config entry {name}: the torchvision engine has only {has}, got {got}; set it so, or run "
        f"with --engine detectron2"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [("MODEL.ROI_HEADS.NUM_CLASSES", "200"), ("MODEL.ROI_HEADS.NAME", "StandardROIHeads")],
)
def test_faster_rcnns_fixed_values_are_checked_for_faster_rcnn_alone(name, value):
    check_supported(tv_config("fcos", {name: value}))
    with pytest.raises(InputError, match=rf"^config entry {name}: the torchvision engine has only"):
        check_supported(tv_config("rcnn", {name: value}))


@pytest.mark.parametrize("where", ["file", "override"])
def test_entry_that_only_detectron2_has_is_an_error_that_names_it(tmp_path, where):
    cfg, opts = get_cfg(), options()
    path = DETECTORS["fcos"]
    if where == "file":
        path = tmp_path / "own.yaml"
        path.write_text("SOLVER: {CLIP_GRADIENTS: {ENABLED: True}}\n")
    else:
        opts += ["SOLVER.CLIP_GRADIENTS.ENABLED", "True"]
    with pytest.raises(InputError) as error:
        merge_config(cfg, str(path), opts, ONLY_DETECTRON2)
    assert "SOLVER.CLIP_GRADIENTS" in str(error.value)
    assert "--engine detectron2" in str(error.value)


SCHEDULES = {
    "as in the paper": {},
    "no warm-up": {"SOLVER.WARMUP_ITERS": "0"},
    "a warm-up of one": {"SOLVER.WARMUP_ITERS": "1"},
    "an end above zero": {"SOLVER.BASE_LR_END": "0.001"},
    "another factor": {"SOLVER.WARMUP_FACTOR": "0.1", "SOLVER.WARMUP_ITERS": "7"},
}


def _schedule(name):
    changes = {"WEND.EPOCHS": "0", "SOLVER.MAX_ITER": "12", "SOLVER.WARMUP_ITERS": "4"}
    return {**changes, **SCHEDULES[name]}


@pytest.mark.parametrize("name", SCHEDULES)
def test_learning_rate_is_detectron2s_at_every_iteration(name):
    solver = pytest.importorskip("detectron2.solver", reason="Detectron2 is not installed")
    from engine_runs import d2_config

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = solver.build_lr_scheduler(d2_config("fcos", _schedule(name)), optimizer)
    ours = lr_multiplier(tv_config("fcos", _schedule(name)))
    for iteration in range(12):
        expected = optimizer.param_groups[0]["lr"]
        assert ours(iteration / 12) == pytest.approx(expected, rel=1e-9, abs=1e-12), iteration
        optimizer.step()
        theirs.step()


def test_learning_rate_warms_up_into_a_cosine():
    ours = lr_multiplier(tv_config("fcos", _schedule("as in the paper")))
    cosine = [(1 + math.cos(math.pi * i / 12)) / 2 for i in range(12)]
    line = [0.001 + (cosine[4] - 0.001) * i / 4 for i in range(4)]
    assert [ours(i / 12) for i in range(12)] == pytest.approx([*line, *cosine[4:]])
