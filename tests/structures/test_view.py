"""Views: boxes go into their frames and come back; padding is nobody's."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wend.errors import InputError
from wend.structures.frame import Part, fit_and_crop, fitted_part
from wend.structures.view import VIEWS, View, describe_view

SIDES = st.integers(1, 5000)


@st.composite
def frames(draw):
    """A view's frame, with the size of its image."""
    view = View(draw(st.sampled_from(VIEWS)), crop=draw(st.integers(1, 256)))
    width, height = draw(SIDES), draw(SIDES)
    side = draw(st.sampled_from([view.crop, view.test_side]))
    corner = st.integers(0, view.resize - side)
    flips = {name: draw(st.booleans()) for name in ("flip", "upside_down")}
    return view.frame(width, height, side, draw(corner), draw(corner), **flips), (width, height)


@given(frames(), st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_a_box_in_the_image_comes_back(frame_and_size, fractions):
    frame, (width, height) = frame_and_size
    x, y = np.sort(np.multiply(fractions[:2], width)), np.sort(np.multiply(fractions[2:], height))
    box = np.array([[x[0], y[0], x[1], y[1]]])
    np.testing.assert_allclose(frame.to_original(frame.to_frame(box)), box, atol=1e-8)
    tensor = torch.from_numpy(box)
    np.testing.assert_array_equal(frame.to_frame(tensor).numpy(), frame.to_frame(box))


@given(frames())
def test_the_image_in_a_frame_is_what_a_box_around_everything_is_cut_to(frame_and_size):
    frame, (width, height) = frame_and_size
    everything = np.array([[-1e4, -1e4, 1e4, 1e4]])
    corners = frame.clip(frame.to_frame(np.array([[0.0, 0, width, height]])))
    assert (corners[:, :2] <= corners[:, 2:]).all()
    np.testing.assert_allclose(frame.clip(everything), corners, atol=1e-8)
    if frame.image is not None:
        back = frame.to_original(everything)
        np.testing.assert_array_equal(back, [[0, 0, width, height]])  # to the last bit


def test_a_wide_image_lies_between_two_bars():
    """100 x 50 fits 64 with 0.64: 64 x 32, 16 = (64 - 32) / 2 above it; the crop starts at 4, 4."""
    assert fitted_part(100, 50, 64) == Part(0, 16, 64, 32)
    frame = fit_and_crop(100, 50, 64, 56)
    boxes = np.array([[0.0, 0, 100, 50], [50, 25, 75, 50]])
    np.testing.assert_allclose(frame.to_frame(boxes), [[-4, 12, 60, 44], [28, 28, 44, 44]])
    np.testing.assert_allclose(frame.clip(frame.to_frame(boxes[:1])), [[0, 12, 56, 44]])
    # mirrored in the 56 pixels, and upside down: the bars are 12 high above and below, alike
    turned = fit_and_crop(100, 50, 64, 56, left=0, top=8, flip=True, upside_down=True)
    np.testing.assert_allclose(turned.to_frame(boxes[1:]), [[56 - 48, 56 - 40, 56 - 32, 56 - 24]])
    np.testing.assert_allclose(turned.clip(np.array([[-9.0, -9, 99, 99]])), [[0, 16, 56, 48]])


def test_a_box_in_the_padding_has_no_area_in_the_image():
    frame = View("pad", 64, 56).test_frame(100, 50)
    boxes = np.array([[0.0, 0, 64, 16], [0, 50, 64, 64], [0, 10, 10, 26]])
    original = frame.to_original(boxes)
    assert (original[:, 2:] > original[:, :2]).all(1).tolist() == [False, False, True]
    np.testing.assert_allclose(original[2], [0, 0, 10 / 0.64, 10 / 0.64])


@pytest.mark.parametrize(
    ("size", "part"),
    [
        ((10, 1000), Part(126, 0, 3, 256)),  # 2.56 -> 3; (256 - 3) // 2
        ((1000, 10), Part(0, 126, 256, 3)),
        ((1, 1), Part(0, 0, 256, 256)),
        ((1, 100000), Part(127, 0, 1, 256)),  # at least a pixel
        ((257, 256), Part(0, 0, 256, 255)),
    ],
)
def test_extreme_shapes_keep_at_least_a_pixel(size, part):
    assert fitted_part(*size, 256) == part
    frame = View("pad").test_frame(*size)
    image = np.array([[0.0, 0, *size]])
    x0, y0, x1, y1 = frame.to_frame(image)[0]
    np.testing.assert_allclose([x0, y0, x1 - x0, y1 - y0], part)
    np.testing.assert_allclose(frame.to_original(frame.to_frame(image)), image)


def test_only_the_papers_view_is_tested_on_its_crop():
    assert [View(kind).test_side for kind in VIEWS] == [224, 256, 256]
    assert View().test_frame(512, 128) == View().frame(512, 128, 224, 16, 16)


@pytest.mark.parametrize(
    ("view", "line"),
    [
        (View(), "crop224-of-256: the centre 224x224 of images squashed to 256x256"),
        (View("squash", 128, 112), "squash128: whole images squashed to 128x128"),
        (View("pad"), "pad256: whole images, their aspect kept, padded to 256x256"),
    ],
)
def test_a_views_name_says_what_it_is(view, line):
    assert describe_view(view.name) == line


@pytest.mark.parametrize("name", ["pad", "crop224", "squash", "Pad256", "", "pad256 "])
def test_another_name_is_refused(name):
    with pytest.raises(InputError, match="expected cropN-of-M, squashN or padN"):
        describe_view(name)


def test_another_kind_is_refused():
    with pytest.raises(ValueError, match="expected one of crop, squash, pad, got 'letterbox'"):
        View("letterbox")
