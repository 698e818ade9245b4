"""Networks of timm as bodies, against timm's own feature maps."""

import sys

import pytest
import torch
from networks import make, make_meta

from wend.errors import InputError

timm = pytest.importorskip("timm", reason="timm is not installed (extra 'classifier')")


@pytest.mark.parametrize(
    ("model", "expected"),
    [  # name: (channels, index among timm's maps)
        ("test_resnet", {"res2": (32, 1), "res3": (48, 2), "res4": (192, 3), "res5": (96, 4)}),
        ("test_convnext", {"res2": (24, 0), "res3": (32, 1), "res4": (48, 2), "res5": (64, 3)}),
    ],
)
def test_maps_are_timms_last_of_each_stride(model, expected):
    body = make("timm", WEND__TIMM__MODEL=model).eval()
    assert body.channels == {name: channels for name, (channels, _) in expected.items()}
    torch.manual_seed(0)
    theirs = timm.create_model(model, features_only=True).eval()
    theirs.load_state_dict(body.net.state_dict())
    images = torch.randn(2, 3, *timm.create_model(model).pretrained_cfg["input_size"][1:])
    with torch.no_grad():
        maps, wanted = body(images), theirs(images)
    assert list(maps) == list(body.strides) == list(expected)
    for name, (channels, index) in expected.items():
        assert maps[name].shape == (
            2,
            channels,
            *(s // body.strides[name] for s in images.shape[2:]),
        )
        assert torch.equal(maps[name], wanted[index])


def test_maps_with_channels_last_become_maps_with_channels_first():
    body = make("timm", WEND__TIMM__MODEL="test_mambaout").eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        ours, theirs = body(images)["res3"], body.net(images)[1]
    assert theirs.shape == (1, 8, 8, 32)
    assert ours.shape == (1, 32, 8, 8)
    assert torch.equal(ours[0, :, 2, 5], theirs[0, 2, 5])


@pytest.mark.parametrize(("name", "near"), [("resnett18", "resnet18"), ("", "such as resnet18")])
def test_unknown_name_is_an_error_with_the_nearest(name, near):
    with pytest.raises(InputError) as error:
        make_meta("timm", WEND__TIMM__MODEL=name)
    said = str(error.value)
    assert said.startswith("config entry WEND.TIMM.MODEL: expected a model of timm, ")
    assert near in said
    assert said.endswith(f"got {name!r}")


def test_network_without_feature_maps_is_an_error(monkeypatch):
    create = timm.create_model

    def refuse(name, features_only=False, **others):
        if features_only:
            raise RuntimeError("features_only not implemented")
        return create(name, **others)

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(InputError, match=r"TIMM\.MODEL: resnet18 has no feature maps \(features_o"):
        make_meta("timm", WEND__TIMM__MODEL="resnet18")


def test_a_network_of_another_image_size_is_an_error_that_says_which():
    with pytest.raises(InputError) as error:
        make_meta("timm", WEND__TIMM__MODEL="test_vit_relpos")
    said = str(error.value)
    assert "test_vit_relpos does not take images of 224x224 pixels (Input height (224)" in said
    assert "set WEND.CROP 160" in said
    entries = {"WEND__TIMM__MODEL": "test_vit_relpos", "WEND__CROP": 160, "WEND__RESIZE": 160}
    assert make_meta("timm", **entries).strides == {"res4": 16}
    with pytest.raises(InputError, match="of 176x176 pixels"):  # it is tested on the whole
        make_meta("timm", **entries | {"WEND__RESIZE": 176, "WEND__VIEW": "squash"})


def test_a_network_that_does_not_pad_is_warned_of(caplog):
    make_meta("timm", WEND__TIMM__MODEL="legacy_xception")
    assert "legacy_xception do not have a cell for each stride of 224 pixels (res2: 55, not" in (
        caplog.text
    )
    caplog.clear()
    make_meta("timm", WEND__TIMM__MODEL="test_resnet")
    assert not caplog.text


def test_network_with_other_strides_is_an_error(monkeypatch):
    monkeypatch.setattr("wend.modeling.backbones.timm_body.STRIDES", {"res9": 512})
    with pytest.raises(InputError, match=r"stride 4, 8, 16 or 32; resnet18 has strides \[2, 4"):
        make_meta("timm", WEND__TIMM__MODEL="resnet18")


def test_without_timm_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(
        InputError, match=r"build_timm_backbone needs timm, .* pip install 'wend-wsol\["
    ):
        make_meta("timm", WEND__TIMM__MODEL="resnet18")
