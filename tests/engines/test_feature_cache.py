"""WEND.DATA.FEATURE_CACHE: a frozen backbone's maps are computed once, and are the network's."""

import copy

import pytest
import torch
from engine_runs import build, config, losses, random_crops, run

from wend.errors import InputError
from wend.loading.crop import CropMapper
from wend.modeling.feature_cache import MapStore, remember_frozen, views_seen_once

FROZEN = {"MODEL.BACKBONE.FREEZE_AT": "5"}
VIEWS = {**FROZEN, "WEND.DATA.VIEWS": "3"}
PYRAMID = {
    "MODEL.BACKBONE.NAME": "build_small_cnn_fpn_backbone",
    "MODEL.FPN.IN_FEATURES": "('stage2', 'stage3')",
    "MODEL.FPN.OUT_CHANNELS": "32",
    "WEND.FCOS.IN_FEATURES": "('p2', 'p3')",
}


def body_of(model):
    backbone = model.backbone
    return getattr(backbone, "bottom_up", backbone).body


@pytest.fixture
def remembering(engine, tmp_path):
    """A detector, its body and how often the network was asked, in images each time."""
    changes = {**FROZEN, "WEND.DATA.FEATURE_CACHE": str(tmp_path / "maps")}
    cfg = config(engine, "fcos", changes)
    model = build(engine, cfg)
    body, asked = body_of(model), []
    compute = body.forward

    def counted(images):
        asked.append(len(images))
        return compute(images)

    body.forward = counted
    remember_frozen(model, cfg)
    return model, body, asked


def test_maps_are_the_networks_in_float16_and_computed_once(remembering, tmp_path):
    _, body, asked = remembering
    images = torch.randn(3, 3, 56, 56)
    plain = copy.deepcopy(body)
    del plain.forward
    with torch.no_grad():
        expected = plain.eval()(images)
    body.train()
    first = dict(body(images))
    assert asked == [3]
    again = dict(body(images[[2, 0, 2]]))
    assert asked == [3]
    assert first.keys() == again.keys() == expected.keys()
    for name, value in first.items():
        assert torch.equal(value, expected[name].half().float())
        assert torch.equal(again[name], value[[2, 0, 2]])
        assert not value.requires_grad
    new = torch.cat([images[:1], torch.randn(1, 3, 56, 56)])
    body(new)["stage3"]
    assert asked == [3, 1]
    body(torch.randn(1, 3, 64, 48))["stage3"]  # of another size
    assert asked == [3, 1, 1]
    assert body.training


def test_only_maps_that_are_read_are_kept(remembering, tmp_path):
    model, _, _ = remembering
    sum(losses_of(model).values()).backward()
    names = {path.name for path in (tmp_path / "maps").glob("*/*.f16")}
    assert names == {"stage3-56x56.f16"}


def losses_of(model):
    engine = "detectron2" if type(model).__module__.startswith("wend.d2") else "torchvision"
    return losses(engine, model, random_crops(2, (1, 2)))


def test_other_weights_are_another_folder(remembering, tmp_path):
    _, body, asked = remembering
    images = torch.randn(2, 3, 56, 56)
    before = body(images)["stage3"]
    state = {name: value.clone() for name, value in body.state_dict().items()}
    name = next(name for name, value in state.items() if value.ndim == 4)
    body.load_state_dict({**state, name: 2 * state[name]})
    assert not torch.equal(body(images)["stage3"], before)
    assert asked == [2, 2]
    body.load_state_dict(state)
    assert torch.equal(body(images)["stage3"], before)
    assert asked == [2, 2]
    assert len([*(tmp_path / "maps").iterdir()]) == 2
    other = copy.deepcopy(body)
    assert torch.equal(other(images)["stage3"], before)


def test_a_damaged_row_and_a_damaged_index_are_refused(remembering, tmp_path):
    _, body, _ = remembering
    images = torch.randn(2, 3, 56, 56)
    body(images)["stage3"]
    (rows,) = (tmp_path / "maps").glob("*/*.f16")
    data = bytearray(rows.read_bytes())
    data[-3] ^= 1
    rows.write_bytes(data)
    with pytest.raises(InputError, match=r"stage3-56x56\.f16: row 1 is damaged; remove it and"):
        body(images)["stage3"]
    rows.with_suffix(".db").write_bytes(b"no index" * 1000)
    with pytest.raises(InputError, match=r"stage3-56x56\.db: is no index of maps"):
        copy.deepcopy(body)(images)["stage3"]


def test_numbers_beyond_float16_are_refused(remembering):
    _, body, _ = remembering
    with pytest.raises(InputError, match=r"FEATURE_CACHE: the map stage3 of .* float16"):
        body(1e12 * torch.ones(1, 3, 56, 56))["stage3"]


def test_views_that_are_seen_once_are_not_kept(remembering, tmp_path):
    _, body, asked = remembering
    images = torch.randn(2, 3, 56, 56)
    with views_seen_once():
        once = body(images)["stage3"]
    assert not [*tmp_path.glob("maps/*/*.f16")]
    torch.testing.assert_close(body(images)["stage3"], once, rtol=1e-3, atol=1e-3)
    assert asked == [2, 2]


def _trained(engine, folder, changes):
    assert run(engine, folder, changes=changes) == 0
    return torch.load(folder / "model_final.pth", weights_only=True)["model"]


@pytest.mark.parametrize(
    "maps",
    [pytest.param({}, id="one map", marks=pytest.mark.slow), pytest.param(PYRAMID, id="pyramid")],
)
def test_a_training_with_it_is_one_without_it(engine, maps, tmp_path):
    """Filled and read, to the last bit the same; without it, up to the rounding of its maps."""
    changes = {**VIEWS, **maps, "WEND.DATA.FEATURE_CACHE": str(tmp_path / "maps")}
    filled = _trained(engine, tmp_path / "filled", changes)
    files = {path: path.read_bytes() for path in (tmp_path / "maps").glob("*/*.f16")}
    assert files
    read = _trained(engine, tmp_path / "read", changes)
    assert {path: path.read_bytes() for path in (tmp_path / "maps").glob("*/*.f16")} == files
    without = _trained(engine, tmp_path / "without", {**VIEWS, **maps})
    others = _trained(engine, tmp_path / "others", {**FROZEN, **maps})
    rounded = changed = 0.0
    for name, value in filled.items():
        assert torch.equal(value, read[name]), name
        rounded = max(rounded, (value.float() - without[name].float()).abs().max().item())
        changed = max(changed, (value.float() - others[name].float()).abs().max().item())
    assert rounded < 1e-4
    assert changed > 20 * rounded


def test_maps_of_weights_before_the_loaded_ones_are_not_kept(engine, tmp_path):
    """WEND.ACCUMULATE 0 tries a step before the weights are loaded; closer looks are others."""
    changes = {**FROZEN, "WEND.EPOCHS": "1"}
    assert run(engine, tmp_path / "first", changes=changes) == 0
    changes = {
        **{**FROZEN, "WEND.DATA.VIEWS": "1", "WEND.EPOCHS": "1"},
        **{"WEND.ACCUMULATE": "0", "WEND.EMA.DECAY": "0.9"},
        **{
            "WEND.REFINE": "average",
            "WEND.TEACHER.START": "0.0",
            "WEND.TEACHER.CLOSER_LOOK": "1.5",
        },
        "WEND.CLOSER_LOOK": "1.5",
        "MODEL.WEIGHTS": str(tmp_path / "first" / "model_final.pth"),
        "WEND.DATA.FEATURE_CACHE": str(tmp_path / "maps"),
    }
    assert run(engine, tmp_path / "second", changes=changes) == 0
    (folder,) = (tmp_path / "maps").iterdir()
    assert {path.name for path in folder.glob("*.f16")} == {"stage3-56x56.f16"}
    assert len(MapStore(folder / "stage3-56x56")) == 24 + 12  # images of training and test


def test_a_frozen_backbone_without_weights_is_warned_of_once(engine, tmp_path, capsys):
    """Resumed, it has those of its checkpoint."""
    warning = "FREEZE_AT 5 freezes random weights, as MODEL.WEIGHTS is empty"
    for flags, count in (((), 1), (("--resume",), 0)):
        changes = {**FROZEN, "WEND.EPOCHS": "1"}
        assert run(engine, tmp_path / "run", *flags, changes=changes) == 0
        assert capsys.readouterr().out.count(warning) == count


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"WEND.DATA.VIEWS": "2"}, "MODEL.BACKBONE.FREEZE_AT: expected 5, the whole backbone"),
        (FROZEN, "WEND.DATA.VIEWS: expected 1 or more where WEND.DATA.FEATURE_CACHE is set"),
    ],
)
def test_what_cannot_be_kept_is_refused(engine, changes, message, tmp_path, capsys):
    changes = {"MODEL.BACKBONE.FREEZE_AT": "0", **changes}
    changes["WEND.DATA.FEATURE_CACHE"] = str(tmp_path / "maps")
    assert run(engine, tmp_path / "out", changes=changes) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# ---- fixed views ----


def _frames(views, file_name="a/b.jpg", flip="horizontal", count=200):
    mapper = CropMapper(64, 56, train=True, views=views, flip=flip)
    torch.manual_seed(0)
    frames = [mapper.draw_frame(100, 80, file_name) for _ in range(count)]
    return {(frame.offset_x, frame.offset_y, frame.flip) for frame in frames}


def test_views_are_few_and_always_the_same():
    assert _frames(1) == {(-4, -4, False)}
    four = _frames(4)
    assert len(four) == 4
    assert (-4, -4, False) in four
    assert _frames(4, "elsewhere/b.jpg") == four
    assert _frames(4, "a/c.jpg") != four
    assert _frames(2) < _frames(4)
    assert len(_frames(0)) > 50
    assert not any(flip for *_, flip in _frames(16, flip="none"))
    assert any(flip for *_, flip in _frames(16))
