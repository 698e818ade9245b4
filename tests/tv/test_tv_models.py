import pytest
from engine_runs import build, losses, random_crops, tv_config, without_memory

from wend.errors import InputError
from wend.tv.models import build_model

UNSUPPORTED = {
    "MODEL.BACKBONE.NAME": ("fcos", "build_vitdet_backbone"),
    "MODEL.META_ARCHITECTURE": ("fcos", "GeneralizedRCNN"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_part_that_torchvision_lacks_is_an_error_that_names_detectron2(name):
    detector, value = UNSUPPORTED[name]
    with pytest.raises(InputError) as error:
        build_model(tv_config(detector, {name: value}))
    said = str(error.value)
    assert said.startswith(f"config entry {name}: ")
    assert repr(value) in said
    assert said.endswith("; others need --engine detectron2")


def test_unknown_feature_map_is_an_error_that_lists_the_known():
    with pytest.raises(InputError) as error:
        build_model(tv_config("fcos", {"WEND.FCOS.IN_FEATURES": "('res5',)"}))
    assert "WEND.FCOS.IN_FEATURES: expected some of the feature maps of" in str(error.value)
    assert "stage1, stage2, stage3; got ('res5',)" in str(error.value)


def test_rpn_and_roi_heads_share_their_feature_maps():
    with pytest.raises(InputError, match=r"ROI_HEADS\.IN_FEATURES: the torchvision engine needs"):
        build_model(tv_config("rcnn", {"MODEL.RPN.IN_FEATURES": "('stage2',)"}))


@pytest.mark.parametrize("depth", ["51", "0"])
def test_unknown_depth_is_an_error(depth):
    changes = {"MODEL.BACKBONE.NAME": "build_resnet_backbone", "MODEL.RESNETS.DEPTH": depth}
    with pytest.raises(InputError, match=rf"^config entry MODEL\.RESNETS\.DEPTH: .*got {depth}$"):
        tv_config("fcos", changes)


def test_unknown_norm_is_an_error_that_names_detectron2():
    changes = {"MODEL.BACKBONE.NAME": "build_resnet_backbone", "MODEL.RESNETS.NORM": "SyncBN"}
    with pytest.raises(InputError, match=r"has BN, FrozenBN, got 'SyncBN'; .*--engine"):
        build_model(tv_config("fcos", changes))


WIDTHS = {"densenet161": 2208, "vgg16": 512, "googlenet": 1024, "inception_v3": 2048, "timm": 96}


@pytest.mark.parametrize("name", WIDTHS)
@pytest.mark.parametrize("detector", ["fcos", "rcnn"])
def test_detectors_take_the_backbones_under_detectron2s_names(detector, name):
    if name == "timm":
        pytest.importorskip("timm", reason="timm is not installed (extra 'classifier')")
    maps = ("WEND.FCOS.IN_FEATURES", "MODEL.RPN.IN_FEATURES", "MODEL.ROI_HEADS.IN_FEATURES")
    changes = dict.fromkeys(maps, "('res5',)")
    changes |= {"MODEL.BACKBONE.NAME": f"build_{name}_backbone", "WEND.TIMM.MODEL": "test_resnet"}
    with without_memory():
        model = build_model(tv_config(detector, {**changes, "MODEL.DEVICE": "meta"}))
    assert (model.backbone.out_channels, model.backbone.chosen_strides) == (WIDTHS[name], [32])
    if name == "timm":  # small enough to run
        model = build("torchvision", tv_config(detector, changes))
        total = sum(losses("torchvision", model, random_crops(3, (1, 2, 1))).values())
        total.backward()
        assert total.isfinite()
        assert next(model.backbone.parameters()).grad.abs().sum() > 0


def test_map_larger_than_the_crop_is_an_error():
    changes = {"MODEL.BACKBONE.NAME": "build_vgg16_backbone", "WEND.CROP": "16"}
    changes |= {"WEND.FCOS.IN_FEATURES": "('res5',)", "MODEL.DEVICE": "meta"}
    with pytest.raises(InputError, match=r"1x1 cells; of a crop of 16 .* res5 would be smaller"):
        build_model(tv_config("fcos", changes))
