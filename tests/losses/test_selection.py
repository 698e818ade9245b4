"""Selection of images and samples by loss, agreement and score, by ranks derived by hand."""

import math

import pytest
import torch

from wend.errors import InputError
from wend.losses import ImagesContext, LossContext
from wend.losses.box_score import box_score
from wend.losses.selection import kept, selected_share
from wend.losses.small_loss import image_losses, small_loss, small_loss_samples
from wend.losses.teacher_agreement import agreements, teacher_agreement
from wend.schedules import Progress

END = Progress(100, 100)


@pytest.mark.parametrize(
    ("iteration", "share"),
    [(0, 0.0), (9, 0.0), (10, 0.0), (20, 0.2), (30, 0.4), (31, 0.4), (100, 0.4)],
)
def test_the_share_grows_from_the_start_within_the_ramp(iteration, share):
    value = selected_share(Progress(iteration, 100), drop=0.4, start=0.1, ramp=0.2)
    assert value == pytest.approx(share)


def test_without_a_ramp_the_share_steps_and_without_a_start_it_is_co_teachings():
    assert selected_share(Progress(49, 100), drop=0.4, start=0.5, ramp=0.0) == 0
    assert selected_share(Progress(50, 100), drop=0.4, start=0.5, ramp=0.0) == 0.4
    # R(T) = 1 - min(T / T_k · tau, tau), T_k 10 of 200 epochs, tau 0.2
    for epoch in (0, 3, 10, 150):
        remembered = 1 - min(epoch / 10 * 0.2, 0.2)
        share = selected_share(Progress(epoch, 200), drop=0.2, start=0.0, ramp=10 / 200)
        assert 1 - share == pytest.approx(remembered)


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.0, [1, 1, 1, 1, 1]),
        (0.12, [1, 1, 1, 1, 1]),  # 0.48 of four rounds to none
        (0.25, [1, 0, 1, 1, 1]),
        (0.5, [1, 0, 1, 0, 1]),
        (1.0, [0, 0, 1, 0, 0]),
    ],
)
def test_the_largest_losses_of_the_ranked_are_dropped(share, expected):
    losses = torch.tensor([1.0, 5.0, 9.0, 3.0, 2.0])
    ranked = torch.tensor([True, True, False, True, True])  # 9 is not ranked
    assert kept(losses, ranked, share).tolist() == [bool(each) for each in expected]


def test_of_equal_losses_as_many_are_dropped_as_the_share_says():
    assert kept(torch.ones(10), torch.ones(10, dtype=torch.bool), 0.3).sum() == 7
    assert kept(torch.zeros(0), torch.zeros(0, dtype=torch.bool), 0.3).shape == (0,)


def samples(progress=END, **more):
    """Images 0 to 3 of log-odds and labels; image 3 has no positive sample."""
    rows = [
        (0, 2.0, 1), (0, -2.0, 0), (0, -2.0, 0),  # right
        (1, -3.0, 1), (1, 1.0, 0), (1, -2.0, 0),  # wrong: no object where the box is
        (2, 0.0, 1), (2, 0.0, 1), (2, -1.0, 0),
        (3, 4.0, 0),
        (0, 9.0, -1),  # ignored
    ]  # fmt: skip
    index, logits, labels = zip(*rows, strict=True)
    return LossContext(
        torch.tensor(logits, requires_grad=True),
        torch.tensor(labels),
        torch.tensor(index),
        ("a", "b", "c", "d"),
        progress=progress,
        **more,
    )


def softplus(z):
    return math.log1p(math.exp(z))


def test_an_images_loss_is_the_mean_of_its_positives_and_that_of_its_background():
    losses, has_positive = image_losses(samples())
    expected = [
        softplus(-2) + softplus(-2),
        softplus(3) + (softplus(1) + softplus(-2)) / 2,
        math.log(2) + softplus(-1),
        softplus(4),
    ]
    assert losses.tolist() == pytest.approx(expected, rel=1e-6)
    assert has_positive.tolist() == [True, True, True, False]


def test_small_loss_drops_the_image_with_the_largest_loss_with_all_its_samples():
    weights = small_loss(samples(), drop=0.3)  # 0.9 of three images
    assert weights.tolist() == [1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1]
    assert not weights.requires_grad
    assert small_loss(samples(Progress(5, 100)), drop=0.3).tolist() == [1] * 11


def test_small_loss_of_samples_drops_positives_and_as_much_background():
    # a quarter of 4 positives is one, that of log-odds -3; of background the one of log-odds 4
    weights = small_loss_samples(samples(), drop=0.25)
    assert weights.tolist() == [1, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1]
    assert not weights.requires_grad


@pytest.mark.parametrize("select", [small_loss, small_loss_samples], ids=["images", "samples"])
def test_nothing_is_selected_of_nothing(select):
    empty = torch.zeros(0, dtype=torch.int64)
    context = LossContext(torch.zeros(0), empty, empty, progress=END)
    assert select(context, drop=0.5).shape == (0,)


BOX = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
PSEUDO = [BOX, BOX, BOX, torch.zeros(0, 4), BOX]


def images(teacher, progress=END, boxes=None):
    boxes = PSEUDO[: len(teacher)] if boxes is None else boxes
    return ImagesContext(
        image_ids=range(len(boxes)),
        boxes=boxes,
        scores=[torch.ones(len(each)) for each in boxes],
        teacher=teacher,
        progress=progress,
    )


def seen(*boxes_and_scores):
    boxes, scores = zip(*boxes_and_scores, strict=True) if boxes_and_scores else ((), ())
    return torch.tensor(boxes).reshape(-1, 4).float(), torch.tensor(scores)


# IoU with BOX: 0.8, 0.3, of the better of two 0.5, and 1 in an image without pseudo boxes
TEACHER = [
    seen(((0, 0, 10, 8), 0.9)),
    seen(((0, 0, 10, 3), 0.2)),
    seen(((0, 0, 10, 10), 0.3), ((0, 0, 10, 5), 0.7)),
    seen(((0, 0, 10, 10), 0.9)),
    seen(),
]


def test_agreement_is_the_iou_of_the_teachers_best_box_and_the_nearest_pseudo_box():
    values, ranked = agreements(images(TEACHER))
    assert values.tolist() == pytest.approx([0.8, 0.3, 0.5, 0, 0])
    assert ranked.tolist() == [True, True, True, False, True]
    two = torch.tensor([[20.0, 20.0, 30.0, 30.0], [0.0, 0.0, 10.0, 10.0]])
    values, _ = agreements(images(TEACHER[:1], boxes=[two]))
    assert values.tolist() == pytest.approx([0.8])


def test_a_threshold_decides_and_the_weight_of_the_others_sinks_to_the_floor():
    assert teacher_agreement(images(TEACHER)).tolist() == [1, 0, 1, 1, 0]
    assert teacher_agreement(images(TEACHER), iou=0.6).tolist() == [1, 0, 0, 1, 0]
    sinking = teacher_agreement(images(TEACHER, Progress(20, 100)), floor=0.2)
    assert sinking.tolist() == pytest.approx([1, 0.6, 1, 1, 0.6])  # half way from 1 to 0.2
    assert teacher_agreement(images(TEACHER, Progress(5, 100))).tolist() == [1] * 5


def test_a_share_drops_those_that_agree_least():
    # half of the four that are ranked
    assert teacher_agreement(images(TEACHER), drop=0.5).tolist() == [1, 0, 1, 1, 0]
    weights = teacher_agreement(images(TEACHER), drop=0.25, floor=0.1)
    assert weights.tolist() == pytest.approx([1, 1, 1, 1, 0.1])
    assert teacher_agreement(images(TEACHER, Progress(5, 100)), drop=0.5).tolist() == [1] * 5


def test_without_a_teacher_or_boxes_every_weight_is_1():
    without = images(None, boxes=[BOX, BOX])
    assert teacher_agreement(without).tolist() == [1, 1]
    nothing = images(TEACHER[:1], boxes=[torch.zeros(0, 4)])
    assert teacher_agreement(nothing).tolist() == [1]
    assert teacher_agreement(images([])).shape == (0,)


def test_a_box_score_is_the_mean_to_a_power_and_not_below_the_floor():
    scores = [torch.tensor([0.5]), torch.tensor([0.2, 0.4]), torch.zeros(0), torch.tensor([0.0])]
    context = ImagesContext(
        image_ids=range(4), boxes=[torch.zeros(len(each), 4) for each in scores], scores=scores
    )
    assert box_score(context).tolist() == pytest.approx([0.5, 0.3, 1, 0])
    assert box_score(context, exponent=2.0).tolist() == pytest.approx([0.25, 0.09, 1, 0])
    assert box_score(context, exponent=0.0).tolist() == [1, 1, 1, 1]
    assert box_score(context, floor=0.4).tolist() == pytest.approx([0.5, 0.4, 1, 0.4])
    assert box_score(ImagesContext()).shape == (0,)


@pytest.mark.parametrize("select", [small_loss, small_loss_samples], ids=["images", "samples"])
def test_a_detector_that_assigns_no_labels_is_told(select):
    context = LossContext(torch.zeros(2), None, torch.zeros(2, dtype=torch.int64), ("a",))
    with pytest.raises(InputError, match="labels of the samples are needed"):
        select(context)
