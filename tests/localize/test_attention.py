"""Keys and attention of a transformer's last block, beside softmax(q k) written out by hand."""

import pytest
import torch

from wend.errors import InputError
from wend.localize.attention import LAYERS, LastAttention

timm = pytest.importorskip("timm")
TINY = {"depth": 2, "embed_dim": 24, "num_heads": 3, "num_classes": 0, "img_size": 32}


def network(name, **options):
    """A tiny one of timm's, with random weights that are not near 0."""
    torch.manual_seed(0)
    model = timm.create_model(name, **(TINY | options)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def by_hand(model, images, turn=lambda x: x):
    """The class token's attention (N, heads, T) in the last block, from its weights."""
    tokens, *rope = model._pos_embed(model.patch_embed(images)), None
    if isinstance(tokens, tuple):
        tokens, *rope = tokens
    arguments = {"rope": rope[0]} if rope[0] is not None else {}
    for block in model.blocks[:-1]:
        tokens = block(tokens, **arguments)
    last = model.blocks[-1]
    own = last.attn
    projected = torch.nn.functional.linear(last.norm1(tokens), own.qkv.weight, own.qkv.bias)
    queries, keys = (
        part.unflatten(-1, (3, 8)).transpose(1, 2) for part in projected.chunk(3, -1)[:2]
    )
    queries, keys = turn(own.q_norm(queries)), turn(own.k_norm(keys))
    return torch.softmax(queries[:, :, :1] @ keys.transpose(-1, -2) / 8**0.5, -1)[:, :, 0]


@torch.inference_mode()
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "unfused"])
@pytest.mark.parametrize(
    ("name", "options", "size"),
    [
        ("vit_tiny_patch16_224", {}, (32, 32)),
        ("vit_tiny_patch16_224", {"qk_norm": True}, (48, 80)),
        ("vit_small_patch14_reg4_dinov2", {"img_size": 28}, (28, 56)),
        ("deit_tiny_distilled_patch16_224", {}, (64, 48)),
    ],
    ids=["ViT", "norms of queries and keys", "DINOv2, registers", "DeiT, a second token"],
)
def test_attention_is_the_class_tokens_softmax(name, options, size, fused):
    model = network(name, dynamic_img_size=True, **options)
    for block in model.blocks:
        block.attn.fused_attn = fused
    images = torch.randn(2, 3, *size)
    grid = model.patch_embed.dynamic_feat_size(size)
    expected = by_hand(model, images)[..., model.num_prefix_tokens :].unflatten(-1, grid)
    maps = LastAttention(model, "attention", name)(images)
    torch.testing.assert_close(maps, expected)
    assert model.blocks[-1].attn.fused_attn is fused


@torch.inference_mode()
def test_attention_has_rotary_positions():
    model = network("vit_small_patch16_dinov3", dynamic_img_size=True)
    images = torch.randn(1, 3, 48, 32)
    sines, cosines = model.rope.get_embed((3, 2)).chunk(2, -1)
    half = model.blocks[-1].attn.rotate_half
    assert half  # DINOv3's pairs are of the first and the second half

    def turn(x):
        before, patches = x[:, :, :5], x[:, :, 5:]
        a, b = patches.chunk(2, -1)
        return torch.cat([before, patches * cosines + torch.cat([-b, a], -1) * sines], 2)

    expected = by_hand(model, images, turn)[..., 5:].unflatten(-1, (3, 2))
    torch.testing.assert_close(LastAttention(model, "attention", "x")(images), expected)
    without = by_hand(model, images)[..., 5:].unflatten(-1, (3, 2))
    assert not torch.allclose(without, expected, atol=1e-4)


@torch.inference_mode()
def test_keys_have_a_bias_that_stands_beside_the_projection():
    model = network("beit_base_patch16_224")
    images = torch.randn(2, 3, 32, 32)
    seen = []
    model.blocks[-1].norm1.register_forward_hook(lambda *given: seen.append(given[2]))
    values = LastAttention(model, "values", "x")(images)
    own = model.blocks[-1].attn
    expected = seen[0] @ own.qkv.weight[48:].T + own.v_bias
    torch.testing.assert_close(values.flatten(2).transpose(1, 2), expected[:, 1:])


@torch.inference_mode()
def test_projections_of_their_own_are_those_of_one():
    """EVA-02's base networks hold queries, keys and values apart, the small ones together."""
    one, three = (
        network("eva02_tiny_patch14_224", img_size=28, qkv_fused=fused) for fused in (True, False)
    )
    state = one.state_dict()
    for key in [key for key in state if key.endswith("attn.qkv.weight")]:
        parts = zip("qkv", state.pop(key).chunk(3), strict=True)
        state |= {key.replace("qkv", f"{letter}_proj"): part for letter, part in parts}
    renamed = {
        key.replace("q_bias", "q_proj.bias").replace("v_bias", "v_proj.bias"): value
        for key, value in state.items()
    }
    three.load_state_dict(renamed)
    images = torch.randn(1, 3, 28, 28)
    for layer in LAYERS:
        maps = [LastAttention(model, layer, "x")(images) for model in (one, three)]
        torch.testing.assert_close(*maps)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vit_base_patch16_siglip_224", TINY, "class token"),
        ("samvit_base_patch16", TINY, "attention between"),
        ("swin_tiny_patch4_window7_224", {"depths": (1,), "num_heads": (1,)}, "attention between"),
        ("resnet18", {}, "attention between"),
    ],
    ids=["SigLIP", "SAM", "Swin", "ResNet"],
)
def test_what_a_network_lacks_is_named(name, options, message):
    with pytest.raises(InputError, match=rf"--layer attention: {name} has no {message}"):
        LastAttention(timm.create_model(name, **options), "attention", name)
