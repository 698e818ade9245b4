"""The backbones as Detectron2 builds them: plain, with a pyramid, frozen, under detectors."""

import pytest
import torch

pytest.importorskip("detectron2", reason="Detectron2 is not installed")
from detectron2.config import get_cfg
from detectron2.layers import FrozenBatchNorm2d, ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, build_backbone, build_model
from detectron2.modeling.backbone import build_resnet_backbone
from detectron2.modeling.backbone.fpn import (
    build_resnet_fpn_backbone,
    build_retinanet_resnet_fpn_backbone,
)
from engine_runs import CONFIGS, without_memory

import wend.d2  # noqa: F401  (registers the backbones)
from wend.config import add_wend_config, merge_config
from wend.d2.backbones import build_fpn
from wend.d2.trainer import Trainer
from wend.errors import InputError
from wend.modeling.backbones.build import BODIES

pytestmark = [pytest.mark.detectron2, pytest.mark.usefixtures("_event_storage")]
CHANNELS = {
    "densenet161": (384, 768, 2112, 2208),
    "vgg16": (256, 512, 512, 512),
    "googlenet": (192, 480, 832, 1024),
    "inception_v3": (192, 288, 768, 2048),
    "timm": (32, 48, 192, 96),  # test_resnet
    "small_cnn": (32, 64, 96),
}


def _config(name, *changes, detector="fcos_R50"):
    if name == "timm":
        pytest.importorskip("timm", reason="timm is not installed (extra 'classifier')")
    cfg = get_cfg()
    add_wend_config(cfg)
    small = ["WEND.TIMM.MODEL", "test_resnet", "WEND.SMALL_CNN.CHANNELS", "(32, 64, 96)"]
    entries = ["MODEL.DEVICE", "meta", "MODEL.BACKBONE.NAME", f"build_{name}_backbone", *small]
    merge_config(cfg, str(CONFIGS / "CUB" / f"{detector}.yaml"), [*entries, *changes], "")
    return cfg


def test_every_body_is_registered_with_and_without_pyramid():
    names = set(BODIES) - {"resnet"}  # that is Detectron2's own
    assert names == set(CHANNELS)
    for name in names:
        for suffix in ("", "_fpn", "_fpn_p6p7"):
            assert f"build_{name}{suffix}_backbone" in BACKBONE_REGISTRY


@pytest.mark.parametrize("name", CHANNELS)
def test_maps_and_levels_are_what_the_backbones_say(name):
    first = 1 if name == "small_cnn" else 2  # log2 of the finest stride
    word = "stage" if name == "small_cnn" else "res"
    maps = {
        f"{word}{i}": ShapeSpec(channels=width, stride=2**i)
        for i, width in enumerate(CHANNELS[name], first)
    }
    last = first + len(maps) - 1
    for suffix, extra in (("", None), ("_fpn", 1), ("_fpn_p6p7", 2)):
        cfg = _config(name + suffix, "MODEL.FPN.IN_FEATURES", str(list(maps)[1:]))
        with without_memory():
            backbone = build_backbone(cfg)
            features = backbone.eval()(torch.zeros(1, 3, 128, 128))
        expected = maps
        if extra:
            expected = {
                f"p{i}": ShapeSpec(channels=256, stride=2**i)
                for i in range(first + 1, last + extra + 1)
            }
        assert backbone.output_shape() == expected
        assert {key: tuple(feature.shape) for key, feature in features.items()} == {
            key: (1, shape.channels, 128 // shape.stride, 128 // shape.stride)
            for key, shape in expected.items()
        }


@pytest.mark.parametrize(
    ("p6p7", "theirs"),
    [(False, build_resnet_fpn_backbone), (True, build_retinanet_resnet_fpn_backbone)],
)
def test_pyramid_is_detectron2s(p6p7, theirs):
    cfg = _config("resnet", "MODEL.FPN.IN_FEATURES", "['res3', 'res4', 'res5']")
    cfg.merge_from_list(["MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64])
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res3", "res4", "res5"]
    stock = theirs(cfg, ShapeSpec(channels=3)).eval()
    ours = build_fpn(build_resnet_backbone(cfg, ShapeSpec(channels=3)), cfg, p6p7=p6p7).eval()
    ours.load_state_dict(stock.state_dict(), strict=True)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected, actual = stock(images), ours(images)
    assert list(actual) == list(expected)
    assert all(torch.equal(actual[key], expected[key]) for key in expected)
    assert ours.size_divisibility == stock.size_divisibility == 32


@pytest.mark.parametrize("names", [[], ["res6"], ["res3", "res5"], ["res4", "res3"]])
def test_pyramid_over_other_maps_is_an_error_that_lists_them(names):
    with pytest.raises(InputError) as error, without_memory():
        build_backbone(_config("vgg16_fpn", "MODEL.FPN.IN_FEATURES", str(names)))
    assert str(error.value) == (
        "config entry MODEL.FPN.IN_FEATURES: expected neighbouring feature maps, finest first, of "
        f"build_vgg16_fpn_backbone, res2, res3, res4, res5; got {names}"
    )


def _trained(module):
    return {name for name, parameter in module.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("name", ["resnet", "densenet161", "vgg16_fpn", "timm", "small_cnn"])
def test_wholly_frozen_backbone_leaves_only_new_layers_to_the_optimizer(name):
    changes = ["MODEL.BACKBONE.FREEZE_AT", "5", "MODEL.FPN.IN_FEATURES", "['res4', 'res5']"]
    level = {"vgg16_fpn": "p5", "small_cnn": "stage3"}.get(name, "res5")
    cfg = _config(name, *changes, "WEND.FCOS.IN_FEATURES", f"['{level}']")
    with without_memory():
        model = build_model(cfg)
        optimizer = Trainer.build_optimizer(cfg, model)
    trained = _trained(model)
    assert trained
    assert all(n.startswith(("head.", "backbone.fpn_")) for n in trained)
    taken = sum(p.numel() for group in optimizer.param_groups for p in group["params"])
    assert taken == sum(p.numel() for n, p in model.named_parameters() if n in trained)
    live = (torch.nn.BatchNorm2d, torch.nn.SyncBatchNorm)
    assert not any(isinstance(module, live) for module in model.modules())


def test_detectron2s_resnet_freezes_from_the_stem_to_everything():
    for freeze_at, first in ((1, "res2"), (2, "res3"), (4, "res5")):
        with without_memory():
            backbone = build_backbone(_config("resnet", "MODEL.BACKBONE.FREEZE_AT", str(freeze_at)))
        stages = [f"res{i}" for i in range(int(first[3]), 6)]
        assert {name.split(".")[0] for name in _trained(backbone)} == set(stages)
        frozen = {
            n.split(".")[0] for n, m in backbone.named_modules() if type(m) is FrozenBatchNorm2d
        }
        assert frozen == {"stem", *(f"res{i}" for i in range(2, int(first[3])))}
