"""Against a slow loop, against transformers' module, and the official initial values."""

import math
from types import SimpleNamespace

import pytest
import torch

from wend.errors import InputError
from wend.modeling.layers.deformable_attention import MultiScaleDeformableAttention, sample_levels

SHAPES = [(5, 7), (3, 4), (1, 2)]
CELLS = sum(h * w for h, w in SHAPES)
START = [0, 35, 47]


def _module(width=16, heads=4, points=2):
    torch.manual_seed(0)
    module = MultiScaleDeformableAttention(width, heads, len(SHAPES), points).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def _inputs(queries=6, width=16):
    generator = torch.Generator().manual_seed(1)
    query = torch.randn(2, queries, width, generator=generator, dtype=torch.float64)
    memory = torch.randn(2, CELLS, width, generator=generator, dtype=torch.float64)
    points = torch.rand(2, queries, len(SHAPES), 2, generator=generator, dtype=torch.float64)
    padding = torch.rand(2, CELLS, generator=generator) < 0.2
    return query.requires_grad_(), points, memory.requires_grad_(), padding


def _bilinear(cells, height, width, x, y):
    """Value at x, y in fractions of a map (H·W, C'); cell i has its centre at (i + 0.5) / size."""
    x, y = x * width - 0.5, y * height - 0.5
    total = torch.zeros(cells.shape[1], dtype=cells.dtype)
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < height and 0 <= column < width:
                share = (1 - abs(y - row)) * (1 - abs(x - column))
                total += share * cells[row * width + column]
    return total


def test_sampling_is_the_weighted_sum_of_bilinear_values():
    generator = torch.Generator().manual_seed(2)
    value = torch.randn(2, CELLS, 3, 4, generator=generator, dtype=torch.float64)
    # some points lie outside of the map
    places = torch.rand(2, 5, 3, 3, 2, 2, generator=generator, dtype=torch.float64) * 1.4 - 0.2
    weights = torch.rand(2, 5, 3, 3, 2, generator=generator, dtype=torch.float64)
    expected = torch.zeros(2, 5, 3, 4, dtype=torch.float64)
    for n, q, m, level, p in torch.cartesian_prod(*map(torch.arange, (2, 5, 3, 3, 2))).tolist():
        height, width = SHAPES[level]
        cells = value[n, START[level] : START[level] + height * width, m]
        x, y = places[n, q, m, level, p].tolist()
        read = _bilinear(cells, height, width, x, y)
        expected[n, q, m] += weights[n, q, m, level, p] * read
    found = sample_levels(value, SHAPES, places, weights)
    torch.testing.assert_close(found, expected.flatten(2), rtol=0, atol=1e-12)


@pytest.mark.parametrize("padded", [False, True])
def test_output_and_gradients_are_those_of_transformers(padded):
    pytest.importorskip("transformers", reason="transformers is not installed")
    from transformers.models.deformable_detr import modeling_deformable_detr as peer

    config = SimpleNamespace(d_model=16, num_feature_levels=3, disable_custom_kernels=True)
    ours = _module()
    theirs = peer.DeformableDetrMultiscaleDeformableAttention(config, num_heads=4, n_points=2)
    theirs.double().load_state_dict(ours.state_dict(), strict=True)
    query, points, memory, padding = _inputs()
    padding = padding if padded else None
    out = ours(query, points, memory, SHAPES, padding)
    out_theirs, _ = theirs(
        query,
        attention_mask=None if padding is None else ~padding,
        encoder_hidden_states=memory,
        reference_points=points,
        spatial_shapes=torch.tensor(SHAPES),
        spatial_shapes_list=SHAPES,
        level_start_index=torch.tensor(START),
    )
    torch.testing.assert_close(out, out_theirs, rtol=0, atol=1e-12)
    loss = torch.randn(out.shape, generator=torch.Generator().manual_seed(3))
    mine = torch.autograd.grad((out * loss).sum(), [query, memory, *ours.parameters()])
    other = torch.autograd.grad((out_theirs * loss).sum(), [query, memory, *theirs.parameters()])
    for a, b in zip(mine, other, strict=True):
        assert b.abs().sum() > 0
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_gradients_are_those_of_finite_differences():
    query, points, memory, padding = _inputs(queries=2)
    module = _module()
    assert torch.autograd.gradcheck(
        lambda q, r, m: module(q, r, m, SHAPES, padding),
        (query, points.requires_grad_(), memory),
        fast_mode=True,
    )


def test_reference_points_of_all_images_and_levels_may_be_one():
    query, points, memory, _ = _inputs()
    one = points[:1, :, :1]
    spread = one.expand_as(points)
    module = _module()
    torch.testing.assert_close(
        module(query, one, memory, SHAPES), module(query, spread, memory, SHAPES), rtol=0, atol=0
    )


def test_heads_start_with_points_on_a_ring_and_equal_attention():
    module = MultiScaleDeformableAttention(16, 8, 2, 3)
    offsets = module.sampling_offsets.bias.view(8, 2, 3, 2)
    ring = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
    for head, direction in enumerate(ring):
        for point in range(3):
            expected = torch.tensor(direction, dtype=torch.float32) * (point + 1)
            for level in range(2):
                torch.testing.assert_close(offsets[head, level, point], expected)
    assert not module.sampling_offsets.weight.any()
    assert not module.attention_weights.weight.any()
    assert not module.attention_weights.bias.any()
    assert not module.value_proj.bias.any()
    assert module.value_proj.weight.abs().max() <= math.sqrt(6 / 32)  # Xavier, uniform


def test_half_precision_values_are_read_at_float32_positions():
    value = torch.arange(8, dtype=torch.bfloat16).view(1, 8, 1, 1)
    places = torch.tensor([0.51]).expand(1, 1, 1, 1, 1, 2)
    found = sample_levels(value, [(2, 4)], places, torch.ones(1, 1, 1, 1, 1))
    assert found.dtype == torch.float32
    # x = 0.51·4 - 0.5 = 1.54, y = 0.51·2 - 0.5 = 0.52: 4·0.52 + 1.54
    assert found.item() == pytest.approx(3.62, abs=1e-5)


def test_width_must_be_a_multiple_of_the_heads():
    with pytest.raises(InputError, match=r"width 20 is not a multiple .* 8"):
        MultiScaleDeformableAttention(20, 8, 1, 1)
