"""MODEL.WEIGHTS pretrained, and MODEL.PIXEL_MEAN and PIXEL_STD of the weights, on both engines."""

import pytest
import torch
import yaml
from engine_runs import CONFIGS, build, config, run

from wend.errors import InputError
from wend.modeling.initial_weights import IMAGENET_MEAN, IMAGENET_STD, network_of
from wend.pretrained import WEIGHT_PACKAGES, WeightPackage

MEAN, STD = (10.0, 20.0, 30.0), (1.0, 2.0, 3.0)


@pytest.fixture
def package(tmp_path, monkeypatch, engine):
    """A package with weights of the tiny config's backbone."""
    weights = build(engine, config(engine, changes={"SEED": "9"})).state_dict()
    weights = {n: torch.full_like(v, 0.01) for n, v in weights.items() if "backbone" in n}
    folder = tmp_path / "site" / "tiny_weights"
    folder.mkdir(parents=True)
    torch.save(
        {name.partition("body.")[2]: value for name, value in weights.items()}, folder / "a.pth"
    )
    monkeypatch.syspath_prepend(folder.parent)
    with WEIGHT_PACKAGES.temporary():
        made = WeightPackage("tiny-weights", "tiny_weights", "*.pth", MEAN, STD)
        WEIGHT_PACKAGES.register("small_cnn")(made)
        yield weights


def test_a_run_begins_with_the_packages_weights_and_normalizes_as_they_were(
    engine, tmp_path, package
):
    changes = {"MODEL.WEIGHTS": "pretrained", "MODEL.BACKBONE.FREEZE_AT": "5"}
    changes |= {"WEND.EPOCHS": "1", "MODEL.PIXEL_MEAN": "[]"}
    assert run(engine, tmp_path / "out", changes=changes) == 0
    written = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())["MODEL"]
    assert written["WEIGHTS"] == "pretrained"
    assert (written["PIXEL_MEAN"], written["PIXEL_STD"]) == (list(MEAN), list(STD))
    trained = torch.load(tmp_path / "out" / "model_final.pth", weights_only=True)["model"]
    for name, value in package.items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(trained[name], value), name
    changes = {"MODEL.WEIGHTS": str(tmp_path / "out" / "model_final.pth"), "MODEL.PIXEL_STD": "[]"}
    again = config(engine, changes=changes)  # a checkpoint of ours says what it was trained with
    assert (again.MODEL.PIXEL_MEAN, again.MODEL.PIXEL_STD) == (list(MEAN), list(STD))
    with pytest.raises(InputError, match=r"contradicts \[10\.0, 20\.0, 30\.0\] of the detector in"):
        config(engine, changes={**changes, "MODEL.PIXEL_MEAN": "[0.0, 0.0, 0.0]"})


def test_a_contradiction_names_both_and_equal_values_are_none(engine, tmp_path, package, capsys):
    changes = {"MODEL.WEIGHTS": "pretrained", "MODEL.PIXEL_STD": "[1.0, 1.0, 1.0]"}
    assert run(engine, tmp_path / "out", changes=changes) == 2
    error = capsys.readouterr().err
    assert (
        "config entry MODEL.PIXEL_STD: [1.0, 1.0, 1.0] contradicts [1.0, 2.0, 3.0] of the" in error
    )
    assert "the package tiny-weights" in error
    assert error.count("\n") == 1
    equal = {**changes, "MODEL.PIXEL_STD": str(list(STD))}
    assert config(engine, changes=equal).MODEL.PIXEL_MEAN == list(MEAN)


def test_a_package_that_is_not_there_ends_the_run_before_it_begins(engine, tmp_path, capsys):
    changes = {"MODEL.WEIGHTS": "pretrained"}
    assert run(engine, tmp_path / "out", changes=changes) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: config entry MODEL.WEIGHTS: pretrained: no package with the ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "network", "mean"),
    [
        ("build_googlenet_backbone", "torchvision:googlenet", IMAGENET_MEAN),  # it renormalizes
        ("build_inception_v3_backbone", "torchvision:inception_v3", IMAGENET_MEAN),
        ("build_resnet_backbone", "torchvision:resnet50", IMAGENET_MEAN),
        ("build_small_cnn_backbone", "small_cnn", IMAGENET_MEAN),
    ],
)
def test_networks_without_a_package_have_imagenets(engine, name, network, mean):
    cfg = config(engine, changes={"MODEL.BACKBONE.NAME": name})
    assert network_of(cfg) == network
    assert (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD) == (list(mean), list(IMAGENET_STD))


def test_timms_networks_have_timms(engine):
    timm = pytest.importorskip("timm")
    changes = {"MODEL.BACKBONE.NAME": "build_timm_backbone"}
    for model in ("tf_efficientnet_lite0", "resnet18", "resnet18.a1_in1k"):
        cfg = config(engine, changes={**changes, "WEND.TIMM.MODEL": model})
        theirs = timm.get_pretrained_cfg(model)
        assert cfg.MODEL.PIXEL_MEAN == pytest.approx([255 * x for x in theirs.mean], abs=1e-4)
        assert cfg.MODEL.PIXEL_STD == pytest.approx([255 * x for x in theirs.std], abs=1e-4)


@pytest.mark.parametrize(
    ("model", "half", "accepted"),
    [
        ("vit_small_patch14_dinov2", True, False),
        ("vit_small_patch14_dinov2", False, True),
        ("vit_base_patch16_224", False, True),  # MAE's and DINO's, the default's are half
        ("vit_base_patch16_224", True, True),
        ("vit_base_patch16_224.mae", True, False),
    ],
)
def test_pixels_that_no_weights_of_timms_network_expect_are_refused(engine, model, half, accepted):
    pytest.importorskip("timm")
    mean, std = ([127.5] * 3,) * 2 if half else (list(IMAGENET_MEAN), list(IMAGENET_STD))
    changes = {"MODEL.BACKBONE.NAME": "build_timm_backbone", "WEND.TIMM.MODEL": model}
    changes |= {"MODEL.PIXEL_MEAN": str(mean), "MODEL.PIXEL_STD": str(std)}
    assert config(engine, changes=changes).MODEL.PIXEL_MEAN == mean  # from random weights
    changes["MODEL.WEIGHTS"] = "weights.pth"
    if accepted:
        assert config(engine, changes=changes).MODEL.PIXEL_MEAN == mean
        return
    with pytest.raises(InputError, match=f"PIXEL_STD: .* contradict .* of timm's {model} "):
        config(engine, changes=changes)


@pytest.mark.detectron2
def test_channels_are_in_the_order_of_the_input_and_pyramids_have_their_networks():
    changes = {"INPUT.FORMAT": "BGR", "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone"}
    cfg = config("detectron2", changes=changes)
    assert cfg.MODEL.PIXEL_MEAN == list(IMAGENET_MEAN[::-1])
    assert network_of(cfg) == "torchvision:resnet50"
    cfg.MODEL.BACKBONE.NAME = "build_retinanet_resnet_fpn_backbone"
    assert network_of(cfg) == "torchvision:resnet50"
    cfg.MODEL.BACKBONE.NAME = "build_vgg16_fpn_p6p7_backbone"
    assert network_of(cfg) == "torchvision:vgg16"


@pytest.mark.detectron2
def test_a_script_that_merges_a_file_itself_has_them_too():
    from detectron2.config import get_cfg

    from wend.config import add_wend_config
    from wend.d2 import Trainer

    cfg = get_cfg()
    add_wend_config(cfg)
    cfg.merge_from_file(str(CONFIGS / "demo.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    model = Trainer.build_model(cfg)
    assert model.pixel_mean.flatten().tolist() == pytest.approx(IMAGENET_MEAN)
    assert cfg.MODEL.PIXEL_MEAN == []
