"""Choosing among boxes, against torchvision's suppression, image by image."""

import importlib

import pytest
import torch
import torchvision

from wend.modeling.layers import box_selection
from wend.modeling.layers.box_selection import (
    best,
    clip_to,
    float32_threshold,
    not_suppressed,
    packed,
    take,
)


def boxes_of(count, images, whole, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(images, count, 2, generator=generator) * 60
    size = torch.rand(images, count, 2, generator=generator) * 40
    boxes = torch.cat([corner, corner + size], -1)
    return boxes.round() if whole else boxes


BLOCKS = {"cpu": box_selection.ON_CPU, "gpu": box_selection.ON_GPU, "one image": (7, 1, 1)}


@pytest.mark.parametrize("blocks", BLOCKS)
@pytest.mark.parametrize("whole", [True, False], ids=["whole numbers", "fractions"])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.6, 1.0])
def test_suppression_keeps_what_torchvision_keeps(threshold, whole, blocks, monkeypatch):
    monkeypatch.setattr(box_selection, "ON_CPU", BLOCKS[blocks])
    boxes = boxes_of(200, 3, whole)
    valid = torch.rand(3, 200, generator=torch.Generator().manual_seed(1)) > 0.2
    kept = not_suppressed(boxes, valid, threshold)
    for image in range(3):
        order = torch.arange(200, 0, -1.0)[valid[image]]
        chosen = torchvision.ops.nms(boxes[image][valid[image]], order, threshold)
        expected = torch.zeros(200, dtype=torch.bool)
        expected[valid[image].nonzero()[chosen, 0]] = True
        assert torch.equal(kept[image], expected)


def test_the_loop_in_a_graph_suppresses_alike(monkeypatch):
    """What exported files run; in Python here, since writing it takes seconds (marker slow)."""

    def in_python(another, body, carried):
        while another(*carried):
            carried = body(*carried)
        return carried

    module = importlib.import_module("torch._higher_order_ops.while_loop")
    monkeypatch.setattr(module, "while_loop", in_python)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True, raising=False)
    test_suppression_keeps_what_torchvision_keeps(0.3, False, "cpu", monkeypatch)


def test_groups_do_not_suppress_each_other():
    boxes = torch.tensor([[[0.0, 0.0, 10.0, 10.0]] * 4])
    kept = not_suppressed(
        boxes, torch.ones(1, 4, dtype=torch.bool), 0.5, torch.tensor([[0, 1, 0, 1]])
    )
    assert kept.tolist() == [[True, True, False, False]]


def test_the_best_that_are_asked_for_are_kept_and_no_others():
    boxes = boxes_of(300, 4, whole=True)
    valid = torch.rand(4, 300, generator=torch.Generator().manual_seed(1)) > 0.2
    valid[3, 20:] = False  # fewer than are asked for
    kept = not_suppressed(boxes, valid, 0.3)
    some = not_suppressed(boxes, valid, 0.3, most=40)
    first = kept & (kept.cumsum(1) <= 40)
    assert torch.equal(some & first, first)
    assert torch.equal(some & kept, some)
    assert not_suppressed(boxes, valid, 0.3, most=10).sum() < kept.sum()


@pytest.mark.parametrize(("images", "count"), [(0, 5), (3, 0)])
def test_no_images_and_no_boxes_keep_none(images, count):
    shape = (images, count)
    valid = torch.ones(shape, dtype=torch.bool)
    assert not_suppressed(torch.zeros(*shape, 4), valid, 0.5).shape == shape


def test_a_suppressed_box_suppresses_nothing():
    # IoU 8/12 with the next, 6/14 with the one after: the second falls, so the third stays
    boxes = torch.tensor([[[0.0, 0.0, 10.0, 1.0], [2.0, 0.0, 12.0, 1.0], [4.0, 0.0, 14.0, 1.0]]])
    assert not_suppressed(boxes, torch.ones(1, 3, dtype=torch.bool), 0.5).tolist() == [
        [True, False, True]
    ]


def test_an_iou_at_the_threshold_is_compared_as_in_double_precision():
    # 3/5 in float32 is above 0.6, and 1/2 is not above 0.5
    assert torch.tensor(3.0) / torch.tensor(5.0) > float32_threshold(0.6)
    assert float32_threshold(0.5) == 0.5
    assert float32_threshold(0.6) < 0.6


def test_the_best_and_their_rows():
    scores = torch.tensor([[0.1, 0.9, 0.5], [0.3, 0.2, 0.4]])
    values, index = best(scores, 2)
    assert index.tolist() == [[1, 2], [2, 0]]
    assert torch.equal(take(scores, index), values)
    assert best(scores, 7)[0].shape == (2, 3)


def test_kept_rows_move_to_the_front():
    kept = torch.tensor([[False, True, True, True], [False, False, True, False]])
    rows = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])
    values, pairs = packed(kept, 2, rows, torch.stack([rows, -rows], -1))
    assert values.tolist() == [[2.0, 3.0], [7.0, 0.0]]
    assert pairs[1].tolist() == [[7.0, -7.0], [0.0, 0.0]]


def test_boxes_are_cut_to_the_image():
    cut = clip_to(torch.tensor([[-1.0, -2.0, 50.0, 60.0]]), 30, 40)
    assert cut.tolist() == [[0.0, 0.0, 40.0, 30.0]]
