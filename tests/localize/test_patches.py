"""Objects as groups of patches: known images, and the peers' arithmetic a second time."""

import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
import torch

from wend.errors import InputError
from wend.localize.boxes import NOTHING_FOUND
from wend.localize.patch_run import PatchOptions, boxes_of_maps
from wend.localize.patches import graph
from wend.localize.patches.background import not_background
from wend.localize.patches.graph import centred, edges, normalized, second_eigenvector, separation
from wend.localize.patches.lost import lost
from wend.localize.patches.mask_cut import mask_cut
from wend.localize.patches.token_cut import token_cut

SHAPE = (12, 14)


def scene(*parts, noise=0.05, channels=16, seed=0):
    """Descriptors (h·w, C) of a background with rectangles (y0, x0, y1, x1) of their own kinds."""
    generator = np.random.default_rng(seed)
    kinds = np.linalg.qr(generator.normal(size=(channels, channels)))[0].astype(np.float32)
    image = np.tile(kinds[0], (*SHAPE, 1))
    for kind, (y0, x0, y1, x1) in enumerate(parts, 1):
        image[y0:y1, x0:x1] = kinds[kind]
    image += noise * generator.normal(size=image.shape).astype(np.float32)
    return image.reshape(-1, channels)


def mask_of(y0, x0, y1, x1):
    mask = np.zeros(SHAPE, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


@pytest.mark.parametrize("seed", range(4))
def test_the_eigenvector_is_that_of_the_dense_generalized_problem(seed):
    descriptors = normalized(scene((2, 3, 7, 9), (8, 1, 11, 5), noise=0.4, seed=seed))
    weights = edges(descriptors, 0.2)
    degree = np.diag(weights.sum(1))
    values, vectors = scipy.linalg.eigh(degree - weights, degree)
    own = second_eigenvector(weights)
    expected = vectors[:, 1] * np.sign(vectors[:, 1] @ degree @ own)
    assert np.allclose(own, expected, atol=1e-5)
    rayleigh = own @ (degree - weights) @ own / (own @ degree @ own)
    assert rayleigh == pytest.approx(values[1], abs=1e-9)


def noise(shape, channels=384, seed=0):
    """Descriptors of which most are like no other, and some like one or two."""
    patches = shape[0] * shape[1]
    return np.random.default_rng(seed).normal(size=(patches, channels)).astype(np.float32)


def test_a_graph_of_noise_is_solved_densely_and_to_the_same_bits_each_time(monkeypatch):
    """By calls, and in any place of a batch, so that shards and processes agree."""
    shape, solved, dense = (20, 20), [], scipy.linalg.eigh

    def eigh(matrix, **options):
        solved.append(len(matrix))
        return dense(matrix, **options)

    monkeypatch.setattr(scipy.linalg, "eigh", eigh)
    weights = edges(normalized(noise(shape)), 0.15)
    vector = second_eigenvector(weights)
    assert solved == [400]
    assert np.array_equal(vector, second_eigenvector(weights.copy()))
    maps = torch.from_numpy(np.stack([noise(shape, seed=seed) for seed in (1, 0)]))
    maps = maps.transpose(1, 2).reshape(2, 384, *shape)
    options = PatchOptions("mask-cut", mask_cut, number=5)
    both = boxes_of_maps(maps, options)
    assert both == [boxes_of_maps(each[None].clone(), options)[0] for each in maps]
    assert len(solved) > 6


@pytest.mark.parametrize(("shape", "most"), [((14, 14), 30), ((28, 28), 39)], ids=str)
def test_steps_in_vain_cost_less_than_the_dense_solver(shape, most, monkeypatch):
    asked = []
    largest = graph._largest

    def counted(multiply, size, steps):
        asked.append(steps)
        return largest(multiply, size, steps)

    monkeypatch.setattr(graph, "_largest", counted)
    second_eigenvector(edges(normalized(noise(shape, 32)), 0.2))
    assert asked == [most]


def test_too_few_patches_for_lanczos_are_solved_densely():
    weights = np.array([[1.0, 0.5], [0.5, 1.0]])
    vector = second_eigenvector(weights)
    assert vector[0] == pytest.approx(-vector[1])


METHODS = {
    "TokenCut": token_cut,
    "MaskCut": lambda descriptors, shape: mask_cut(descriptors, shape, cuts=1),
    "LOST": lost,
    "background": not_background,
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("box", [(2, 3, 7, 9), (0, 0, 5, 6), (5, 4, 12, 9)], ids=str)
def test_one_object_is_marked_to_the_patch(name, box):
    descriptors = scene(box)
    (mask,) = METHODS[name](descriptors, SHAPE)
    assert np.array_equal(mask, mask_of(*box))
    assert separation(descriptors, mask.ravel()) > 0.25


@pytest.mark.parametrize("name", METHODS)
def test_an_image_of_one_texture_has_no_certain_object(name):
    flat = scene(noise=0.02)
    masks = METHODS[name](flat, SHAPE)
    assert all(separation(flat, mask.ravel()) < 0.01 for mask in masks)


def test_mask_cut_finds_one_object_after_the_other():
    boxes = [(1, 1, 8, 7), (3, 9, 10, 13)]
    masks = mask_cut(scene(*boxes), SHAPE)
    for box in boxes:
        assert any(np.array_equal(mask, mask_of(*box)) for mask in masks[:2])


def test_objects_of_mask_cut_come_with_scores_of_their_own():
    """Less of the variance is the smaller one's, so that it comes second."""
    large, small = (1, 1, 8, 6), (3, 9, 7, 12)
    maps = torch.from_numpy(scene(large, small, noise=0.02).reshape(1, *SHAPE, -1))
    options = PatchOptions("mask-cut", mask_cut, {"cuts": 2}, number=5)
    (boxes,) = boxes_of_maps(maps.permute(0, 3, 1, 2), options)
    expected = [[x0 / 14, y0 / 12, x1 / 14, y1 / 12] for y0, x0, y1, x1 in (large, small)]
    assert [list(box.box) for box in boxes] == expected
    assert boxes[0].score > boxes[1].score + 0.1 > 0.2


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("box", [(0, 0, 1, 14), (10, 13, 12, 14), (5, 5, 6, 7)], ids=str)
def test_tiny_objects_and_objects_along_the_border(name, box):
    options = {"patches": 2} if name == "LOST" else {}  # as many as the least object has
    (mask,) = METHODS[name](scene(box, noise=0.002), SHAPE, **options)
    assert np.array_equal(mask, mask_of(*box))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (2, 2), (1, 9), (12, 14)], ids=str)
def test_patches_that_are_all_equal_are_no_object(name, shape):
    maps = torch.full((1, 8, *shape), 0.5)
    (boxes,) = boxes_of_maps(maps, PatchOptions(name, METHODS[name], number=3))
    assert boxes == (NOTHING_FOUND,)


@pytest.mark.parametrize("groups", [2, 4, 7])
def test_equal_groups_are_cut_the_same_each_time(groups):
    """Groups as large as each other have one eigenvalue, whose vectors are not determined."""
    group = np.repeat(np.arange(groups), 12)
    weights = np.where(group[:, None] == group, 1.0, 1e-5)
    vector = second_eigenvector(weights)
    assert np.array_equal(vector, second_eigenvector(weights.copy()))
    degrees = weights.sum(1)
    assert np.allclose(weights @ vector / degrees, vector * (1 - groups * 12e-5 / degrees[0]))
    assert vector @ degrees == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("sign", [1, -1])
def test_an_object_that_three_corners_belong_to_is_the_background(sign, monkeypatch):
    """Whichever sign a solver gives: the cut is MaskCut's, the corners exchange the sides."""
    descriptors = scene((3, 3, 12, 11), noise=0.02)
    largest = graph._largest
    monkeypatch.setattr(graph, "_largest", lambda *given: sign * largest(*given))
    (mask,) = mask_cut(descriptors, SHAPE, cuts=1)
    assert np.array_equal(mask, mask_of(3, 3, 12, 11))


def test_whole_takes_all_of_the_objects_side():
    parts = (2, 2, 6, 6), (7, 8, 11, 12)
    descriptors = scene(parts[0], noise=0.02).reshape(*SHAPE, -1)
    descriptors[7:11, 8:12] = descriptors[2:6, 2:6]
    both = mask_of(*parts[0]) | mask_of(*parts[1])
    for method, options in ((token_cut, {}), (mask_cut, {"cuts": 1}), (lost, {})):
        (part,) = method(descriptors.reshape(-1, 16), SHAPE, **options)
        (whole,) = method(descriptors.reshape(-1, 16), SHAPE, **options, whole=True)
        assert any(np.array_equal(part, mask_of(*box)) for box in parts)
        assert np.array_equal(whole, both)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (token_cut, {"threshold": 1.0}, "threshold: expected from -1 to below 1, got 1.0"),
        (mask_cut, {"threshold": float("nan")}, "threshold: expected from -1 to below 1, got nan"),
        (mask_cut, {"cuts": 0}, "cuts: expected at least 1, got 0"),
        (lost, {"patches": 0}, "patches: expected at least 1, got 0"),
        (not_background, {"threshold": -2.0}, "threshold: expected from -1 to below 1, got -2.0"),
    ],
    ids=["TokenCut", "not a number", "cuts", "patches", "background"],
)
def test_options_out_of_range_are_named(method, options, message):
    with pytest.raises(InputError, match=f"--option {message}"):
        method(scene(), SHAPE, **options)


def test_regions_of_mask_cut_share_no_patch():
    masks = mask_cut(scene((1, 1, 8, 7), (3, 9, 10, 13), noise=0.6), SHAPE, cuts=5)
    assert len(masks) > 1
    assert (np.sum(masks, axis=0) <= 1).all()


def peers_token_cut(descriptors, threshold):
    """YangtaoWANG95/TokenCut fed52cd, object_discovery.py:26-57, in NumPy."""
    unit = descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)
    weights = (unit @ unit.T > threshold).astype(float)
    weights[weights == 0] = 1e-5
    degree = np.diag(weights.sum(1))
    vector = scipy.linalg.eigh(degree - weights, degree, subset_by_index=[1, 2])[1][:, 0]
    side = vector > vector.sum() / len(vector)
    seed = np.argmax(np.abs(vector))
    if not side[seed]:
        side = ~side
    labels, _ = scipy.ndimage.label(side.reshape(SHAPE))
    return labels == labels[np.unravel_index(seed, SHAPE)]


@pytest.mark.parametrize("seed", range(5))
def test_token_cut_is_its_peers(seed):
    descriptors = scene((2, 3, 9, 9), (8, 10, 11, 13), noise=0.5, seed=seed)
    (mask,) = token_cut(descriptors, SHAPE)
    assert np.array_equal(mask, peers_token_cut(descriptors, 0.2))


def peers_lost(descriptors, patches):
    """valeoai/LOST fcedbec, object_discovery.py:37-117, in loops."""
    number = len(descriptors)
    dots = [[float(a @ b) for b in descriptors] for a in descriptors]
    degree = [sum(dots[i][j] > 0 for j in range(number) if j != i) for i in range(number)]
    order = sorted(range(number), key=lambda i: degree[i])
    seed = order[0]
    similar = [i for i in order[:patches] if dots[seed][i] > 0]
    total = np.array([sum(dots[i][j] for i in similar) for j in range(number)])
    labels, _ = scipy.ndimage.label((total > 0).reshape(SHAPE))
    return labels == labels[np.unravel_index(seed, SHAPE)]


@pytest.mark.parametrize("seed", range(3))
def test_lost_is_its_peers(seed):
    descriptors = scene((2, 3, 9, 9), noise=0.4, seed=seed)
    descriptors -= descriptors.mean(0)
    (mask,) = lost(descriptors, SHAPE, patches=40, centred="no")
    assert np.array_equal(mask, peers_lost(descriptors.astype(np.float64), 40))


def test_the_separation_is_the_share_of_all_squares_between_region_and_rest():
    """One way analysis of variance, channel by channel: between groups over all squares."""
    descriptors = scene((2, 3, 9, 9), noise=0.3).astype(np.float64)
    mask = mask_of(2, 3, 9, 9).ravel()
    between = total = 0.0
    for channel in descriptors.T:
        mean = channel.mean()
        total += sum(value**2 for value in channel)
        for group in (channel[mask], channel[~mask]):
            between += len(group) * (group.mean() - mean) ** 2
    assert separation(descriptors, mask) == pytest.approx(between / total)
    assert separation(3 * descriptors, mask) == pytest.approx(between / total)
    assert separation(descriptors + 5, mask) < 0.1 * between / total
    assert separation(descriptors, np.ones_like(mask)) == 0
    assert separation(np.full((6, 3), 0.1, np.float32), np.arange(6) < 2) == 0


def test_descriptors_without_a_negative_number_are_centred():
    positive, signed = np.array([[1.0, 2], [3, 4]]), np.array([[1.0, -2], [3, 4]])
    assert centred(positive, "auto").tolist() == [[-1, -1], [1, 1]]
    assert centred(signed, "auto") is signed
    assert centred(positive, "no") is positive
    assert centred(signed, "yes").tolist() == [[-1, -3], [1, 3]]
    with pytest.raises(InputError, match="--option centred: expected one of auto, yes, no"):
        centred(signed, "true")
