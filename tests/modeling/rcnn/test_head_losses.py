"""wend.modeling.rcnn.head_losses: those of torchvision, on samples of any kind, and none at all."""

from functools import partial

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.roi_heads import fastrcnn_loss
from torchvision.ops import box_iou, generalized_box_iou_loss

from wend.modeling.rcnn.box_deltas import encoded
from wend.modeling.rcnn.head_losses import (
    accuracy_counts,
    class_cross_entropy,
    class_sigmoid_cross_entropy,
    delta_loss,
    iou_score_loss,
    overlap_loss,
)

WEIGHTS = (10.0, 10.0, 5.0, 5.0)
ENCODE = partial(encoded, weights=WEIGHTS)
COUNT, CLASSES = 40, 3


def drawn_boxes(seed):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(COUNT, 2, generator=generator) * 50
    return torch.cat([corner, corner + 5 + torch.rand(COUNT, 2, generator=generator) * 40], 1)


@pytest.fixture
def samples():
    """Scores (B, 4), deltas (B, 3, 4), proposals, truth and classes; a third is background."""
    generator = torch.Generator().manual_seed(5)
    scores = torch.randn(COUNT, CLASSES + 1, generator=generator, requires_grad=True)
    deltas = torch.randn(COUNT, CLASSES, 4, generator=generator, requires_grad=True)
    classes = torch.randint(-1, CLASSES, (COUNT,), generator=generator)
    return scores, deltas, drawn_boxes(1), drawn_boxes(2), classes


def test_encoded_boxes_are_torchvisions():
    boxes, truth = drawn_boxes(1), drawn_boxes(2)
    assert torch.equal(
        encoded(boxes, truth, WEIGHTS), BoxCoder(WEIGHTS).encode_single(truth, boxes)
    )


def test_losses_and_gradients_are_torchvisions(samples):
    scores, deltas, boxes, truth, classes = samples
    labels = classes + 1  # 0: background
    own = [
        class_cross_entropy(scores, labels),
        delta_loss(deltas, boxes, truth, classes, ENCODE, 1 / 9),
    ]
    targets = BoxCoder(WEIGHTS).encode_single(truth, boxes)
    of_background = torch.zeros(COUNT, 1, 4)
    flat = torch.cat([of_background, deltas], 1).flatten(1)
    stock = fastrcnn_loss(scores, flat, [labels], [targets])
    for ours, theirs in zip(own, stock, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)
        gradients = (
            torch.autograd.grad(each, [scores, deltas], allow_unused=True, retain_graph=True)
            for each in (ours, theirs)
        )
        for a, b in zip(*gradients, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-9)


def test_sigmoid_cross_entropy_is_a_sum_over_classes_and_a_mean_over_samples(samples):
    scores, classes = samples[0][:, :-1], samples[4]
    targets = torch.zeros(COUNT, CLASSES)
    for row, label in enumerate(classes.tolist()):
        if label >= 0:
            targets[row, label] = 1
    expected = binary_cross_entropy_with_logits(scores, targets, reduction="none").sum(1).mean()
    torch.testing.assert_close(class_sigmoid_cross_entropy(scores, classes), expected)


def test_a_loss_of_overlaps_is_that_of_the_foregrounds_boxes(samples):
    _, deltas, boxes, truth, classes = samples
    coder = BoxCoder(WEIGHTS)
    loss = overlap_loss(
        deltas, boxes, truth, classes, coder.decode_single, generalized_box_iou_loss
    )
    rows = classes >= 0
    predicted = coder.decode_single(deltas[rows, classes[rows]], boxes[rows])
    expected = generalized_box_iou_loss(predicted, truth[rows], reduction="sum") / COUNT
    torch.testing.assert_close(loss, expected)


def test_background_has_no_part_in_the_losses_of_boxes_whatever_it_holds(samples):
    _, deltas, boxes, truth, classes = samples
    before = delta_loss(deltas, boxes, truth, classes, ENCODE, 0.0)
    background = (classes < 0)[:, None]
    deltas = torch.where(background[..., None], torch.nan, deltas).detach().requires_grad_()
    boxes = torch.where(background, 0.0, boxes)  # without area
    truth = torch.where(background, torch.inf, truth)
    after = delta_loss(deltas, boxes, truth, classes, ENCODE, 0.0)
    assert torch.equal(before, after)
    after.backward()
    assert deltas.grad.isfinite().all()
    assert not deltas.grad[classes < 0].any()


def test_one_regressor_for_all_classes_is_used_for_each(samples):
    _, deltas, boxes, truth, classes = samples
    shared = deltas[:, :1]
    repeated = shared.expand(-1, CLASSES, -1)
    losses = [delta_loss(each, boxes, truth, classes, ENCODE, 0.0) for each in (shared, repeated)]
    assert torch.equal(*losses)


def test_the_iou_score_is_compared_with_the_proposals_iou(samples):
    _, _, boxes, truth, classes = samples
    logits = torch.linspace(-3, 3, COUNT)
    iou = box_iou(boxes, truth).diagonal()
    errors = (logits.sigmoid() - iou).abs()[classes >= 0]
    loss = iou_score_loss(logits, boxes, truth, classes)
    torch.testing.assert_close(loss, errors.sum() / COUNT)


def test_without_samples_losses_are_0_and_have_a_gradient():
    scores = torch.zeros(0, 2, requires_grad=True)
    deltas = torch.zeros(0, 1, 4, requires_grad=True)
    boxes, classes = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    losses = [
        class_cross_entropy(scores, classes),
        class_sigmoid_cross_entropy(scores, classes),
        delta_loss(deltas, boxes, boxes, classes, ENCODE, 0.0),
        iou_score_loss(scores[:, 0], boxes, boxes, classes),
    ]
    assert [loss.item() for loss in losses] == [0] * 4
    sum(losses).backward()
    assert scores.grad.shape == (0, 2)


def test_half_precision_is_upcast_before_it_is_summed(samples):
    scores, deltas, boxes, truth, classes = samples
    for value, of_half in (
        (
            class_cross_entropy(scores.bfloat16(), classes + 1),
            cross_entropy(scores.bfloat16().float(), classes + 1),
        ),
        (
            delta_loss(deltas.bfloat16(), boxes, truth, classes, ENCODE, 0.0),
            delta_loss(deltas.bfloat16().float(), boxes, truth, classes, ENCODE, 0.0),
        ),
    ):
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, of_half)


def test_what_the_classifier_got_right_is_counted():
    scores = torch.tensor([[2.0, 1, 0], [0, 1, 2], [0, 2, 1], [0, 1, 2], [2, 1, 0]])
    labels = torch.tensor([0, 0, 1, 2, 2])  # 2: background
    # right: the first, third and fourth; of three of the foreground two, and one is missed
    assert accuracy_counts(scores, labels, background=2).tolist() == [3, 3, 2, 1]
