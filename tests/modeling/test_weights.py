"""A file's weights reach the model under its own names, or the file is refused."""

import logging
import re

import pytest
import torch
from fvcore.common.checkpoint import Checkpointer
from torch import nn
from torchvision.models import resnet18, resnet50

from wend.errors import InputError, MissingFileError
from wend.modeling.backbones.build import build_body
from wend.modeling.weight_names import (
    detectron2_to_torchvision,
    match_names,
    torchvision_to_detectron2,
)
from wend.modeling.weights import CheckedLoading
from wend.tv.config import get_cfg as tv_config

NAMES = [  # torchvision's, Detectron2's: as read in the two projects' ResNets
    ("conv1.weight", "stem.conv1.weight"),
    ("bn1.running_mean", "stem.conv1.norm.running_mean"),
    ("layer1.0.conv1.weight", "res2.0.conv1.weight"),
    ("layer1.0.downsample.0.weight", "res2.0.shortcut.weight"),
    ("layer2.0.downsample.1.bias", "res3.0.shortcut.norm.bias"),
    ("layer3.22.bn2.weight", "res4.22.conv2.norm.weight"),
    ("layer4.2.bn3.running_var", "res5.2.conv3.norm.running_var"),
]


class FileCheckpointer(CheckedLoading, Checkpointer):
    """As the engines mix it."""


class Trunk(nn.Module):
    """Two layers of torchvision's names."""

    def __init__(self, channels=4, blocks=1):
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.layer1 = nn.Sequential(*(Block(channels) for _ in range(blocks)))


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)


class Detector(nn.Module):
    def __init__(self, backbone=None, classes=1):
        super().__init__()
        self.backbone = backbone or Trunk()
        self.head = nn.Linear(4, classes)


def seeded(make, seed, *args, **kwargs):
    """A module whose weights, also the norms', differ from those of another seed."""
    torch.manual_seed(seed)
    module = make(*args, **kwargs)
    with torch.no_grad():
        for value in module.state_dict().values():
            if value.is_floating_point() and value.ndim == 1:  # norms begin as 0 and 1
                value.copy_(0.5 + torch.rand_like(value))
    return module


def load(tmp_path, content, model=None, *, whole=False):
    """Save what a file holds and load it into a detector of other weights."""
    model = model or seeded(Detector, 99)
    torch.save(content, tmp_path / "file.pth")
    checkpointer = FileCheckpointer(model, save_dir=str(tmp_path))
    checkpointer.require_all = whole
    checkpointer.load(str(tmp_path / "file.pth"))
    return model


def assert_same(actual, expected):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, rtol=0, atol=0, msg=name)


# ---- names ----


@pytest.mark.parametrize(("theirs", "ours"), NAMES)
def test_names_of_torchvision_become_detectron2s_and_back(theirs, ours):
    assert torchvision_to_detectron2(theirs) == ours
    assert detectron2_to_torchvision(ours) == theirs


@pytest.mark.parametrize("name", ["head.bias", "fc.weight", "fpn_lateral3.weight", "stage1.0.bias"])
def test_other_names_are_unchanged(name):
    assert torchvision_to_detectron2(name) == name
    assert detectron2_to_torchvision(name) == name


def test_conversion_leaves_names_that_are_already_right():
    for theirs, ours in NAMES:
        assert torchvision_to_detectron2(ours) == ours
        assert detectron2_to_torchvision(theirs) == theirs


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (["backbone.conv1.weight"], "backbone.conv1.weight"),
        (["backbone.body.conv1.weight"], "backbone.body.conv1.weight"),
        (["backbone.stem.conv1.weight"], "backbone.stem.conv1.weight"),
        (["backbone.bottom_up.stem.conv1.weight"], "backbone.bottom_up.stem.conv1.weight"),
        (["conv1.weight", "backbone.conv1.weight"], "conv1.weight"),  # fits as it is
        (["something.else"], "conv1.weight"),  # fits nowhere: unchanged
    ],
)
def test_names_get_the_prefix_under_which_they_fit(wanted, expected):
    assert match_names({"conv1.weight": 1}, wanted) == {expected: 1}


def test_names_are_those_under_which_most_fit():
    """``conv1`` alone would fit a plain backbone; with its block only Detectron2's names do."""
    state = {"stem.conv1.weight": 1, "res2.0.conv1.weight": 2, "res2.0.conv1.norm.bias": 3}
    wanted = ["backbone.body.conv1.weight", "backbone.stem.conv1.weight"]
    wanted += ["backbone.body.layer1.0.conv1.weight", "backbone.body.layer1.0.bn1.bias"]
    assert match_names(state, wanted) == {
        "backbone.body.conv1.weight": 1,
        "backbone.body.layer1.0.conv1.weight": 2,
        "backbone.body.layer1.0.bn1.bias": 3,
    }


def test_names_from_before_dots_were_forbidden_become_densenets():
    theirs = ["denselayer1.norm.1.weight", "denselayer24.conv.2.weight", "transition1.norm.bias"]
    ours = ["denselayer1.norm1.weight", "denselayer24.conv2.weight", "transition1.norm.bias"]
    block = "features.denseblock1."
    state = {block + name: index for index, name in enumerate(theirs)}
    wanted = {f"backbone.body.{block}{name}": index for index, name in enumerate(ours)}
    assert match_names(state, wanted) == wanted


def test_names_of_timm_get_the_underscore_that_its_feature_maps_put_in():
    wanted = ["backbone.body.net.stem_0.weight", "backbone.body.net.stages_1.blocks.0.weight"]
    state = {"stem.0.weight": 0, "stages.1.blocks.0.weight": 1, "stages.1.blocks.7.weight": 2}
    assert match_names({**state, "head.fc.weight": 3}, wanted) == {
        wanted[0]: 0,
        wanted[1]: 1,
        "backbone.body.net.stages_1.blocks.7.weight": 2,  # not a head: it stays, to be refused
    }


@pytest.mark.parametrize("wrapping", ["", "backbone.", "backbone.body.", "backbone.bottom_up."])
def test_backbone_of_another_wrapping_is_found(wrapping, caplog):
    state = {f"{wrapping}conv1.weight": 1, f"{wrapping}layer1.0.conv1.weight": 2, "head.bias": 3}
    wanted = ["backbone.bottom_up.stem.conv1.weight", "backbone.bottom_up.res2.0.conv1.weight"]
    with caplog.at_level(logging.INFO, logger="wend"):
        matched = match_names(state, [*wanted, "proposal_generator.bias"])
    assert matched == dict(zip(wanted, (1, 2), strict=True))
    assert "passed over, as the backbone has no such part: head (1)" in caplog.text


@pytest.mark.parametrize("wrapping", ["model.", "net.encoder.", "student.backbone.", "resnet."])
def test_a_backbone_below_any_attribute_is_loaded(tmp_path, caplog, wrapping):
    caplog.set_level(logging.INFO, logger="wend")
    trunk = Trunk()
    state = {wrapping + name: value for name, value in trunk.state_dict().items()}
    torch.save({"state_dict": {**state, "criterion.weight": torch.ones(2)}}, tmp_path / "f.ckpt")
    detector = Detector()
    FileCheckpointer(detector).load(str(tmp_path / "f.ckpt"))
    for name, value in trunk.state_dict().items():
        assert torch.equal(detector.backbone.state_dict()[name], value)
    assert re.search(rf"weights (are those )?under '{wrapping.split('.')[0]}\.", caplog.text)


@pytest.mark.parametrize("wrapping", ["module.", "_orig_mod.", "model.", "model._orig_mod.module."])
@pytest.mark.parametrize("key", ["model", "state_dict", "model_state_dict", "ema"])
def test_a_whole_detector_is_loaded_from_any_wrapping_or_refused_whole(tmp_path, wrapping, key):
    source, detector = Detector(), Detector()
    state = {wrapping + name: value for name, value in source.state_dict().items()}
    torch.save({key: state, "epoch": 3}, tmp_path / "f.pth")
    checkpointer = FileCheckpointer(detector)
    checkpointer.require_all = True
    checkpointer.load(str(tmp_path / "f.pth"))
    for name, value in source.state_dict().items():
        assert torch.equal(detector.state_dict()[name], value), name
    del state[f"{wrapping}head.bias"]
    torch.save({key: state}, tmp_path / "f.pth")
    with pytest.raises(InputError, match=r"not a checkpoint of this detector: .*head\.bias"):
        checkpointer.load(str(tmp_path / "f.pth"))


def test_a_detectors_own_checkpoint_keeps_every_name():
    """Names of a head are not taken for parts that a backbone lacks."""
    state = {"backbone.conv1.weight": 1, "head.weight": 2, "other.weight": 3}
    wanted = ["backbone.conv1.weight", "head.weight"]
    assert match_names(state, wanted) == state


# ---- a whole ResNet50, against the two libraries' own modules ----


@pytest.fixture(scope="module")
def torchvision_trunk():
    return seeded(resnet50, 0, weights=None)


def detectron2_resnet(depth):
    """Detectron2's own trunk with torchvision's strides and trainable norms."""
    pytest.importorskip("detectron2")
    from detectron2.config import get_cfg
    from detectron2.layers import ShapeSpec
    from detectron2.modeling.backbone import build_resnet_backbone

    cfg = get_cfg()
    cfg.MODEL.RESNETS.DEPTH = depth
    cfg.MODEL.RESNETS.NORM = "BN"
    cfg.MODEL.RESNETS.STRIDE_IN_1X1 = False
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res5"]
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    if depth < 50:
        cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
    return seeded(build_resnet_backbone, 1, cfg, ShapeSpec(channels=3))


@pytest.fixture(scope="module")
def detectron2_trunk():
    return detectron2_resnet(50)


def shapes(state):
    return {name: value.shape for name, value in state.items() if not name.startswith("fc.")}


def test_every_weight_of_a_resnet50_has_its_name_and_shape_in_the_other_library(
    torchvision_trunk, detectron2_trunk
):
    theirs, ours = shapes(torchvision_trunk.state_dict()), shapes(detectron2_trunk.state_dict())
    # 53 convolutions (1 + 16·3 + 4 shortcuts), each with a norm of five entries
    assert len(theirs) == len(ours) == 53 * 6
    assert {torchvision_to_detectron2(name): shape for name, shape in theirs.items()} == ours
    assert {detectron2_to_torchvision(name): shape for name, shape in ours.items()} == theirs


def test_torchvisions_resnet50_loads_into_detectron2s_with_equal_features(
    tmp_path, torchvision_trunk, detectron2_trunk
):
    state = torchvision_trunk.state_dict()
    model = Detector(detectron2_trunk)
    load(tmp_path, {f"module.{name}": value for name, value in state.items()}, model)
    loaded = model.backbone.state_dict()
    for name, value in state.items():
        if not name.startswith("fc."):
            assert torch.equal(loaded[torchvision_to_detectron2(name)], value), name
    # the same function: a swapped pair of equal shapes would show here whatever the names say
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        x = image
        for name, child in torchvision_trunk.eval().named_children():
            x = x if name in ("avgpool", "fc") else child(x)
        torch.testing.assert_close(model.backbone.eval()(image)["res5"], x, rtol=1e-4, atol=1e-4)


def test_detectron2s_resnet18_loads_into_torchvisions(tmp_path):
    trunk = detectron2_resnet(18).state_dict()
    body = nn.Module()
    for name, child in resnet18(weights=None).named_children():
        if name != "fc":
            body.add_module(name, child)
    backbone = nn.Module()
    backbone.body = body
    load(tmp_path, {"model": trunk}, Detector(backbone))
    loaded = body.state_dict()
    assert len(loaded) == len(trunk) == 20 * 6  # 1 + 8·2 + 3 shortcuts, each with a norm
    for name, value in trunk.items():
        assert torch.equal(loaded[detectron2_to_torchvision(name)], value), name


MOCO_HEADS = {
    "v1": {"fc.weight": (128, 512), "fc.bias": (128,)},
    "v2": {"fc.0.weight": (512, 512), "fc.0.bias": (512,), "fc.2.weight": (128, 512)},
}


@pytest.mark.parametrize("version", MOCO_HEADS)
@pytest.mark.parametrize("engine", ["torchvision", "detectron2"])
def test_moco_checkpoint_gives_its_query_encoders_features(tmp_path, caplog, engine, version):
    """As MoCo's main_moco.py saves: two encoders with heads, the queue, the optimizer."""
    query, key = (seeded(resnet18, seed, weights=None) for seed in (0, 1))
    state = {"module.queue": torch.rand(128, 64), "module.queue_ptr": torch.zeros(1).long()}
    for encoder, network in (("encoder_q", query), ("encoder_k", key)):
        trunk = {k: v for k, v in network.state_dict().items() if not k.startswith("fc.")}
        heads = {k: torch.rand(shape) for k, shape in MOCO_HEADS[version].items()}
        state |= {f"module.{encoder}.{k}": v for k, v in {**trunk, **heads}.items()}
    content = {"epoch": 200, "arch": "resnet50", "state_dict": state, "optimizer": {"state": {}}}
    if engine == "detectron2":
        backbone = detectron2_resnet(18)
    else:
        backbone = nn.Module()
        cfg = tv_config()
        cfg.merge_from_list(["MODEL.RESNETS.DEPTH", "18", "MODEL.RESNETS.NORM", "BN"])
        cfg.merge_from_list(["MODEL.BACKBONE.FREEZE_AT", "0"])
        backbone.body = build_body("resnet", cfg)
        backbone.forward = backbone.body.forward
    with caplog.at_level(logging.INFO, logger="wend"):
        model = load(tmp_path, content, Detector(backbone))
    # 20 convolutions with norms of four weights, in the momentum encoder too
    head = len(MOCO_HEADS[version])
    assert (
        f"no such part: encoder_k ({100 + head}), fc ({head}), queue (1), queue_ptr (1)\n"
    ) in caplog.text
    assert "loaded 100 of the model's 102 weights; 2 missing" in caplog.text
    images = torch.rand(1, 3, 32, 32)
    query.avgpool = query.fc = nn.Identity()
    with torch.no_grad():
        features, expected = model.backbone.eval()(images)["res5"], query.eval()(images)
    torch.testing.assert_close(features.flatten(1), expected, rtol=1e-4, atol=1e-4)


def test_moco_checkpoint_of_another_network_is_refused(tmp_path):
    state = seeded(resnet18, 0, weights=None).state_dict()
    state = {f"module.encoder_q.{name}": value for name, value in state.items()}
    with pytest.raises(InputError, match=r"of another shape \(backbone\.conv1\.weight \(64, 3, 7"):
        load(tmp_path, {"state_dict": state})


# ---- files ----


def test_backbone_files_and_whole_detectors_load(tmp_path):
    trunk, saved = seeded(Trunk, 0), seeded(Detector, 0)
    untouched = seeded(Detector, 99).head.state_dict()
    model = load(tmp_path, trunk.state_dict())
    assert_same(model.backbone.state_dict(), trunk.state_dict())
    assert_same(model.head.state_dict(), untouched)
    assert_same(load(tmp_path, saved.state_dict(), whole=True).state_dict(), saved.state_dict())


def test_classifier_and_batch_counters_do_not_matter(tmp_path, caplog):
    trunk = seeded(Trunk, 0)
    state = {k: v for k, v in trunk.state_dict().items() if not k.endswith("num_batches_tracked")}
    state |= {"fc.weight": torch.zeros(1000, 4), "fc.bias": torch.zeros(1000)}
    with caplog.at_level(logging.INFO, logger="wend"):
        model = load(tmp_path, state)
    assert torch.equal(model.backbone.layer1[0].bn1.weight, trunk.layer1[0].bn1.weight)
    assert "passed over, as the backbone has no such part: fc (2)\n" in caplog.text
    assert "not in the model" not in caplog.text
    assert "num_batches_tracked" not in caplog.text


def test_what_was_loaded_is_counted_and_what_is_missing_is_said(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="wend"):
        load(tmp_path, seeded(Trunk, 0).state_dict())
    # the trunk: 2 convolutions and 2 norms of 4 entries (their counters aside) = 10; the head: 2
    assert "loaded 10 of the model's 12 weights" in caplog.text
    assert "2 missing in the file (head.weight, head.bias)" in caplog.text


@pytest.mark.parametrize("whole", [False, True])
def test_file_of_which_nothing_matches_is_named(tmp_path, whole):
    """Also where torch fills in norms' batch counters, which no old file has."""
    state = {"encoder.a.weight": torch.zeros(2), "encoder.b.weight": torch.zeros(2)}
    with pytest.raises(
        InputError,
        match=r"file\.pth: not a checkpoint of this detector: .*2 not in the model "
        r"\(encoder\.a\.weight, encoder\.b\.weight\)",
    ):
        load(tmp_path, state, whole=whole)


def test_backbone_of_another_width_is_an_error_with_name_and_shapes(tmp_path):
    state = {**seeded(Detector, 0).state_dict(), "backbone.conv1.weight": torch.zeros(8, 3, 1, 1)}
    with pytest.raises(
        InputError,
        match=r"file\.pth: does not fit the backbone: 1 of another shape \(backbone\.conv1\.weight "
        r"\(8, 3, 1, 1\), not \(4, 3, 1, 1\)\)\. Are",
    ):  # fvcore calls it missing as well
        load(tmp_path, state)


def test_backbone_with_too_few_blocks_is_an_error_that_names_what_is_missing(tmp_path):
    with pytest.raises(
        InputError,
        match=r"file\.pth: does not fit the backbone: .*missing in the file .*"
        r"backbone\.layer1\.1\..*MODEL\.RESNETS\.DEPTH",
    ):
        load(
            tmp_path,
            seeded(Trunk, 0, blocks=1).state_dict(),
            seeded(Detector, 1, Trunk(blocks=2)),
        )


def test_backbone_with_too_many_blocks_is_an_error(tmp_path):
    """ResNet101's weights would else load into a ResNet50."""
    with pytest.raises(InputError, match=r"does not fit the backbone: .*not in .*layer1\.1\."):
        load(tmp_path, seeded(Trunk, 0, blocks=2).state_dict())


def test_head_of_another_shape_is_not_called_a_wrong_backbone(tmp_path):
    """Starting from a 200-class detector: the backbone fits, only the head differs."""
    saved, untouched = seeded(Detector, 0, classes=200), seeded(Detector, 99).head.state_dict()
    model = load(tmp_path, saved.state_dict())
    assert_same(model.backbone.state_dict(), saved.backbone.state_dict())
    assert_same(model.head.state_dict(), untouched)


def test_pyramid_and_head_may_be_missing_from_a_backbones_file(tmp_path):
    trunk = seeded(Trunk, 0)
    model = seeded(Detector, 99)
    model.backbone.fpn_lateral2 = nn.Conv2d(4, 4, 1)
    model.backbone.top_block = nn.Conv2d(4, 4, 1)
    load(tmp_path, trunk.state_dict(), model)
    assert torch.equal(model.backbone.conv1.weight, trunk.conv1.weight)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.pop("head.bias"), r"1 missing in the file \(head\.bias\)"),
        (
            lambda state: state.update({"extra.weight": torch.zeros(1)}),
            r"1 not in the model \(extra\.weight\)",
        ),
        (
            lambda state: state.update({"head.weight": torch.zeros(200, 4)}),
            r"1 of another shape \(head\.weight \(200, 4\), not \(1, 4\)\)",
        ),
    ],
    ids=["missing", "unexpected", "shape"],
)
def test_checkpoint_that_must_be_this_detector_may_differ_in_nothing(tmp_path, change, said):
    state = seeded(Detector, 0).state_dict()
    change(state)
    with pytest.raises(
        InputError, match=rf"file\.pth: not a checkpoint of this detector: {said}.*another config"
    ):
        load(tmp_path, state, whole=True)


def test_missing_file_is_named_with_the_entry(tmp_path):
    path = tmp_path / "none.pth"
    with pytest.raises(
        MissingFileError, match=rf"{re.escape(str(path))}: there is no such file; .*MODEL\.WEIGHTS"
    ):
        FileCheckpointer(Detector()).load(str(path))


def test_no_file_leaves_the_weights_as_they_are():
    model = seeded(Detector, 0)
    FileCheckpointer(model).load("")
    assert_same(model.state_dict(), seeded(Detector, 0).state_dict())
