"""Vision transformers as bodies, and the pyramid of their one map."""

import pytest
import torch
from networks import make, make_meta

from wend.errors import InputError
from wend.modeling.backbones.simple_pyramid import SimplePyramid
from wend.modeling.weight_names import match_names
from wend.pretrained.transformer_names import transformer_as_timm
from wend.tv.backbones import build_backbone
from wend.weight_files import read_weights

timm = pytest.importorskip("timm", reason="timm is not installed (extra 'classifier')")


def body_of(model, stride=0):
    return make("timm", WEND__TIMM__MODEL=model, WEND__TIMM__STRIDE=stride).eval()


@torch.no_grad()
def test_the_map_is_the_last_tokens_of_the_patches_behind_the_norm():
    body = body_of("test_vit")
    network = body.net.model
    images = torch.randn(2, 3, 160, 160)
    tokens = network.forward_features(images)[:, network.num_prefix_tokens :]
    (name,) = body.channels
    assert (name, body.strides[name], body.channels[name]) == ("res4", 16, 64)
    torch.testing.assert_close(body(images)[name].flatten(2).transpose(1, 2), tokens)


@pytest.mark.parametrize(
    ("model", "stride", "name", "cells"),
    [
        ("vit_small_patch14_dinov2", 0, "res4", 14),
        ("vit_small_patch14_reg4_dinov2", 8, "res3", 28),
        ("vit_small_patch16_dinov3", 0, "res4", 14),
        ("vit_small_patch16_224", 32, "res5", 7),
        ("vit_small_patch8_224", 0, "res3", 28),
        ("vit_base_mci_224", 0, "res4", 14),
        ("vitamin_small_224", 8, "res3", 28),
        ("vit_small_r26_s32_224", 0, "res5", 7),
    ],
)
def test_cells_lie_a_stride_apart_whatever_the_patch(model, stride, name, cells):
    body = make_meta("timm", WEND__TIMM__MODEL=model, WEND__TIMM__STRIDE=stride)
    maps = body(torch.empty(1, 3, 224, 224, device="meta"))
    (channels,) = body.channels.values()
    assert {key: tuple(value.shape) for key, value in maps.items()} == {
        name: (1, channels, cells, cells)
    }


def test_a_side_that_is_no_multiple_is_padded_behind():
    body = body_of("test_vit")
    images = torch.randn(1, 3, 150, 170)
    padded = torch.zeros(1, 3, 160, 176)
    padded[:, :, :150, :170] = images
    with torch.no_grad():
        assert torch.equal(body(images)["res4"], body(padded)["res4"])
    assert body(images)["res4"].shape[2:] == (10, 11)


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_a_cell_looks_at_the_pixels_around_its_middle(stride):
    """Without attention and positions a token depends on its own patch alone."""
    body = body_of("test_vit", stride)
    network = body.net.model
    network.pos_embed.data.zero_()
    for block in network.blocks:
        block.attn.proj.weight.data.zero_()
    images = torch.randn(1, 3, 160, 160, requires_grad=True)
    (feature,) = body(images).values()
    feature[0, :, 3, 2].square().sum().backward()
    weight = images.grad.abs().sum((0, 1))
    rows, columns = torch.arange(160.0) + 0.5, torch.arange(160.0) + 0.5
    y = float((weight.sum(1) * rows).sum() / weight.sum())
    x = float((weight.sum(0) * columns).sum() / weight.sum())
    assert y == pytest.approx(stride * 3.5, abs=0.1 * stride)
    assert x == pytest.approx(stride * 2.5, abs=0.1 * stride)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"WEND__TIMM__MODEL": "resnet18", "WEND__TIMM__STRIDE": 16}, "no vision transformer"),
        ({"WEND__TIMM__MODEL": "test_vit", "WEND__TIMM__STRIDE": 12}, "STRIDE: expected one of 4"),
    ],
    ids=["of a convolutional network", "of no map"],
)
def test_a_stride_that_means_nothing_is_refused(entries, message):
    with pytest.raises(InputError, match=message):
        make_meta("timm", **entries)


@pytest.mark.parametrize("stride", [4, 8, 16, 32])
def test_the_pyramid_has_all_strides_of_any_map(stride):
    pyramid = SimplePyramid(64, stride, 32)
    levels = pyramid(torch.randn(2, 64, 128 // stride, 128 // stride))
    assert pyramid.strides == {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64}
    for name, level in levels.items():
        side = 128 // pyramid.strides[name]
        assert level.shape == (2, 32, side, side)
    sum(level.square().sum() for level in levels.values()).backward()
    assert all(parameter.grad is not None for parameter in pyramid.parameters())


@pytest.mark.parametrize(
    ("asked", "computed"), [(("p3", "p4", "p3"), [1, 2]), (("p6", "p5"), [3])], ids=str
)
def test_levels_are_computed_once_and_when_they_are_asked_for(asked, computed):
    pyramid = SimplePyramid(64, 16, 32)
    ran = []
    for index, level in enumerate(pyramid.levels):
        level.register_forward_hook(lambda *_, index=index: ran.append(index))
    levels = pyramid(torch.randn(1, 64, 8, 8))
    assert ran == []
    maps = [levels[name] for name in asked]
    assert ran == computed
    assert maps[0] is levels[asked[0]]
    assert list(levels) == ["p2", "p3", "p4", "p5", "p6"]
    with pytest.raises(KeyError):
        levels["p7"]


def test_the_pyramid_is_that_of_detectron2():
    """Its levels, one by one, with the same weights."""
    vit = pytest.importorskip("detectron2.modeling.backbone.vit", reason="no Detectron2")
    from detectron2.modeling import Backbone

    class OneMap(Backbone):
        def __init__(self):
            super().__init__()
            self._out_features = ["res4"]
            self._out_feature_channels, self._out_feature_strides = {"res4": 64}, {"res4": 16}

        def forward(self, x):
            return {"res4": x}

    theirs = vit.SimpleFeaturePyramid(OneMap(), "res4", 32, (4.0, 2.0, 1.0, 0.5))
    ours = SimplePyramid(64, 16, 32)
    pairs = zip(ours.levels, theirs.stages, strict=True)
    for level, stage in pairs:
        for own, value in zip(
            level.state_dict().values(), stage.state_dict().values(), strict=True
        ):
            assert own.shape == value.shape
            own.copy_(value)
    feature = torch.randn(1, 64, 8, 8)
    with torch.no_grad():
        for own, other in zip(ours(feature).values(), theirs(feature).values(), strict=False):
            torch.testing.assert_close(own, other)


def test_a_frozen_transformer_leaves_the_pyramid_to_train():
    cfg = make_config("build_timm_simple_fpn_backbone", "test_vit")
    cfg.MODEL.BACKBONE.FREEZE_AT = 5
    backbone = build_backbone(cfg)
    trained = {name.split(".")[0] for name, p in backbone.named_parameters() if p.requires_grad}
    assert trained == {"simple_fpn"}
    assert not any(p.requires_grad for p in backbone.bottom_up.parameters())


def make_config(name, model):
    from networks import body_config

    cfg = body_config(WEND__TIMM__MODEL=model)
    cfg.MODEL.BACKBONE.NAME = name
    cfg.MODEL.FPN.OUT_CHANNELS = 32
    return cfg


def test_a_simple_pyramid_of_several_maps_is_refused():
    with pytest.raises(InputError, match="end its name with _fpn_backbone"):
        build_backbone(make_config("build_timm_simple_fpn_backbone", "test_resnet"))


# ---- files of others ----


def loaded(body, weights):
    """Names of the body's weights that a file of others fills."""
    wanted = {f"backbone.body.{name}" for name in body.state_dict()}
    return match_names(body.converted(weights), wanted), wanted


def shuffled(state):
    generator = torch.Generator().manual_seed(3)
    return {name: torch.rand(value.shape, generator=generator) for name, value in state.items()}


def as_dino(state):
    return state


def as_mae(state):
    decoder = {"decoder_embed.weight": torch.zeros(2, 2), "decoder_pos_embed": torch.zeros(1, 2, 2)}
    return {**state, "mask_token": torch.zeros(1, 1, 64), **decoder}


@pytest.mark.parametrize("publish", [as_dino, as_mae])
def test_weights_of_dino_and_mae_are_all_taken(publish):
    body = body_of("test_vit")
    own = shuffled(body.net.model.state_dict())
    weights, wanted = loaded(body, publish(dict(own)))
    assert wanted <= weights.keys()
    for name, value in own.items():
        assert torch.equal(weights[f"backbone.body.net.model.{name}"], value)


def test_dinov2s_registers_and_positions_become_timms():
    """facebookresearch/dinov2: register_tokens, and a position of the class token."""
    body = make("timm", WEND__TIMM__MODEL="vit_small_patch14_reg4_dinov2")
    own = shuffled(body.net.model.state_dict())
    published = {name: value for name, value in own.items() if name != "reg_token"}
    published["register_tokens"] = own["reg_token"]
    published["mask_token"] = torch.zeros(1, 384)
    position = torch.rand(1, 1, 384)
    published["pos_embed"] = torch.cat([position, own["pos_embed"]], 1)
    published["cls_token"] = own["cls_token"] - position
    weights, wanted = loaded(body, published)
    assert wanted <= weights.keys()
    for name, value in own.items():
        torch.testing.assert_close(weights[f"backbone.body.net.model.{name}"], value)


def test_weights_without_registers_are_not_those_of_a_network_with_them():
    network = make_meta("timm", WEND__TIMM__MODEL="vit_small_patch14_reg4_dinov2").net.model
    published = {"pos_embed": torch.zeros(1, 1 + 37 * 37, 384), "cls_token": torch.zeros(1, 1, 384)}
    published["patch_embed.proj.weight"] = torch.zeros(384, 3, 14, 14)
    with pytest.raises(InputError, match=r"cannot convert them .* without registers, or with them"):
        transformer_as_timm(published, network)


def test_dinov3s_names_become_timms():
    """facebookresearch/dinov3: storage_tokens, ls1.gamma, and what timm computes itself."""
    body = make("timm", WEND__TIMM__MODEL="vit_small_patch16_dinov3")
    own = shuffled(body.net.model.state_dict())
    published = {}
    for name, value in own.items():
        name = name.replace("reg_token", "storage_tokens")
        published[name.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma")] = value
    published["mask_token"] = torch.zeros(1, 384)
    published["rope_embed.periods"] = torch.zeros(16)
    weights, wanted = loaded(body, published)
    assert wanted <= weights.keys()
    for name, value in own.items():
        assert torch.equal(weights[f"backbone.body.net.model.{name}"], value)


def as_dinov2_trains(state):
    """dinov2/train: the teacher's backbone in chunks of blocks, and its head."""
    chunked = {name.replace("blocks.", "blocks.0.", 1): value for name, value in state.items()}
    teacher = {f"backbone.{name}": value for name, value in chunked.items()}
    return {"teacher": {**teacher, "dino_head.mlp.0.weight": torch.zeros(2, 2)}}


def as_ibot_saves(state):
    """bytedance/ibot: student and teacher, in DataParallel."""
    teacher = {f"module.backbone.{name}": value for name, value in state.items()}
    student = {name: torch.zeros_like(value) for name, value in teacher.items()}
    return {"student": student, "teacher": teacher}


@pytest.mark.parametrize("publish", [as_dinov2_trains, as_ibot_saves])
def test_the_teachers_backbone_is_taken(publish, tmp_path):
    body = body_of("test_vit")
    own = shuffled(body.net.model.state_dict())
    torch.save(publish(dict(own)), tmp_path / "teacher_checkpoint.pth")
    weights, wanted = loaded(body, read_weights(tmp_path / "teacher_checkpoint.pth"))
    assert wanted <= weights.keys()
    for name, value in own.items():
        assert torch.equal(weights[f"backbone.body.net.model.{name}"], value)


def test_the_teachers_backbone_of_one_file_is_taken():
    body = body_of("test_vit")
    own = shuffled(body.net.model.state_dict())
    both = {
        f"{who}.backbone.{name}": factor * value
        for who, factor in (("student", 2), ("teacher", 1))
        for name, value in own.items()
    }
    weights, wanted = loaded(body, both)
    assert wanted <= weights.keys()
    assert torch.equal(weights["backbone.body.net.model.norm.weight"], own["norm.weight"])


def test_biases_that_the_network_leaves_out_are_no_loss_but_an_error():
    body = make("timm", WEND__TIMM__MODEL="vit_small_patch16_dinov3")
    published = shuffled(body.net.model.state_dict())
    published["storage_tokens"] = published.pop("reg_token")
    for i in range(12):
        published[f"blocks.{i}.attn.qkv.bias"] = torch.zeros(3 * 384)
    weights, wanted = loaded(body, dict(published))
    assert wanted <= weights.keys()
    published["blocks.3.attn.qkv.bias"][5] = 1
    with pytest.raises(InputError, match=r"\(blocks\.3\.attn\.qkv\.bias\), which .* _qkvb"):
        loaded(body, published)


SIZES = {"hidden_size": 48, "num_attention_heads": 3, "num_hidden_layers": 2, "image_size": 64}
TRANSFORMERS = {  # a model of Hugging Face's: its config, timm's network of that kind
    "ViT": ({"patch_size": 16, "intermediate_size": 192}, "vit_small_patch16_224"),
    "Dinov2": ({"patch_size": 16}, "vit_small_patch14_dinov2"),
    "Dinov2WithRegisters": ({"patch_size": 16}, "vit_small_patch14_reg4_dinov2"),
    "DINOv3ViT": (
        {"patch_size": 16, "intermediate_size": 192, "num_register_tokens": 4},
        "vit_small_patch16_dinov3_qkvb",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_files_of_hugging_faces_transformers_have_its_features(kind):
    transformers = pytest.importorskip("transformers")
    more, name = TRANSFORMERS[kind]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**SIZES, **more)
    theirs = getattr(transformers, f"{kind}Model")(config).eval()
    for parameter in theirs.parameters():
        parameter.data.normal_(std=0.2)
    own = {"embed_dim": 48, "num_heads": 3, "depth": 2, "patch_size": 16, "img_size": 64}
    network = timm.create_model(name, num_classes=0, **own).eval()
    published = {f"backbone.{n}": value for n, value in theirs.state_dict().items()}
    weights = transformer_as_timm(published, network)
    missing, _ = network.load_state_dict(weights, strict=False)
    assert not [name for name in missing if "rope" not in name]
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = theirs(images).last_hidden_state
        torch.testing.assert_close(network.forward_features(images), expected, rtol=1e-3, atol=1e-3)


def test_positions_of_another_input_size_are_resampled():
    body = body_of("test_vit")  # 10 x 10 patches
    own = shuffled(body.net.model.state_dict())
    prefix = body.net.model.num_prefix_tokens
    other = dict(own) | {"pos_embed": torch.ones(1, prefix + 49, 64)}
    weights, _ = loaded(body, other)
    position = weights["backbone.body.net.model.pos_embed"]
    assert position.shape == own["pos_embed"].shape
    torch.testing.assert_close(position[:, prefix:], torch.ones_like(position[:, prefix:]))
