"""MODEL.BACKBONE.FREEZE_AT and MODEL.RESNETS.NORM for every body, and sizes that do not fit."""

import pytest
import torch
from fvcore.common.config import CfgNode
from networks import make, make_meta, randomize
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from wend.errors import InputError
from wend.modeling.backbones.body import Body
from wend.modeling.backbones.build import BODIES
from wend.modeling.backbones.feature_maps import check_feature_maps

STEMS = {  # the modules before the first map, as read in the networks
    "resnet": ("conv1.", "bn1."),
    "densenet161": ("features.conv0.", "features.norm0."),
    "vgg16": tuple(f"features.{i}." for i in (0, 2, 5, 7)),
    "googlenet": ("conv1.",),
    "inception_v3": ("Conv2d_1a_3x3.", "Conv2d_2a_3x3.", "Conv2d_2b_3x3."),
    "small_cnn": ("stages.stage1.",),
    "timm": ("net.conv1.", "net.bn1."),
}
FEW = {"resnet": {"MODEL__RESNETS__DEPTH": 18}, "timm": {"WEND__TIMM__MODEL": "test_resnet"}}
LIVE = (nn.BatchNorm2d, nn.SyncBatchNorm)


def _entries(name, freeze_at, **others):
    if name == "timm":
        pytest.importorskip("timm", reason="timm is not installed (extra 'classifier')")
    return {**FEW.get(name, {}), "MODEL__BACKBONE__FREEZE_AT": freeze_at, **others}


def _trained(body):
    return {name for name, parameter in body.named_parameters() if parameter.requires_grad}


def _norms(body, kind):
    return {name for name, module in body.named_modules() if isinstance(module, kind)}


@pytest.mark.parametrize("name", STEMS)
def test_each_value_freezes_the_stages_up_to_it(name):
    live = make_meta(name, **_entries(name, 0)).eval()
    parameters = dict(live.named_parameters())
    assert _trained(live) == set(parameters)
    maps = live(torch.zeros(1, 3, 160, 160, device="meta"))
    early = {n for n in parameters if n.startswith(STEMS[name])}
    assert early
    for freeze_at in (1, 3, 5):
        if freeze_at > 1:  # what the maps up to it are computed from
            stages = [one.sum() for key, one in maps.items() if live.strides[key] <= 2**freeze_at]
            used = torch.autograd.grad(
                sum(stages), list(parameters.values()), allow_unused=True, retain_graph=True
            )
            early = {n for n, used_by in zip(parameters, used, strict=True) if used_by is not None}
        body = make_meta(name, **_entries(name, freeze_at))
        assert _trained(body) == set(parameters) - early
        norms = _norms(live, LIVE)
        frozen = {norm for norm in norms if f"{norm}.weight" in early}
        assert _norms(body, LIVE) == norms - frozen
        counters = ("num_batches_tracked",)
        names = {n for n in live.state_dict() if not n.endswith(counters)}
        assert {n for n in body.state_dict() if not n.endswith(counters)} == names
    assert not _trained(body)


def test_stages_of_a_timm_network_are_found_from_its_maps():
    body = make_meta("timm", **_entries("timm", 3))
    modules = {name.split(".")[1] for name in _trained(body)}
    assert modules == {"layer3", "layer4"}  # as in torchvision's ResNet
    pyramid = make_meta("timm", **_entries("timm", 1, WEND__TIMM__MODEL="test_convnext"))
    assert _trained(pyramid) == {name for name, _ in pyramid.named_parameters()}  # begins with 4


def _step(body):
    """One step of a loss on all maps, in training mode, with all that an optimizer would take."""
    trained = [p for p in body.train().parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    torch.manual_seed(2)
    maps = body(torch.randn(2, 3, 64, 64))
    sum(one.square().mean() for one in maps.values()).backward()
    optimizer.step()


@pytest.mark.parametrize("name", ["resnet", "googlenet", "timm", "small_cnn"])
def test_training_changes_neither_weights_nor_statistics_of_frozen_stages(name):
    body = randomize(make(name, **_entries(name, 2)))
    before = {key: value.clone() for key, value in body.state_dict().items()}
    trained = _trained(body)
    still = _norms(body, LIVE)
    _step(body)
    changed = {
        key for key, value in body.state_dict().items() if not torch.equal(value, before[key])
    }
    statistics = {
        f"{norm}.{value}"
        for norm in still
        for value in ("running_mean", "running_var", "num_batches_tracked")
    }
    assert changed == trained | statistics
    assert len(trained) < len(before) / 1.2


@pytest.mark.parametrize("name", ["resnet", "googlenet", "timm"])
def test_frozen_norms_compute_what_the_norms_did_in_evaluation(name):
    live, frozen = (
        make(name, **_entries(name, 0), MODEL__RESNETS__NORM=norm) for norm in ("BN", "FrozenBN")
    )
    randomize(live)
    frozen.load_state_dict(live.state_dict(), strict=name != "timm")  # timm's keep the counter
    assert not _norms(frozen, LIVE)
    assert _trained(frozen) == {n for n in _trained(live) if n in dict(frozen.named_parameters())}
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        ours, theirs = frozen.train()(images), live.eval()(images)
    for key, one in ours.items():
        torch.testing.assert_close(one, theirs[key], rtol=1e-4, atol=1e-4)


def test_a_norm_without_weights_is_frozen_with_the_whole_backbone(own_registries):
    class Plain(nn.Sequential):
        channels, strides = {"res2": 4}, {"res2": 4}

    def body(cfg, in_channels):
        return Plain(nn.Conv2d(in_channels, 4, 4, 4), nn.BatchNorm2d(4, affine=False))

    BODIES.register("plain")(body)
    assert isinstance(make("plain", MODEL__BACKBONE__FREEZE_AT=5)[1], FrozenBatchNorm2d)


@pytest.mark.parametrize("value", [-1, 6])
@pytest.mark.parametrize("name", ["small_cnn", "vgg16"])
def test_impossible_stage_is_an_error(name, value):
    with pytest.raises(
        InputError, match=rf"^config entry MODEL\.BACKBONE\.FREEZE_AT: .*got {value}"
    ):
        make_meta(name, MODEL__BACKBONE__FREEZE_AT=value)


def test_unknown_norm_is_an_error():
    with pytest.raises(InputError, match=r"^config entry MODEL\.RESNETS\.NORM: .*got 'SyncBN'"):
        make_meta("googlenet", MODEL__RESNETS__NORM="SyncBN")


def test_maps_smaller_than_a_cell_are_refused():
    strides = {"p5": 32, "p6": 64, "p7": 128}

    def check(names, crop):
        cfg = CfgNode({"WEND": {"CROP": crop}, "MODEL": {"BACKBONE": {"NAME": "build_x"}}})
        check_feature_maps(cfg, "WEND.FCOS.IN_FEATURES", names, strides)

    check(["p5", "p6"], 64)
    check(["p5"], 63)
    with pytest.raises(InputError) as error:
        check(["p5", "p6", "p7"], 63)
    assert str(error.value) == (
        "config entry WEND.FCOS.IN_FEATURES: expected feature maps of at least 1x1 cells; of a "
        "crop of 63 pixels (WEND.CROP) p6, p7 would be smaller (stride 64, 128); leave them out, "
        "or set WEND.CROP to 128 or more"
    )


def test_a_body_without_stages_freezes_nothing_or_all():
    with pytest.raises(InputError, match=r"FREEZE_AT: expected 0 .* as Body has no .*, got 2"):
        Body().parameters_up_to(2)
