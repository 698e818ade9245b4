"""The closer look at an image's best box, by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from wend.loading.closer_look import average_best, closer_views, look_closer
from wend.structures.box_table import BoxTable
from wend.structures.frame import resize_and_crop

SIDE = 40
FRAME = resize_and_crop(80, 20, SIDE, SIDE)  # half as wide, twice as high


def ramp() -> torch.Tensor:
    """(3, 40, 40): the red value is the column, the green one the row."""
    line = torch.arange(SIDE, dtype=torch.uint8)
    columns = line.expand(SIDE, SIDE)
    return torch.stack([columns, columns.T, torch.zeros_like(columns)])


def closer_view(image, frame, box, factor):
    (view,), (its_frame,) = closer_views(image[None], [frame], np.array(box)[None], factor)
    return view, its_frame


def test_the_view_is_the_part_around_the_box_enlarged():
    # original 20..40 x 5..10 is 10..20 x 10..20 of the input; twice that, around 15: 5..25
    view, frame = closer_view(ramp(), FRAME, np.array([20.0, 5, 40, 10]), 2.0)
    assert view.shape == (3, SIDE, SIDE)
    assert view.dtype == torch.uint8
    # an enlargement by 2: cells 0, 1, 2, ... lie at 5 + 0.25 - 0.5, + 0.75 - 0.5, ...
    expected = (5 + (torch.arange(SIDE) + 0.5) / 2 - 0.5).clamp(5, 24).round()
    assert torch.equal(view[0, 7].float(), expected)
    assert torch.equal(view[1, :, 7].float(), expected)
    # the box is 5..15 of the part's 20 pixels, so 10..30 of the view's 40
    np.testing.assert_allclose(frame.to_frame(np.array([20.0, 5, 40, 10])), [10, 10, 30, 30])
    np.testing.assert_allclose(
        frame.to_original(np.array([0.0, 0, SIDE, SIDE])), [10, 2.5, 50, 12.5]
    )


def test_the_part_ends_at_the_inputs_border_and_is_not_smaller_than_a_share_of_it():
    whole = np.array([0.0, 0, 80, 20])
    view, frame = closer_view(ramp(), FRAME, whole, 1.5)
    assert torch.equal(view, ramp())
    np.testing.assert_array_equal(frame.to_frame(whole), [0, 0, SIDE, SIDE])
    tiny = np.array([40.0, 10, 42, 10.5])  # 20..21 x 20..21 of the input: 0.3 of 40 around 20.5
    _, frame = closer_view(ramp(), FRAME, tiny, 1.5)
    np.testing.assert_allclose(frame.to_original(np.array([0.0, 0, SIDE, SIDE])), [28, 7, 54, 13.5])
    outside = np.array([200.0, 50, 201, 51])  # a detector may predict it
    assert closer_view(ramp(), FRAME, outside, 1.5)[0].shape == (3, SIDE, SIDE)


@pytest.mark.parametrize("box", [[20.0, 5, 40, 10], [62.0, 3, 79, 18], [0.0, 0, 80, 20]])
def test_the_part_of_a_mirrored_image_is_the_part_mirrored(box):
    image = 6 * ramp()  # so that a column beside it is 6 levels off
    view, frame = closer_view(image, FRAME, np.array(box), 1.5)
    mirrored = resize_and_crop(80, 20, SIDE, SIDE, flip=True)
    other, its_frame = closer_view(image.flip(2), mirrored, np.array(box), 1.5)
    assert (other.int() - view.flip(2).int()).abs().max() <= 1  # halves round to either side
    x0, y0, x1, y1 = frame.to_frame(np.array(box))
    np.testing.assert_allclose(its_frame.to_frame(np.array(box)), [SIDE - x1, y0, SIDE - x0, y1])


def _table(*images):
    boxes, scores = zip(*images, strict=True)
    table = BoxTable.from_arrays([np.array(each, float).reshape(-1, 4) for each in boxes])
    return replace(table, scores=np.concatenate([np.array(each, float) for each in scores]))


def test_views_of_a_batch_are_those_of_each_image():
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 3, SIDE, SIDE), generator=draw, dtype=torch.uint8)
    corners = np.random.default_rng(0).uniform(-10, 60, (6, 2))
    boxes = np.concatenate([corners, corners + np.array([30, 8])], axis=1)
    frames = [resize_and_crop(80, 20 + i, SIDE, SIDE, flip=i % 2 == 1) for i in range(6)]
    views, ways = closer_views(images, frames, boxes, 1.5)
    for view, way, *rest in zip(views, ways, images, frames, boxes, strict=True):
        alone, its_way = closer_view(*rest, 1.5)
        assert torch.equal(view, alone)
        assert way == its_way


def test_only_the_best_box_moves_to_the_mean_of_both_looks():
    nothing = [], []
    few = [[0, 0, 10, 10], [20, 20, 40, 40], [1, 1, 2, 2]], [0.2, 0.9, 0.9]
    far = _table(nothing, few, few)
    close = _table(([[22, 24, 38, 30], [0, 0, 1, 1]], [0.3, 0.1]), nothing)
    moved = average_best(far, close, [1, 2])
    assert moved[1].tolist() == [[0, 0, 10, 10], [21, 22, 39, 35], [1, 1, 2, 2]]
    assert moved[2].tolist() == few[0]
    assert far[1].tolist() == few[0]  # the first look's own are not changed
    assert average_best(far, _table(nothing, nothing), [1, 2]).boxes.tolist() == far.boxes.tolist()


@pytest.mark.parametrize("factor", [0.0, 2.0])
def test_images_without_a_box_are_looked_at_once(factor):
    looks = []

    def predict(images, frames):
        looks.append(len(images))
        first = _table(([], []), ([[20, 5, 40, 10]], [1]))
        return first if len(looks) == 1 else _table(([[24, 5, 40, 10]], [1]))

    table = look_closer(predict, torch.stack([ramp()] * 2), [FRAME] * 2, factor)
    assert looks == ([2, 1] if factor else [2])
    assert table.counts.tolist() == [0, 1]
    assert table[1].tolist() == [[22.0 if factor else 20.0, 5, 40, 10]]
    assert table.scores.tolist() == [1]
