"""wend.modeling.rcnn.matching against torchvision's matcher, and box by box in plain Python."""

import pytest
import torch
import torchvision
from torchvision.models.detection._utils import Matcher

from wend.losses.padded_boxes import PaddedBoxes
from wend.modeling.rcnn import matching
from wend.modeling.rcnn.matching import match


def boxes_of(*shape, seed=0, whole=False):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(*shape, 2, generator=generator) * 60
    boxes = torch.cat([corner, corner + torch.rand(*shape, 2, generator=generator) * 40], -1)
    return boxes.round() if whole else boxes


def torchvisions(truth, boxes, thresholds, low_quality):
    """Index and labels of an image, as torchvision's RPN makes them."""
    if not len(truth):
        return torch.zeros(len(boxes), dtype=torch.int64), torch.zeros(len(boxes))
    iou = torchvision.ops.box_iou(truth, boxes)
    matched = Matcher(thresholds[1], thresholds[0], low_quality)(iou)
    labels = (matched >= 0).long()
    labels[matched == Matcher.BETWEEN_THRESHOLDS] = -1
    return iou.max(0).indices, labels


@pytest.mark.parametrize("low_quality", [True, False], ids=["low quality", "thresholds only"])
@pytest.mark.parametrize("whole", [True, False], ids=["whole numbers", "fractions"])
@pytest.mark.parametrize("shared", [True, False], ids=["anchors", "proposals"])
@pytest.mark.parametrize("at_once", [1, 2**24], ids=["image by image", "at once"])
def test_labels_are_torchvisions(low_quality, whole, shared, at_once, monkeypatch):
    monkeypatch.setattr(matching, "PAIRS_AT_ONCE", at_once)
    boxes = boxes_of(*(() if shared else (5,)), 300, whole=whole)
    far = torch.tensor([[500.0, 500.0, 510.0, 510.0]])  # overlaps nothing: ties of IoU 0
    truth = [
        *(boxes_of(count, seed=count, whole=whole) for count in (1, 0, 30)),
        torch.cat([boxes_of(1, whole=whole), boxes_of(1, whole=whole)]),  # the same box twice
        torch.cat([far, boxes_of(2, whole=whole)]),
    ]
    index, labels = match(
        PaddedBoxes.of(truth),
        boxes,
        thresholds=[0.3, 0.6],
        labels=[0, -1, 1],
        low_quality=low_quality,
    )
    for image, own in enumerate(truth):
        expected = torchvisions(own, boxes if shared else boxes[image], (0.3, 0.6), low_quality)
        assert torch.equal(index[image], expected[0])
        assert labels[image].tolist() == expected[1].tolist()


@pytest.mark.parametrize("counts", [(0, 0), (0, 2)])
def test_an_image_without_boxes_has_the_first_label(counts):
    truth = PaddedBoxes.of([boxes_of(count) for count in counts])
    index, labels = match(truth, boxes_of(9), thresholds=[0.3], labels=[-1, 1], low_quality=True)
    assert labels[0].tolist() == [-1] * 9
    assert index[0].tolist() == [0] * 9


def test_no_proposals_have_no_labels():
    truth = PaddedBoxes.of([boxes_of(2)])
    matched = match(truth, torch.zeros(1, 0, 4), thresholds=[0.5], labels=[0, 1], low_quality=True)
    assert [each.shape for each in matched] == [(1, 0), (1, 0)]
