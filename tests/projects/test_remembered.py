"""projects/reproduce/remembered.py: the maps are the network's, and are computed once."""

import importlib.util
import sqlite3

import pytest
import torch
from engine_runs import REPOSITORY

from wend.errors import InputError
from wend.modeling.backbones.build import build_body
from wend.tv.config import get_cfg

pytest.importorskip("timm")
FILE = REPOSITORY / "projects" / "reproduce" / "remembered.py"


@pytest.fixture
def config(own_registries, tmp_path):
    from wend.pretrained import WEIGHT_PACKAGES

    with WEIGHT_PACKAGES.temporary():
        spec = importlib.util.spec_from_file_location("remembered", FILE)
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
        cfg = get_cfg()
        cfg.MODEL.BACKBONE.NAME = "build_remembered_timm_backbone"
        cfg.MODEL.BACKBONE.FREEZE_AT = 4
        cfg.MODEL.RESNETS.NORM = "FrozenBN"
        cfg.WEND.TIMM.MODEL = "tf_efficientnet_lite0"
        cfg.WEND.DATA.CACHE = str(tmp_path)
        yield cfg


def stored(tmp_path):
    (file,) = (tmp_path / "remembered").glob("*.db")
    with sqlite3.connect(file) as connection:
        return connection.execute("SELECT COUNT(*) FROM maps").fetchone()[0]


@pytest.mark.parametrize(
    ("freeze_at", "names"), [(3, ["res3", "res4", "res5"]), (4, ["res4", "res5"]), (5, ["res5"])]
)
def test_maps_are_the_networks_and_are_computed_once(config, tmp_path, freeze_at, names):
    config.MODEL.BACKBONE.FREEZE_AT = freeze_at
    torch.manual_seed(0)
    body = build_body("remembered_timm", config)
    own = build_body("timm", config)
    own.load_state_dict(body.state_dict())
    images = torch.rand(3, 3, 64, 96)
    for batch, known in ((images, 3), (images[[2, 0, 2]], 3), (torch.rand(1, 3, 64, 96), 4)):
        maps = body(batch)
        assert list(maps) == names
        expected = own(batch)
        for name in names:
            torch.testing.assert_close(maps[name], expected[name], rtol=1e-4, atol=1e-5)
        assert stored(tmp_path) == known
    assert body.channels == {name: own.channels[name] for name in names}


def test_without_a_cache_the_maps_are_the_same_and_nothing_is_kept(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = torch.rand(2, 3, 64, 64)
    remembering = build_body("remembered_timm", config)
    expected = remembering(images)
    config.WEND.DATA.CACHE = ""
    body = build_body("remembered_timm", config)
    body.load_state_dict(remembering.state_dict())
    maps = body(images)
    for name, value in expected.items():
        torch.testing.assert_close(maps[name], value)
    assert stored(tmp_path) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["remembered"]


def test_only_what_is_not_frozen_has_a_gradient(config):
    body = build_body("remembered_timm", config)
    body(torch.rand(1, 3, 64, 64))["res5"].sum().backward()
    trained = {name for name, value in body.named_parameters() if value.grad is not None}
    assert trained == {name for name, value in body.named_parameters() if value.requires_grad}
    assert {name.split(".")[2] for name in trained} == {"5", "6"}  # of blocks 0 to 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["MODEL.BACKBONE.FREEZE_AT", 2], "expected MODEL.BACKBONE.FREEZE_AT 3 to 5"),
        (["MODEL.RESNETS.NORM", "BN"], "MODEL.RESNETS.NORM FrozenBN, got 4 and 'BN'"),
        (["WEND.TIMM.MODEL", "resnet18"], "expected an EfficientNet"),
    ],
)
def test_what_cannot_be_remembered_is_refused(config, changes, message):
    config.merge_from_list(changes)
    with pytest.raises(InputError, match=message):
        build_body("remembered_timm", config)
