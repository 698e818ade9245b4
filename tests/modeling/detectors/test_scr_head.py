"""SCR's head, targets, loss and boxes against PSOL's layers in torch.nn and hand-derived values."""

import pytest
import torch
from torch import nn

from wend.losses.padded_boxes import PaddedBoxes
from wend.modeling.detectors.scr import SCRHead, scr_boxes, scr_loss, scr_targets

NAN = float("nan")
CROP = (100, 200)  # height, width


def test_head_is_psols():
    torch.manual_seed(0)
    head = SCRHead(32, 16)
    psol = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 4), nn.Sigmoid())
    psol.load_state_dict(dict(zip(psol.state_dict(), head.state_dict().values(), strict=True)))
    feature = torch.randn(3, 32, 7, 5)
    pooled = nn.AdaptiveAvgPool2d(1)(feature).flatten(1)
    torch.testing.assert_close(head([feature]), psol(pooled))


def test_head_on_resnet50s_feature_has_table_1s_parameters():
    # 24,559,172 of table 1 less ResNet50's trunk
    assert sum(p.numel() for p in SCRHead(2048).parameters()) == 24_559_172 - 23_508_032


def _targets(boxes, sizes):
    return scr_targets(PaddedBoxes.of(boxes), sizes)


def test_head_puts_out_float32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        predicted = SCRHead(8, 8)([torch.randn(2, 8, 3, 3)])
    assert predicted.dtype == torch.float32


def test_target_is_corner_and_sides_in_fractions_of_the_crop():
    targets = _targets([torch.tensor([[20.0, 10.0, 120.0, 60.0]])], [CROP])
    # x 20 / 200, y 10 / 100, w 100 / 200, h 50 / 100
    torch.testing.assert_close(targets, torch.tensor([[0.1, 0.1, 0.5, 0.5]]))


def test_of_several_boxes_the_largest_is_the_target_and_of_equals_the_first():
    small, wide, high = [0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 40.0, 10.0], [50.0, 50.0, 60.0, 90.0]
    for boxes, first in (([small, wide, high], wide), ([high, small, wide], high)):
        targets = _targets([torch.tensor(boxes), torch.tensor([small])], [CROP, CROP])
        alone = _targets([torch.tensor([first]), torch.tensor([small])], [CROP, CROP])
        assert torch.equal(targets, alone)


def test_image_without_a_box_has_no_target():
    boxes = [torch.empty(0, 4), torch.tensor([[0.0, 0.0, 200.0, 100.0]])]
    targets = _targets(boxes, [CROP, CROP])
    assert targets[0].isnan().all()
    assert targets[1].tolist() == [0, 0, 1, 1]
    assert _targets(boxes[:1], [CROP]).isnan().all()


@pytest.mark.parametrize(
    ("kind", "theirs"),
    [("l2", nn.MSELoss()), ("l1", nn.L1Loss()), ("smooth_l1", nn.SmoothL1Loss(beta=0.1))],
)
def test_loss_is_torchs_over_the_images_with_a_box(kind, theirs):
    torch.manual_seed(0)
    predicted, targets = torch.rand(3, 4), torch.rand(3, 4)
    assert scr_loss(predicted, targets, kind) == pytest.approx(theirs(predicted, targets).item())
    targets[1] = NAN
    kept = theirs(predicted[[0, 2]], targets[[0, 2]]).item()
    assert scr_loss(predicted, targets, kind).item() == pytest.approx(kept)


@pytest.mark.parametrize("kind", ["l2", "l1", "smooth_l1"])
def test_images_without_a_box_have_no_gradient(kind):
    predicted = torch.rand(2, 4, requires_grad=True)
    targets = torch.tensor([[NAN] * 4, [2.0] * 4])
    scr_loss(predicted, targets, kind).backward()
    assert not predicted.grad[0].any()
    assert (predicted.grad[1] < 0).all()
    predicted.grad = None
    loss = scr_loss(predicted, torch.full((2, 4), NAN), kind)
    loss.backward()
    assert loss.item() == 0
    assert not predicted.grad.any()


def test_unknown_loss_is_a_value_error():
    with pytest.raises(ValueError, match=r"^kind must be l2, l1 or smooth_l1, got 'mse'$"):
        scr_loss(torch.rand(1, 4), torch.rand(1, 4), "mse")


def test_boxes_are_corners_in_pixels():
    predicted = torch.tensor([[0.1, 0.1, 0.5, 0.5]])
    torch.testing.assert_close(
        scr_boxes(predicted, [CROP]), torch.tensor([[20.0, 10.0, 120.0, 60.0]])
    )


def test_boxes_of_targets_are_the_boxes():
    torch.manual_seed(0)
    corner = torch.rand(50, 2) * 40
    boxes = torch.cat([corner, corner + 1 + torch.rand(50, 2) * 59], 1)
    targets = _targets(list(boxes[:, None]), [CROP] * 50)
    torch.testing.assert_close(scr_boxes(targets, [CROP] * 50), boxes)


def test_a_box_may_reach_out_of_the_crop_but_is_never_inside_out():
    # the network of protocols' smallest case: x = y = 0.5, w = h = 0.9 of 224 pixels
    predicted = torch.tensor([[0.5, 0.5, 0.9, 0.9]])
    expected = torch.tensor([[112.0, 112.0, 313.6, 313.6]])
    torch.testing.assert_close(scr_boxes(predicted, [(224, 224)]), expected)
    torch.manual_seed(0)
    ends = torch.cartesian_prod(*[torch.tensor([0.0, 1e-9, 1 - 1e-7, 1.0])] * 4)
    boxes = scr_boxes(torch.cat([ends, torch.rand(500, 4)]), [CROP] * (len(ends) + 500))
    assert boxes.min() >= 0
    assert (boxes[:, 2:] >= boxes[:, :2]).all()
