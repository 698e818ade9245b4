"""DropLoss and ignore regions on boxes whose overlaps are derived by hand."""

import pytest
import torch

from wend.errors import InputError
from wend.losses import ImagesContext, LossContext
from wend.losses.drop_loss import drop_loss
from wend.losses.ignore_regions import ignore_regions
from wend.losses.overlaps import overlaps

# Image 0 has one box, image 1 two, image 2 none
BOXES = [
    torch.tensor([[10.0, 10.0, 30.0, 30.0]]),
    torch.tensor([[0.0, 0.0, 20.0, 20.0], [40.0, 40.0, 60.0, 60.0]]),
    torch.zeros(0, 4),
]
SCORES = [torch.tensor([0.4]), torch.tensor([0.9, 0.2]), torch.zeros(0)]


def context(samples, **more):
    """Of rows (image, label, box): x0, y0, x1, y1; optionally the index of the sample's box."""
    index, labels, boxes = zip(*samples, strict=True) if samples else ((), (), ())
    arguments = {
        "logits": torch.zeros(len(samples), requires_grad=True),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "image_index": torch.tensor(index, dtype=torch.int64),
        "sample_boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "images": ImagesContext(image_ids=(7, 8, 9), boxes=BOXES, scores=SCORES),
    }
    return LossContext(**{**arguments, **more})


NEAR = (0, 0, (20, 20, 40, 40))  # shares 10 · 10 of 400 + 400 - 100: IoU 1/7
FAR = (0, 0, (60, 60, 70, 70))
OTHER = (1, 0, (10, 10, 30, 30))  # image 0's box; shares 100 of 700 with image 1's first
LONELY = (2, 0, (10, 10, 30, 30))


def test_overlaps_have_hand_values_of_the_samples_own_image():
    shared = overlaps(context([NEAR, FAR, OTHER, LONELY]), "it")
    expected = [[1 / 7, 0], [0, 0], [1 / 7, 0], [0, 0]]
    torch.testing.assert_close(shared.iou(), torch.tensor(expected))
    torch.testing.assert_close(
        shared.of_sample(), torch.tensor([[0.25, 0], [0, 0], [0.25, 0], [0, 0]])
    )
    # twice as wide and high: image 0's box is 0, 0, 40, 40 and holds the whole sample
    grown = overlaps(context([NEAR]), "it", grow=2.0)
    assert grown.of_sample()[0, 0] == 1
    assert grown.box[0, 0] == 1600


def test_overlaps_of_boxes_without_area_are_no_nan():
    point = context([(0, 0, (12, 12, 12, 12))])
    assert overlaps(point, "it").iou().tolist() == [[0, 0]]
    assert overlaps(point, "it").of_sample().tolist() == [[0, 0]]


def test_drop_loss_drops_background_that_no_box_of_its_image_is_near():
    weights = drop_loss(context([NEAR, FAR, OTHER, LONELY]))
    assert weights.tolist() == [1, 0, 1, 0]
    assert not weights.requires_grad


def test_drop_loss_drops_at_the_threshold_as_cutler_does():
    # `iou_max.le(threshold)`: an IoU of the threshold itself is dropped
    sample = context([(0, 0, (10, 20, 30, 30))])  # half of the box: IoU 1/2
    assert drop_loss(sample, iou=0.5).tolist() == [0]
    assert drop_loss(sample, iou=0.499).tolist() == [1]


def test_drop_loss_keeps_assigned_samples_wherever_their_box_is():
    assert drop_loss(context([(0, 1, (60, 60, 70, 70))])).tolist() == [1]


def test_an_uncertain_box_teaches_neither_its_positives_nor_the_background_inside():
    samples = [
        (0, 1, (10, 10, 30, 30)),  # for image 0's box, which is uncertain
        (0, 0, (12, 12, 20, 20)),  # background inside of it
        (0, 0, (60, 60, 70, 70)),  # background elsewhere
        (1, 1, (0, 0, 20, 20)),  # for image 1's first box, which is certain
        (1, 0, (2, 2, 10, 10)),  # background inside of it
        (1, 1, (40, 40, 60, 60)),  # for image 1's second, which is uncertain
        (1, 0, (45, 45, 50, 50)),
        (2, 0, (12, 12, 20, 20)),
    ]
    index = torch.tensor([0, -1, -1, 0, -1, 1, -1, -1])
    weights = ignore_regions(context(samples, box_index=index), min_score=0.5)
    assert weights.tolist() == [0, 0, 1, 1, 1, 0, 0, 1]
    assert not weights.requires_grad
    # grown to nothing: no background is inside, the positives are left out all the same
    positives = ignore_regions(context(samples, box_index=index), grow=0.0)
    assert positives.tolist() == [0, 1, 1, 1, 1, 0, 1, 1]
    all_certain = ignore_regions(context(samples, box_index=index), min_score=0.2)
    assert all_certain.tolist() == [1, 1, 1, 1, 1, 1, 1, 1]


def test_background_is_inside_by_the_share_of_its_own_box_in_the_grown_box():
    # x 24..36 of image 0's box 10..30: half of 12 pixels; grown by 1.2 to 8..32: 8 of 12
    sample = context([(0, 0, (24, 10, 36, 30))], box_index=torch.tensor([-1]))
    assert ignore_regions(sample, grow=1.0, overlap=0.5).tolist() == [1]
    assert ignore_regions(sample, grow=1.0, overlap=0.49).tolist() == [0]
    assert ignore_regions(sample, grow=1.2, overlap=0.66).tolist() == [0]
    assert ignore_regions(sample, grow=1.2, overlap=0.67).tolist() == [1]
    assert ignore_regions(sample, grow=0.0).tolist() == [1]


@pytest.mark.parametrize("weights", [drop_loss, ignore_regions], ids=["drop", "ignore"])
def test_no_samples_and_no_boxes_have_weights_of_their_shape(weights):
    nothing = context([], box_index=torch.zeros(0, dtype=torch.int64))
    assert weights(nothing).shape == (0,)
    without = ImagesContext(boxes=[torch.zeros(0, 4)] * 3, scores=[torch.zeros(0)] * 3)
    alone = context([FAR], images=without, box_index=torch.tensor([-1]))
    assert weights(alone).shape == (1,)


@pytest.mark.parametrize("weights", [drop_loss, ignore_regions], ids=["drop", "ignore"])
def test_a_detector_without_boxes_of_its_samples_is_told(weights):
    with pytest.raises(InputError, match="does not say which boxes its samples have"):
        weights(context([FAR], sample_boxes=None, box_index=torch.tensor([-1])))
