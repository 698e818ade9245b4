"""Against Hugging Face transformers' Deformable DETR with the same weights, and by hand."""

import math

import pytest
import torch

from wend.errors import InputError
from wend.modeling.layers.deformable_transformer import (
    DeformableDETRHead,
    DeformableTransformer,
    sine_embedding,
)

WIDTH, LEVELS, QUERIES = 32, 4, 5
SMALL = {
    "queries": QUERIES,
    "heads": 4,
    "points": 2,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "feed_forward": 48,
}
IN_CHANNELS = (8, 12, 16)
RENAMED = {
    "model.query_position_embeddings.": "transformer.query_embed.",
    "model.input_proj.": "input_proj.",
    "model.encoder.layers.": "transformer.encoder.",
    "model.decoder.layers.": "transformer.decoder.",
    "model.": "transformer.",
    "class_embed.0.": "class_embed.",
    **{f"bbox_embed.0.layers.{i}.": f"bbox_embed.{2 * i}." for i in range(3)},
}
RENAMED_IN_LAYER = {
    "self_attn_layer_norm": "norm1",
    "encoder_attn_layer_norm": "norm2",
    "encoder_attn": "cross_attn",
    "fc1": "feed_forward.0",
    "fc2": "feed_forward.3",
}


def _peer():
    """transformers' detector on a tiny ResNet, with every parameter moved off its start."""
    pytest.importorskip("transformers", reason="transformers is not installed")
    from transformers import DeformableDetrConfig, DeformableDetrForObjectDetection, ResNetConfig

    backbone = ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, *IN_CHANNELS],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = DeformableDetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=backbone,
        d_model=WIDTH,
        num_queries=QUERIES,
        num_feature_levels=LEVELS,
        num_labels=1,
        encoder_layers=2,
        decoder_layers=3,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_n_points=2,
        decoder_n_points=2,
        auxiliary_loss=True,
        disable_custom_kernels=True,
    )
    torch.manual_seed(0)
    model = DeformableDetrForObjectDetection(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def _translated(theirs):
    """Their state dict (or gradients by name) with our names."""
    ours, attention = {}, {}
    for name, value in theirs.items():
        old = next((prefix for prefix in RENAMED if name.startswith(prefix)), None)
        if old is None or name.startswith("model.backbone."):
            continue  # the heads of the other layers are the first layer's
        name = RENAMED[old] + name[len(old) :]
        for theirs_part, ours_part in RENAMED_IN_LAYER.items():
            name = name.replace(f".{theirs_part}.", f".{ours_part}.")
        norm = "norm3" if "decoder" in name else "norm2"
        name = name.replace("final_layer_norm", norm)
        if any(f".{x}_proj." in name for x in "qkv"):
            attention[name] = value
        else:
            ours[name] = value
    for name in [name for name in attention if ".q_proj." in name]:
        three = [attention[name.replace("q_proj", f"{x}_proj")] for x in "qkv"]
        ours[name.replace("q_proj.", "in_proj_")] = torch.cat(three)
    return ours


def _ours(theirs, dtype):
    head = DeformableDETRHead(IN_CHANNELS, width=WIDTH, levels=LEVELS, **SMALL).eval()
    head.load_state_dict(_translated(theirs.state_dict()), strict=True)
    return head.to(dtype)


def _images(dtype, padded):
    images = torch.randn(2, 3, 128, 96, generator=torch.Generator().manual_seed(1), dtype=dtype)
    valid = torch.ones(2, 128, 96, dtype=torch.long)
    if padded:
        valid[0, 90:], valid[0, :, 70:] = 0, 0
        valid[1, 120:] = 0
    return images, valid


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_boxes_log_odds_and_gradients_are_those_of_transformers(padded, dtype, atol):
    theirs = _peer().to(dtype)
    head = _ours(theirs, dtype)
    images, valid = _images(dtype, padded)
    out = theirs(images, pixel_mask=valid, output_hidden_states=True)
    features = [x for x, _ in theirs.model.backbone.conv_encoder(images, valid)]
    logits, boxes = head(features, ~valid.bool() if padded else None)
    states = out.intermediate_hidden_states  # (N, D, Q, C)
    expected = theirs.class_embed[0](states)[..., 0].transpose(0, 1)
    assert expected.std() > 0.1
    torch.testing.assert_close(logits, expected, rtol=0, atol=atol)
    torch.testing.assert_close(boxes[-1], out.pred_boxes, rtol=0, atol=atol)
    assert out.pred_boxes.std(1).min() > 0.001  # queries differ

    random = torch.Generator().manual_seed(2)
    loss = torch.randn(boxes.shape[1:], generator=random, dtype=dtype)
    ((boxes[-1] * loss).sum() + logits[-1].square().sum()).backward()
    ((out.pred_boxes * loss).sum() + out.logits.square().sum()).backward()
    by_name = _translated({n: p.grad for n, p in theirs.named_parameters()})
    ours_by_name = {name: parameter.grad for name, parameter in head.named_parameters()}
    assert set(by_name) == set(ours_by_name)
    for name, gradient in by_name.items():
        scale = gradient.abs().max().item()
        torch.testing.assert_close(
            ours_by_name[name], gradient, rtol=0, atol=atol * max(scale, 1), msg=name
        )


def test_encoder_and_decoder_are_those_of_transformers_model():
    theirs = _peer().double()
    head = _ours(theirs, torch.float64)
    images, valid = _images(torch.float64, padded=False)
    out = theirs.model(images, pixel_mask=valid)
    maps = []

    def keep(module, inputs):
        maps.extend(inputs[0])

    head.transformer.register_forward_pre_hook(keep)
    head([x for x, _ in theirs.model.backbone.conv_encoder(images, valid)])
    states, reference = head.transformer(maps[:LEVELS])
    torch.testing.assert_close(
        states.transpose(0, 1), out.intermediate_hidden_states, rtol=0, atol=1e-10
    )
    torch.testing.assert_close(
        reference.sigmoid(), out.init_reference_points[0], rtol=0, atol=1e-12
    )


def test_sine_embedding_by_hand():
    """Width 8: four channels for y, then four for x; wavelengths 1 and 10000^(1/2) = 100."""
    found = sine_embedding(torch.zeros(1, 2, 4, dtype=torch.bool), 8, torch.float64)
    assert found.shape == (1, 8, 8)
    y, x = (1.5 / 2) * 2 * math.pi, (2.5 / 4) * 2 * math.pi  # second row, third column
    expected = [f(z / length) for z in (y, x) for length in (1, 100) for f in (math.sin, math.cos)]
    assert found[0, 4 + 2].tolist() == pytest.approx(expected, abs=1e-5)  # 1e-6 in the denominator


def test_sine_embedding_needs_a_multiple_of_four():
    with pytest.raises(InputError, match="width 30 is not a multiple of 4"):
        sine_embedding(torch.zeros(1, 2, 2, dtype=torch.bool), 30)


def test_padding_changes_nothing_that_is_inside_of_an_image():
    """A smaller image in a padded batch has the boxes that it has alone."""
    torch.manual_seed(0)
    transformer = DeformableTransformer(width=WIDTH, levels=2, **SMALL).double().eval()
    maps = [torch.randn(1, WIDTH, h, w, dtype=torch.float64) for h, w in ((6, 8), (3, 4))]
    alone, _ = transformer(maps)
    padded = [torch.nn.functional.pad(one, (0, one.shape[-1], 0, 0), value=7.0) for one in maps]
    paddings = [torch.zeros(1, h, 2 * w, dtype=torch.bool) for h, w in ((6, 8), (3, 4))]
    for mask in paddings:
        mask[..., mask.shape[-1] // 2 :] = True
    with torch.no_grad():  # offsets are cells: points that leave the image read 0 either way
        together, _ = transformer(padded, paddings)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)


def test_heads_start_as_the_official_codes():
    torch.manual_seed(0)
    head = DeformableDETRHead(IN_CHANNELS, width=WIDTH, levels=LEVELS, prior_prob=0.02, **SMALL)
    maps = [torch.randn(2, c, s, s) for c, s in zip(IN_CHANNELS, (8, 4, 2), strict=True)]
    _, boxes = head(maps)
    assert boxes.shape == (3, 2, QUERIES, 4)
    assert torch.sigmoid(head.class_embed.bias).item() == pytest.approx(0.02)
    transformer = head.transformer
    query = transformer.query_embed.weight[:, :WIDTH]
    reference = (query @ transformer.reference_points.weight.T).sigmoid()
    torch.testing.assert_close(boxes[0, 0, :, :2], reference)
    torch.testing.assert_close(boxes[..., 2:], torch.sigmoid(torch.full_like(boxes[..., 2:], -2.0)))
    assert not transformer.reference_points.bias.any()
    assert transformer.level_embed.std().item() == pytest.approx(1, abs=0.2)
    assert transformer.query_embed.weight.std().item() == pytest.approx(1, abs=0.2)
    widest = transformer.encoder[0].feed_forward[0].weight.abs().max()
    assert 0.9 * math.sqrt(6 / 80) < widest <= math.sqrt(6 / 80)  # Xavier: 32 in, 48 out


def test_parameters_that_learn_slowly_have_the_official_names():
    head = DeformableDETRHead(IN_CHANNELS, width=WIDTH, levels=LEVELS, **SMALL)
    slow = [
        name
        for name, _ in head.named_parameters()
        if "reference_points" in name or "sampling_offsets" in name
    ]
    assert len(slow) == 2 * (1 + 2 + 3)  # weight and bias of one projection and of five layers'


def test_a_detector_of_one_level_works():
    head = DeformableDETRHead((8,), width=WIDTH, levels=1, **SMALL)
    logits, boxes = head([torch.randn(1, 8, 3, 5)])
    assert logits.shape == (3, 1, QUERIES)
    assert boxes.shape == (3, 1, QUERIES, 4)
