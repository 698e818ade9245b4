"""Frames of boxes by name."""

import pytest

from wend.errors import InputError
from wend.structures.frame import BoxFrame, parse_box_frame


@pytest.mark.parametrize(
    ("name", "resize", "crop"),
    [
        ("fractions", 1, 1),
        ("squash224", 224, 224),
        ("crop224", 256, 224),
        ("squash512", 512, 512),
        ("crop448-of-480", 480, 448),
    ],
)
def test_a_frame_has_a_name_that_is_read_back(name, resize, crop):
    frame = parse_box_frame(name)
    assert frame == BoxFrame(resize, crop)
    assert frame.name == name


def test_original_pixels_are_no_frame_and_two_names_of_a_frame_are_the_same():
    assert parse_box_frame("original") is None
    assert parse_box_frame("crop224-of-256") == parse_box_frame("crop224")
    assert parse_box_frame("squash1").name == "fractions"


@pytest.mark.parametrize(
    "name", ["", "224", "squash", "squash0", "crop224-of", "Squash224", "crop448", "squash-3"]
)
def test_another_name_lists_those_that_exist(name):
    with pytest.raises(InputError, match=r"there are: original, fractions, squash224, crop224, sq"):
        parse_box_frame(name)


def test_a_crop_is_no_larger_than_the_image():
    with pytest.raises(InputError, match="a crop of 512 does not fit in 480"):
        parse_box_frame("crop512-of-480")
