"""DDT against a slow second implementation: all descriptors at once, np.cov, np.linalg.eigh."""

import numpy as np
import pytest
import torch
from localize_reference import slow_box, slow_projections
from torch import nn

from wend.localize.ddt import Moments, find_boxes, project
from wend.localize.signs import turns


def fast_projections(maps, sign, batch=3):
    tensors = torch.from_numpy(maps).split(batch)
    moments = Moments.empty(maps.shape[1])
    for part in tensors:
        moments.add(part)
    mean, component = moments.axis()
    values = np.concatenate([project(part, mean, component) for part in tensors])
    extreme = values.flat[np.abs(values).argmax()]
    contrast = moments.border_contrast(component)
    inner = values[:, 1:-1, 1:-1]
    outer = (values.sum() - inner.sum()) / (values.size - inner.size)
    assert contrast == pytest.approx(
        outer - inner.mean(), rel=1e-6, abs=1e-6 * np.abs(values).max()
    )
    return -values if turns(sign, contrast, extreme) else values


@pytest.mark.parametrize("sign", ["psol", "loading"])
@pytest.mark.parametrize("channels", [2, 7, 40])
def test_random_descriptors_give_the_slow_ways_projections_and_boxes(sign, channels):
    rng = np.random.default_rng(channels)
    for _ in range(5):
        mixing = rng.normal(size=(channels, channels)) * rng.uniform(0.1, 5, channels)
        maps = rng.normal(size=(8, channels, 6, 5)) + rng.uniform(-50, 50, (channels, 1, 1))
        maps = np.einsum("cd,ndhw->nchw", mixing, maps).astype(np.float32)
        slow, fast = slow_projections(maps, sign), fast_projections(maps, sign)
        np.testing.assert_allclose(fast, slow, atol=1e-6 * np.abs(slow).max())
        for projection in fast:
            box, size = slow_box(projection)
            (mine,) = find_boxes(projection)
            ties = [b for b in [mine.box] if np.allclose(b, box)]
            area = np.prod(np.subtract(mine.box[2:], mine.box[:2]) * projection.shape[::-1])
            assert ties or area >= size - 1e-9  # another region, as large


def test_a_small_random_network_gives_the_slow_ways_result():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()]
    with torch.no_grad():
        maps = nn.Sequential(*layers)(torch.randn(9, 3, 32, 32)).numpy()
    slow, fast = slow_projections(maps, "psol"), fast_projections(maps, "psol", batch=4)
    np.testing.assert_allclose(fast, slow, atol=1e-6 * np.abs(slow).max())


def test_large_means_cost_no_accuracy():
    """float32 sums of 1e4-sized values would lose the unit variance; float64 ones must not."""
    rng = np.random.default_rng(5)
    maps = rng.normal(size=(20, 4, 8, 8)).astype(np.float32)
    maps[:, 0] *= 3
    far = maps + np.float32(1e4)
    exact = far.astype(np.float64).transpose(0, 2, 3, 1).reshape(-1, 4)
    moments = Moments.empty(4)
    moments.add(torch.from_numpy(far))
    np.testing.assert_allclose(
        moments.covariance().numpy(), np.cov(exact, rowvar=False, ddof=0), rtol=1e-5, atol=1e-5
    )


def test_signs_of_a_hand_made_map():
    """One far negative cell, in the middle; the border is a little above the mean."""
    maps = torch.full((1, 2, 3, 3), 0.5)
    maps[0, 1, 1, 1] = -4.0
    moments = Moments.empty(2)
    moments.add(maps)
    _, component = moments.axis()
    assert component.tolist() == [0.0, 1.0]
    contrast = moments.border_contrast(component)
    assert contrast == 4.5
    assert turns("border", contrast, -4.0)
    assert turns("psol", contrast, -4.0)
    assert not turns("loading", contrast, -4.0)
    assert not turns("border", -contrast, 4.0)
    assert not turns("psol", -contrast, 4.0)
    flat = Moments.empty(1)
    flat.add(torch.ones(2, 1, 2, 5))
    assert flat.border_contrast(torch.ones(1, dtype=torch.float64)) == 0.0


def test_sums_of_blocks_are_those_of_all_batches():
    maps = torch.randn(9, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    whole, first, second = (Moments.empty(4) for _ in range(3))
    for moments, part in ((whole, maps), (first, maps[:5]), (second, maps[5:])):
        moments.add(part)
    first.add_sums(second)
    assert (first.count, first.inner_count) == (whole.count, whole.inner_count) == (270, 108)
    for name in ("total", "second", "inner"):
        torch.testing.assert_close(getattr(first, name), getattr(whole, name))


def test_boxes_lie_on_the_grid_or_between_cells():
    projection = np.full((4, 4), -1.0)
    projection[1:3, 1:4] = 1.0
    assert find_boxes(projection)[0].box == (0.25, 0.25, 1.0, 0.75)
    assert find_boxes(projection)[0].score == pytest.approx(6 / 16)
    (smooth,) = find_boxes(projection, "bilinear", 160)
    # between cell centres 0.125 and 0.375 the value passes 0 in the middle: 0.25, within a pixel
    np.testing.assert_allclose(smooth.box, (0.25, 0.25, 1.0, 0.75), atol=1.01 / 160)
    projection[1, 1] = 3.0  # the zero moves out: (-1 -> 3) passes at a quarter, (x0 = 0.1875)
    assert find_boxes(projection, "bilinear", 160)[0].box[0] == pytest.approx(
        0.1875, abs=1.01 / 160
    )


def test_several_boxes_score_by_their_share_of_the_whole_magnitude():
    projection = np.full((4, 4), -1.0)
    projection[0:2, 0:2] = 1.0
    projection[3, 3] = 2.0
    first, second = find_boxes(projection, number=3)
    assert (first.box, first.score) == ((0, 0, 0.5, 0.5), 4 / 17)
    assert (second.box, second.score) == ((0.75, 0.75, 1, 1), 2 / 17)
    assert find_boxes(projection) == (first,)
    touching = np.array([[3.0, 1.0, 3.0], [3.0, 1.0, 3.0], [-1.0, -1.0, -1.0]])
    left, right = find_boxes(touching, number=2)
    assert (left.box, right.box) == ((0, 0, 2 / 3, 2 / 3), (2 / 3, 0, 1, 2 / 3))
    assert right.score == pytest.approx(left.score * 6 / 8)
    assert find_boxes(touching)[0].box == (0, 0, 1, 2 / 3)


def test_nothing_positive_is_the_whole_image_and_says_so():
    (empty,) = find_boxes(np.zeros((3, 3)))
    assert (empty.box, empty.score, empty.whole_image) == ((0.0, 0.0, 1.0, 1.0), 0.0, True)
    (covered,) = find_boxes(np.ones((3, 3)))
    assert (covered.box, covered.score, covered.whole_image) == ((0.0, 0.0, 1.0, 1.0), 1.0, False)
