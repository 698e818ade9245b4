"""CCAM's head: losses by hand, its training, its side and its threshold."""

import math

import numpy as np
import pytest
import torch

from wend.localize.contrast import (
    ContrastHead,
    apart,
    border_excess,
    contrast_loss,
    otsu,
    split_descriptors,
    together,
)
from wend.localize.contrast_run import boxes_of_activation

ANGLES = torch.tensor([0.0, 30.0, 90.0]).deg2rad()
VECTORS = torch.stack([ANGLES.cos(), ANGLES.sin()], 1) * torch.tensor([[1.0], [5.0], [0.1]])


def test_what_is_alike_is_pulled_together_by_rank():
    same, c30, c60, c90 = 0.9995, math.cos(math.pi / 6), 0.5, 0.0005
    rows = [(same, c30, c90), (same, c30, c60), (same, c60, c90)]  # of each, by rank
    weights = [math.exp(0.25), 1.0, math.exp(-0.25)]
    expected = sum(-math.log(c) * w for row in rows for c, w in zip(row, weights, strict=True)) / 9
    assert float(together(VECTORS)) == pytest.approx(expected, rel=1e-5)
    no_rank = sum(-math.log(c) for row in rows for c in row) / 9
    assert float(together(VECTORS, 0.0)) == pytest.approx(no_rank, rel=1e-5)


def test_foreground_and_background_are_pushed_apart():
    cosines = [0.0005, 0.5, 0.9995]  # of 90 degrees with 0, 30 and 90
    expected = sum(-math.log(1 - c) for c in cosines) / 3
    assert float(apart(VECTORS, VECTORS[2:])) == pytest.approx(expected, rel=1e-4)


def test_the_loss_is_that_of_loops_over_cells_and_pairs():
    generator = torch.Generator().manual_seed(1)
    maps = torch.rand(3, 5, 2, 4, generator=generator)
    activations = torch.rand(3, 1, 2, 4, generator=generator)
    foreground = np.zeros((3, 5))
    background = np.zeros((3, 5))
    for n, y, x in np.ndindex(3, 2, 4):
        a, d = float(activations[n, 0, y, x]), maps[n, :, y, x].numpy()
        foreground[n] += a * d / 8
        background[n] += (1 - a) * d / 8
    own = split_descriptors(maps, activations)
    np.testing.assert_allclose(own[0].numpy(), foreground, rtol=1e-5)
    np.testing.assert_allclose(own[1].numpy(), background, rtol=1e-5)

    def cosine(a, b):
        return min(max(a @ b / math.sqrt((a @ a) * (b @ b)), 0.0005), 0.9995)

    expected = 0.0
    for kind in (background, foreground):
        for vector in kind:
            ranked = sorted((cosine(vector, other) for other in kind), reverse=True)
            expected -= sum(math.log(c) * math.exp(-0.25 * (r - 1)) for r, c in enumerate(ranked))
    expected -= sum(math.log(1 - cosine(f, b)) for f in foreground for b in background)
    assert float(contrast_loss(maps, activations)) == pytest.approx(expected / 9, rel=1e-4)


def test_a_head_learns_to_tell_an_object_from_scenery():
    generator = torch.Generator().manual_seed(0)
    maps = 0.05 * torch.rand(16, 6, 12, 12, generator=generator)
    maps[:, :3] += 1.0
    is_object = torch.zeros(16, 12, 12, dtype=torch.bool)
    for n in range(16):
        y, x = 1 + n % 3, 1 + n % 4
        is_object[n, y : y + 7, x : x + 6] = True
    maps = torch.where(is_object[:, None], maps.roll(3, 1), maps)
    torch.manual_seed(0)
    head = ContrastHead(6)
    optimizer = torch.optim.Adam(head.parameters(), 0.01)
    losses = []
    for _ in range(40):
        loss = contrast_loss(maps, head(maps))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    with torch.no_grad():
        values = head.eval()(maps)[:, 0].numpy()
    values = 1 - values if border_excess(values) > 0 else values
    marked = values > otsu(values)
    assert (marked == is_object.numpy()).mean() > 0.9


def test_otsus_threshold_is_the_one_of_all_edges_that_splits_best():
    generator = np.random.default_rng(0)
    values = np.concatenate([generator.normal(0.3, 0.05, 500), generator.normal(0.7, 0.1, 100)])
    values = values.clip(0, 1)

    def between(edge):
        low, high = values[values < edge], values[values >= edge]
        return len(low) * len(high) * (low.mean() - high.mean()) ** 2 if len(low) * len(high) else 0

    edges = np.linspace(0, 1, 257)
    best = max(map(between, edges))
    assert between(otsu(values)) == pytest.approx(best, rel=0.01)
    assert otsu(np.full(9, 0.2)) == 0.5


def test_a_maps_border_and_its_boxes():
    values = np.full((2, 6, 6), 0.2)
    values[:, 2:4, 1:5] = 0.9
    assert border_excess(values) < 0 < border_excess(1 - values)
    assert border_excess(np.ones((1, 2, 2))) == 0
    (box,) = boxes_of_activation(values[0].astype(np.float32), 0.55, 60)
    np.testing.assert_allclose(box.box, [1 / 6, 2 / 6, 5 / 6, 4 / 6], atol=0.02)
    assert 0.4 < box.score < 0.7
    (nothing,) = boxes_of_activation(np.zeros((6, 6), np.float32), 0.5, 60)
    assert nothing.whole_image
