"""Refinement by colours: the authors' arithmetic in loops, pictures whose objects are known."""

import math

import numpy as np
import pytest

from wend.errors import InputError
from wend.localize.boxes import NOTHING_FOUND
from wend.localize.cam import boxes_of_cam
from wend.localize.contrast_run import boxes_of_activation
from wend.localize.ddt import find_boxes
from wend.localize.patch_run import PatchOptions, boxes_of_maps
from wend.localize.refine import bilateral as solver
from wend.localize.refine.refinement import SIDE, Refinement

RED, GREEN, BLUE = (200, 40, 30), (30, 160, 60), (40, 60, 190)


def painted(*rectangles, side=SIDE, noise=0, seed=0):
    """A green picture with rectangles (y0, x0, y1, x1) of red and blue, in cells, and noise."""
    generator = np.random.default_rng(seed)
    picture = np.full((side, side, 3), GREEN, np.float64)
    for (y0, x0, y1, x1), colour in zip(rectangles, (RED, BLUE), strict=False):
        picture[y0:y1, x0:x1] = colour
    return np.clip(picture + generator.normal(0, noise, picture.shape), 0, 255).astype(np.uint8)


def region(y0, x0, y1, x1, side=SIDE):
    mask = np.zeros((side, side), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def coarse(*cells, side=8):
    """A map (8, 8) that is 1 in rectangles (y0, x0, y1, x1) of cells, and -1 elsewhere."""
    values = np.full((side, side), -1.0)
    for y0, x0, y1, x1 in cells:
        values[y0:y1, x0:x1] = 1
    return values


def slow_crf(picture, log_odds, iterations, near_weight, near, alike_weight, alike, colour):
    """Mean field over all pairs, both labels' probabilities; the paper's algorithm 1 in loops."""
    side = len(picture)
    cells = [(y, x) for y in range(side) for x in range(side)]
    step = 480 / side

    def weights(of_pair):
        kernel = [[math.exp(-of_pair(i, j)) for j in cells] for i in cells]
        sums = [sum(row) for row in kernel]
        return [
            [kernel[i][j] / math.sqrt(sums[i] * sums[j]) for j in range(len(cells))]
            for i in range(len(cells))
        ]

    def place(i, j, deviation):
        return step**2 * ((i[0] - j[0]) ** 2 + (i[1] - j[1]) ** 2) / (2 * deviation**2)

    def shade(i, j):
        apart = picture[i].astype(float) - picture[j].astype(float)
        return float(apart @ apart) / (2 * colour**2)

    first = weights(lambda i, j: place(i, j, near))
    second = weights(lambda i, j: place(i, j, alike) + shade(i, j))
    unary = [(math.log(1 + math.exp(z)), math.log(1 + math.exp(-z))) for z in log_odds.ravel()]

    def normal(energies):
        parts = [[math.exp(-e) for e in pair] for pair in energies]
        return [[p / sum(pair) for p in pair] for pair in parts]

    q = normal(unary)
    for _ in range(iterations):
        energies = []
        for i, own in enumerate(unary):
            pair = []
            for label in (0, 1):
                agreeing = sum(
                    (near_weight * first[i][j] + alike_weight * second[i][j]) * q[j][label]
                    for j in range(len(cells))
                )
                pair.append(own[label] - agreeing)
            energies.append(pair)
        q = normal(energies)
    return np.log([b / a for a, b in q]).reshape(side, side)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_conditional_random_field_is_the_papers_algorithm_in_loops(seed):
    generator = np.random.default_rng(seed)
    picture = generator.integers(0, 60, (5, 5, 3)).astype(np.uint8)
    odds = generator.normal(size=(2, 5, 5)).astype(np.float32)
    numbers = {"near_weight": 0.7, "near": 90, "alike_weight": 1.5, "alike": 150, "colour": 20}
    made = Refinement.named("crf", {}).function(picture, odds, iterations=3, **numbers)
    for ours, own in zip(made, odds, strict=True):
        np.testing.assert_allclose(ours, slow_crf(picture, own, 3, **numbers), atol=2e-5)


def slow_system(vertices, smoothness):
    """The solver's dense matrix and splat, vertex by vertex: Barron and Poole's eq. 3 to 10."""
    unique = sorted({tuple(v) for v in vertices.tolist()})
    splat = np.array([[float(tuple(v) == u) for v in vertices.tolist()] for u in unique])
    blur = np.zeros((len(unique), len(unique)))
    for i, a in enumerate(unique):
        for j, b in enumerate(unique):
            distance = sum(abs(p - q) for p, q in zip(a, b, strict=True))
            blur[i, j] = {0: 2.0 * len(a), 1: 1.0}.get(distance, 0.0)
    counts = splat.sum(1)
    n = np.ones(len(unique))
    for _ in range(10):
        n = np.sqrt(n * counts / (blur @ n))
    smooth = np.diag(n * (blur @ n)) - np.diag(n) @ blur @ np.diag(n)
    return smoothness * smooth + 0.999 * np.diag(counts), splat


def test_the_bilateral_solver_solves_the_papers_system():
    generator = np.random.default_rng(3)
    picture = painted((3, 4, 8, 10), side=12, noise=12)
    odds = generator.normal(size=(2, 12, 12)).astype(np.float32)
    yuv = picture.reshape(-1, 3) @ solver.YUV.T + [0, 128, 128]
    rows, columns = np.divmod(np.arange(144), 12)
    place = np.stack([rows, columns], 1) * 40 / 64
    vertices = np.floor(np.concatenate([place, yuv / [16, 8, 8]], 1)).astype(int)
    matrix, splat = slow_system(vertices, 5.0)
    ours = solver.system(vertices, 5.0)
    np.testing.assert_allclose(ours[0].toarray(), matrix, atol=1e-12)
    np.testing.assert_array_equal(ours[1].toarray(), splat)
    made = solver.bilateral(picture, odds, smoothness=5.0, place=64.0)
    for values, own in zip(made, odds, strict=True):
        exact = np.linalg.solve(matrix, 0.999 * splat @ own.ravel().astype(np.float64))
        np.testing.assert_allclose(values.ravel(), splat.T @ exact, atol=1e-4)


def test_the_solver_leaves_a_constant_as_it_is():
    constant = np.full((1, SIDE, SIDE), 0.37, np.float32)
    made = solver.bilateral(painted((10, 10, 40, 30), noise=20), constant)
    np.testing.assert_allclose(made, constant, atol=1e-6)


@pytest.mark.parametrize("name", ["crf", "bilateral"])
def test_a_coarse_wrong_mask_becomes_the_rectangle_of_its_colour(name):
    picture = painted((16, 11, 40, 32))
    wrong = coarse((2, 1, 6, 5))  # rows 14 to 41, columns 7 to 34 of the picture
    (mask,) = Refinement.named(name, {}).masks(picture, wrong[None])
    np.testing.assert_array_equal(mask, region(16, 11, 40, 32))
    (grey,) = Refinement.named(name, {}).masks(np.full_like(picture, 128), wrong[None])
    inside = region(14, 7, 42, 35)
    assert (grey & inside).sum() / (grey | inside).sum() > 0.6  # without colours it stays, rounded


def own(function):
    return Refinement("own", function)


def test_log_odds_are_in_units_of_their_mean_and_a_masks_are_one():
    seen = []

    def note(picture, log_odds):
        seen.append(log_odds)
        return log_odds

    ramp = np.linspace(-3, 1, 64).reshape(1, 8, 8)
    picture = painted()
    (mask,) = own(note).masks(picture, ramp)
    (again,) = own(note).masks(picture, 1000 * ramp)
    np.testing.assert_array_equal(mask, again)
    own(note).masks(picture, coarse((2, 2, 6, 6))[None])
    assert np.abs(seen[2]).max() == 1
    assert np.abs(seen[0]).mean() == pytest.approx(1, abs=0.05)  # of the coarse map it is 1
    assert seen[0].shape == (1, SIDE, SIDE)


def test_what_is_too_unlike_stays_and_holes_and_far_parts_go():
    values = np.stack([coarse((2, 2, 6, 6))] * 4)
    before = region(14, 14, 42, 42)
    ring = before & ~region(22, 22, 34, 34)
    far = before | region(2, 2, 8, 8)
    half = region(14, 14, 42, 27)  # 13 of 28 columns
    empty = np.zeros_like(before)

    def answer(picture, log_odds):
        return np.stack([ring, far, half, empty]) * 2.0 - 1

    masks = own(answer).masks(painted(), values)
    np.testing.assert_array_equal(masks[0], before)
    np.testing.assert_array_equal(masks[1], before)
    assert masks[2:] == [None, None]


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (None, "NoneType"),
        (np.zeros((2, SIDE, SIDE)), r"float64 \(2, 56, 56\)"),
        (np.full((1, SIDE, SIDE), np.nan), "not finite"),
        (np.zeros((1, SIDE, SIDE), bool), "bool"),
    ],
    ids=["nothing", "shape", "nan", "bool"],
)
def test_a_refinement_of_ones_own_is_checked(answer, named):
    with pytest.raises(InputError, match=f"--refine own: expected finite numbers .*{named}"):
        own(lambda picture, log_odds: answer).masks(painted(), coarse((2, 2, 6, 6))[None])


def test_a_failing_refinement_of_ones_own_is_one_error():
    with pytest.raises(
        InputError, match=r"--refine own failed; its own traceback:\n[\s\S]*ZeroDivisionError"
    ):
        own(lambda picture, log_odds: 1 / 0).masks(painted(), coarse((2, 2, 6, 6))[None])


@pytest.mark.parametrize(
    ("name", "option", "expected"),
    [
        ("crf", "colour=0", "above 0"),
        ("crf", "iterations=0", "from 1"),
        ("crf", "alike_weight=-1", "from 0"),
        ("crf", "near=inf", "above 0"),
        ("crf", "iterations=x", "a value such as 10"),
        ("crf", "color=3", "Did you mean.*colour"),
        ("bilateral", "smoothness=nan", "from 0"),
        ("bilateral", "chroma=-2", "above 0"),
    ],
)
def test_a_wrong_option_is_named(name, option, expected):
    key, _, value = option.partition("=")
    with pytest.raises(InputError, match=f"--refine-option {key}: .*{expected}"):
        Refinement.named(name, {key: value}).masks(painted(), coarse((2, 2, 6, 6))[None])


def box(*cells):
    y0, x0, y1, x1 = (n / SIDE for n in cells)
    return (x0, y0, x1, y1)


OBJECT = (16, 11, 40, 32)
MAP = coarse((2, 1, 6, 5))


@pytest.mark.parametrize(
    "boxes_of",
    [
        lambda refine: find_boxes(MAP, "nearest", 96, 1, refine),
        lambda refine: find_boxes(MAP, "bilinear", 96, 1, refine),
        lambda refine: boxes_of_activation(MAP.astype(np.float32) / 4 + 0.5, 0.5, 96, 1, refine),
        lambda refine: boxes_of_cam(MAP.astype(np.float32), 96, 1, threshold=0.0, refine=refine),
        lambda refine: boxes_of_maps(
            _maps(), PatchOptions("own", lambda d, s: [d[:, 0].reshape(s) > 0]), [refine]
        )[0],
    ],
    ids=["ddt", "ddt bilinear", "contrast", "cam", "patches"],
)
def test_every_methods_box_is_that_of_the_refined_region(boxes_of):
    refine = own(lambda picture, log_odds: 2.0 * region(*OBJECT)[None] - 1).of(painted())
    (refined,) = boxes_of(refine)
    assert refined.box == box(*OBJECT)
    assert not refined.unrefined
    assert 0 < refined.score <= 1
    (plain,) = boxes_of(None)
    (kept,) = boxes_of(lambda values: [None] * len(values))
    assert kept.unrefined
    assert (kept.box, kept.score) == (plain.box, plain.score)


def _maps():
    import torch

    return torch.from_numpy(np.stack([MAP, np.ones_like(MAP)])[None]).float()


def test_several_objects_of_a_map_are_refined_each_to_its_colour():
    first, second = (15, 5, 40, 22), (12, 33, 44, 52)
    values = coarse((2, 1, 6, 3), (2, 5, 6, 7))
    values[2:6, 1:3] += 0.5 * np.hanning(6)[1:5, None]
    refine = Refinement.named("crf", {}).of(painted(first, second))
    boxes = find_boxes(values, "bilinear", 96, 5, refine)
    assert {each.box for each in boxes} == {box(*first), box(*second)}
    assert boxes[0].score > boxes[1].score > 0


def test_where_nothing_is_found_there_is_nothing_to_refine():
    refine = own(lambda picture, log_odds: log_odds).of(painted())
    assert find_boxes(-MAP - 1.5, "nearest", 96, 1, refine) == (NOTHING_FOUND,)
    options = PatchOptions("own", lambda descriptors, shape: [])
    assert boxes_of_maps(_maps(), options, [refine]) == [(NOTHING_FOUND,)]
