"""What the numbers of a whole file are: each pattern is named, and natural boxes never are."""

import logging

import numpy as np
import pytest

from wend.errors import InputError
from wend.structures import plausibility
from wend.structures.box_table import BoxTable
from wend.structures.plausibility import Finding, other_reading, outside, repeated, why_outside


def natural(number, sizes, seed=0, scale=0.5):
    """Boxes (number, 4) about the middles of images, whose sides are 0 to 2 * scale of theirs."""
    rng = np.random.default_rng(seed)
    sizes = np.broadcast_to(sizes, (number, 2))
    half = rng.uniform(0.02, scale, (number, 2)) / 2
    centre = rng.normal(0.5, 0.17, (number, 2)).clip(half, 1 - half)
    return np.concatenate([centre - half, centre + half], 1) * np.tile(sizes, 2), sizes


def read(boxes, sizes):
    return other_reading(boxes, np.arange(len(boxes)), sizes)


def in_copy(boxes, sizes, side):
    return boxes / np.tile(sizes, 2) * side


def as_corners(boxes):
    """Boxes whose x1, y1 were written as width and height, read as COCO's."""
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)


def moved(boxes, sides):
    """Boxes moved by so many of their own sides: 0.5 where x, y are written as their centre."""
    return boxes + np.tile(sides * (boxes[:, 2:] - boxes[:, :2]), 2)


def corners_as_centre(boxes):
    """Boxes whose corners x0, y0, x1, y1 are read as centre, width and height."""
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)


@pytest.mark.parametrize(
    ("kind", "spoil", "said"),
    [
        ("fractions", lambda boxes, sizes: in_copy(boxes, sizes, 1), "fractions of the image"),
        ("copy", lambda boxes, sizes: in_copy(boxes, sizes, 100), "per cent of the image"),
        ("copy", lambda boxes, sizes: in_copy(boxes, sizes, 224), "a 224 crop or copy"),
        ("copy", lambda boxes, sizes: in_copy(boxes, sizes, 256), "a 256 copy"),
        ("corners", lambda boxes, sizes: as_corners(boxes), "corners x1, y1 that were written"),
        ("exchanged", lambda boxes, sizes: boxes[:, [1, 0, 3, 2]], "of the images swapped"),
        ("centre", lambda boxes, sizes: moved(boxes, 0.5), "centres cx, cy that were written"),
        ("corner", lambda boxes, sizes: moved(boxes, -0.5), "upper left corners x, y that were"),
        ("corners_for_centre", lambda boxes, sizes: corners_as_centre(boxes), "corners x0, y0, x1"),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_numbers_of_another_kind_are_named_and_mended(kind, spoil, said, seed):
    boxes, sizes = natural(200, (500, 375), seed, scale=0.9)
    reading = read(spoil(boxes, sizes), sizes)
    assert reading is not None, said
    assert (reading.kind, reading.certain) == (kind, True)
    np.testing.assert_allclose(reading.boxes, boxes, atol=1e-9)
    first = int(np.argmax(reading.is_so))
    finding = reading.finding("boxes", lambda row: f"box {row}")
    assert f"{reading.is_so.sum()} of 200 boxes" in finding.message
    assert f"such as box {first}" in finding.message
    assert said in finding.message


@pytest.mark.parametrize("size", [(500, 375), (64, 64), (200, 200), (320, 320), (1920, 1080)])
@pytest.mark.parametrize("number", [1, 3, 10, 100, 1000])
@pytest.mark.parametrize("scale", [0.05, 0.3, 1.0])
def test_natural_boxes_are_nothing_else(size, number, scale):
    for seed in range(5):
        reading = read(*natural(number, size, seed, scale))
        assert reading is None or not reading.certain


def test_boxes_of_mixed_sizes_in_a_copy_and_as_they_should_be():
    rng = np.random.default_rng(0)
    sizes = rng.integers(260, 900, (300, 2)).astype(np.float64)
    boxes, _ = natural(300, sizes)
    assert read(boxes, sizes) is None
    reading = read(in_copy(boxes, sizes, 224), sizes)
    assert (reading.kind, reading.certain) == ("copy", True)


def test_what_few_images_may_be_by_chance_is_not_certain():
    boxes = np.array([[10, 10, 200, 200], [100, 20, 224, 220], [0, 100, 180, 224]], dtype=float)
    reading = read(boxes, np.tile([[500, 400]], (3, 1)))
    assert (reading.kind, reading.certain) == ("copy", False)


@pytest.mark.parametrize(
    "boxes",
    [
        np.tile([0, 0, 500, 375], (50, 1)),  # the whole image
        np.tile([-3, -2, 507, 380], (50, 1)),  # and a little more, all around
        np.tile([0, 0, 0, 0], (50, 1)),  # nothing
        np.tile([10, 10, 110, 110], (50, 1)),  # always the same, and not in a copy's middle
        np.tile([499, 374, 500, 375], (50, 1)),  # a pixel
        np.tile([300, 200, 700, 500], (50, 1)),  # far beyond the lower right
        np.tile([0, 0, 5000, 5000], (50, 1)),
    ],
)
def test_a_bad_detectors_boxes_are_nothing_else(boxes):
    reading = read(boxes.astype(np.float64), np.tile([[500, 375]], (50, 1)))
    assert reading is None or not reading.certain


def test_a_file_partly_of_fractions_and_boxes_without_area():
    boxes, sizes = natural(100, (500, 375))
    boxes[:60] = in_copy(boxes, sizes, 1)[:60]
    reading = read(boxes, sizes)
    assert (reading.kind, int(reading.is_so.sum())) == ("fractions", 60)
    np.testing.assert_allclose(reading.boxes, natural(100, (500, 375))[0])
    nothing = np.zeros((400, 4))
    both = read(np.concatenate([boxes, nothing]), np.tile([[500, 375]], (500, 1)))
    assert (both.kind, int(both.is_so.sum())) == ("fractions", 60)
    assert len(both.boxes) == 500


@pytest.mark.parametrize("number", [5, 10, 100])
def test_a_small_part_of_fractions_is_named_where_it_differs(number):
    boxes, sizes = natural(500, (500, 375))
    mixed = boxes.copy()
    mixed[:number] = in_copy(boxes, sizes, 1)[:number]
    reading = read(mixed, sizes)
    assert (reading.kind, reading.certain, int(reading.is_so.sum())) == ("fractions", True, number)
    np.testing.assert_allclose(reading.boxes, boxes)


@pytest.mark.parametrize("tiny", [[0, 0, 1, 1], [0, 0, 0.5, 0.5]])
def test_boxes_of_a_pixel_that_are_always_the_same_are_no_fractions(tiny):
    boxes, sizes = natural(500, (500, 375))
    boxes[:50] = tiny  # how a method of masks says that it saw nothing
    assert read(boxes, sizes) is None


def test_images_of_unknown_size_tell_nothing_and_no_box_is_no_pattern():
    boxes, sizes = natural(100, (500, 375))
    assert read(in_copy(boxes, sizes, 1), np.zeros((100, 2))) is None
    assert read(np.zeros((0, 4)), np.zeros((0, 2))) is None


def test_many_boxes_are_judged_by_some_and_counted_whole(monkeypatch):
    boxes, sizes = natural(3000, (500, 375))
    monkeypatch.setattr(plausibility, "ENOUGH", 100)
    assert read(boxes, sizes) is None
    reading = read(in_copy(boxes, sizes, 1), sizes)
    assert reading.is_so.sum() == 3000


def test_outside_by_more_than_the_tolerance():
    boxes = np.array([[0, 0, 11, 10], [0, 0, 11.5, 10], [-1, 0, 5, 5], [0, -2, 5, 5]], dtype=float)
    assert outside(boxes, np.full((4, 2), 10.0)).tolist() == [False, True, False, True]


@pytest.mark.parametrize(
    ("box", "size", "said"),
    [
        ([210, 30, 290, 170], (200, 300), "width and height of the images swapped"),
        ([60, 50, 160, 130], (120, 90), "corners x1, y1 that were written"),
        ([60, 45, 120, 80], (100, 75), "centres cx, cy that were written"),
        ([-20, -10, 40, 50], (120, 90), "upper left corners x, y that were written"),
        ([300, 200, 400, 300], (224, 224), "224 x 224 pixels: are the sizes of a resized copy"),
        ([300, 200, 700, 700], (400, 300), "of another copy of the images"),
    ],
)
def test_the_probable_cause_of_boxes_outside(box, size, said):
    assert said in why_outside(np.array([box] * 5, float), np.array([size] * 5, float))
    assert "slips" in why_outside(np.array([box], float), np.array([size], float))


def test_copies_are_those_that_repeat_an_earlier_box_of_their_image():
    table = BoxTable.from_lists([[[0, 0, 1, 1], [0, 0, 2, 2], [0, 0, 1, 1]], [[0, 0, 1, 1]], []])
    assert repeated(table).tolist() == [2]
    assert len(repeated(BoxTable.empty(3))) == 0


def test_only_what_is_certain_is_refused_and_a_count_is_said(caplog):
    sure, unsure = Finding("a", 1, "so"), Finding("b", 1, "perhaps", certain=False)
    logger = logging.getLogger("wend.test")
    plausibility.report([unsure], "FILE", None, logger)
    assert "FILE: perhaps" in caplog.text
    with pytest.raises(InputError, match=r"^FILE: so\. To go on .*--implausible count"):
        plausibility.report([unsure, sure], "FILE", "error", logger)
    plausibility.report([sure], "FILE", "count", logger)
    assert "FILE: so" in caplog.text
    with pytest.raises(InputError, match="expected one of error, count, got 'warn'"):
        plausibility.report([], "FILE", "warn", logger)
