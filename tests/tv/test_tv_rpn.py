"""BatchedRPN against torchvision's RPN with the same weights: losses and proposals."""

import pytest
import torch
from region_proposals import (
    LEVELS,
    SIZES,
    anchor_sides,
    boxes_to_learn,
    features_of,
    with_spread_outputs,
)
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead

from wend.losses.padded_boxes import PaddedBoxes
from wend.tv.detector import StrideAnchors
from wend.tv.rpn import BatchedRPN

SETTINGS = {
    "fg_iou_thresh": 0.7,
    "bg_iou_thresh": 0.3,
    "batch_size_per_image": 100_000,  # all, so that none is drawn
    "positive_fraction": 0.5,
    "nms_thresh": 0.7,
    "pre_nms_top_n": {"training": 400, "testing": 300},
    "post_nms_top_n": {"training": 200, "testing": 50},
}
pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid")


def rpns(strides, **changes):
    """Torchvision's RPN and ours, with the same weights, in training."""
    anchors = StrideAnchors(
        tuple(map(tuple, anchor_sides(strides))),
        ((0.5, 1.0, 2.0),) * len(strides),
        strides,
    )
    torch.manual_seed(0)
    head = RPNHead(8, 6)
    with_spread_outputs([head.cls_logits, head.bbox_pred])
    arguments = {"anchor_generator": anchors, "head": head, **SETTINGS, **changes}
    return [kind(**arguments) for kind in (RegionProposalNetwork, BatchedRPN)]


def batch_of(strides):
    """Images of different sizes, their feature maps and their boxes."""
    images = ImageList(torch.zeros(len(SIZES), 3, 96, 128), [*SIZES])
    return images, features_of(strides), [{"boxes": boxes} for boxes in boxes_to_learn()]


def assert_same_proposals(ours, theirs):
    assert ours.counts() == [len(boxes) for boxes in theirs]
    for boxes, count, other in zip(ours.boxes, ours.counts(), theirs, strict=True):
        assert torch.equal(boxes[:count], other)
        assert not boxes[count:].any()


@pytest.mark.parametrize("levels", LEVELS)
def test_losses_gradients_and_proposals_are_torchvisions(levels):
    strides = LEVELS[levels]
    gradients, outputs = [], []
    for rpn in rpns(strides):
        proposals, losses = rpn(*batch_of(strides))
        rpn.zero_grad()
        sum(losses.values()).backward()
        gradients.append([each.grad.clone() for each in rpn.parameters()])
        outputs.append((proposals, losses))
    (theirs, expected), (ours, losses) = outputs
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        assert value > 0
        torch.testing.assert_close(losses[name], value, rtol=1e-6, atol=0)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-7)
    assert_same_proposals(ours, theirs)


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"nms_thresh": 0.3, "score_thresh": 0.6},
        {"pre_nms_top_n": {"training": 1, "testing": 2000}},
    ],
    ids=["defaults", "score threshold", "all anchors"],
)
def test_proposals_in_evaluation_are_torchvisions_to_the_bit(levels, changes):
    strides = LEVELS[levels]
    images, features, _ = batch_of(strides)
    theirs, ours = (rpn.eval()(images, features)[0] for rpn in rpns(strides, **changes))
    assert_same_proposals(ours, theirs)


def test_equal_scores_and_predictions_that_are_not_finite():
    strides = LEVELS["pyramid"]
    images, features, _ = batch_of(strides)
    features["p16"][3, :, 2, 2] = float("nan")
    features["p32"][0, :, 1, 1] = float("inf")
    theirs, ours = rpns(strides)
    torch.nn.init.constant_(ours.head.cls_logits.bias, 40.0)  # whose sigmoid is 1
    theirs, ours = (rpn.eval()(images, features)[0] for rpn in (theirs, ours))
    assert_same_proposals(ours, theirs)


def test_as_many_are_drawn_as_torchvision_draws():
    (stock, ours), (images, features, targets) = rpns([16], batch_size_per_image=24), batch_of([16])
    drawn = []
    sampler = stock.fg_bg_sampler

    def counted(labels):
        positive, negative = sampler(labels)
        drawn.append(int(sum(each.sum() for each in (*positive, *negative))))
        return positive, negative

    stock.fg_bg_sampler = counted
    stock(images, features, targets)
    ours(images, features, PaddedBoxes.of([target["boxes"] for target in targets]))
    assert int(ours.drawn) == drawn[0]
