"""SCR on both engines; its head, targets, loss and boxes: test_scr_head.py."""

import pytest
import torch
from engine_runs import (
    CONFIGS,
    CROP,
    build,
    config,
    detections,
    file_config,
    losses,
    random_crops,
    without_memory,
)
from torch import nn

from wend.errors import InputError


def _build(engine, changes=None):
    return build(engine, config(engine, "scr", changes))


def _crops(boxes_each=(1, 2, 0)):
    return random_crops(3, boxes_each)


def test_resnet50_detector_has_as_many_parameters_as_table_1(engine):
    path = CONFIGS / "CUB" / "scr_R50.yaml"
    with without_memory():
        model = build(engine, file_config(engine, path, ["MODEL.DEVICE", "meta"]))
    assert sum(p.numel() for p in model.parameters()) == 24_559_172


@pytest.mark.parametrize(
    ("name", "theirs"),
    [("l2", nn.MSELoss()), ("l1", nn.L1Loss()), ("smooth_l1", nn.SmoothL1Loss(beta=0.1))],
)
def test_loss_is_eta_times_its_weight_times_torchs_on_the_largest_boxes(engine, name, theirs):
    changes = {"WEND.ETA": "0.125", "WEND.SCR.LOSS": name, "WEND.SCR.LOSS_WEIGHT": "40.0"}
    model, crops = _build(engine, changes), _crops()
    seen = []
    model.head.register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
    terms = losses(engine, model, crops)
    wanted = []
    for _, boxes in crops[:2]:  # the third has no box
        x1, y1, x2, y2 = max(boxes.tolist(), key=lambda b: (b[2] - b[0]) * (b[3] - b[1]))
        wanted.append([x1 / CROP, y1 / CROP, (x2 - x1) / CROP, (y2 - y1) / CROP])
    expected = 0.125 * 40 * theirs(seen[0][:2], torch.tensor(wanted)).item()
    assert set(terms) == {"loss_box_reg"}
    assert terms["loss_box_reg"].item() == pytest.approx(expected, rel=1e-5)


def test_weight_is_psols_by_default(engine):
    # tzzcl/PSOL ddecfce, PSOL_training.py, line 162
    model = _build(engine)
    assert (model.loss, model.loss_weight) == ("l2", 50)


def test_pixels_are_normalized_with_the_configs_mean_and_deviation(engine):
    model, crops = _build(engine).eval(), _crops()
    seen = []
    model.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    detections(engine, model, crops)
    mean, deviation = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    expected = (crops[1][0] - mean[:, None, None]) / deviation[:, None, None]
    torch.testing.assert_close(seen[0][1], expected)


@pytest.mark.parametrize("loss", ["weighted_entropy", "entropy"])
def test_unsupervised_loss_is_an_error_that_says_why(engine, loss):
    with pytest.raises(InputError) as error:
        _build(engine, {"WEND.LOSS": loss})
    assert str(error.value) == (
        f"config entry WEND.LOSS: expected none with SCR, which has no classifier that {loss} "
        f"could act on, got {loss!r}; set WEND.LOSS none"
    )


def test_unknown_feature_map_is_an_error_that_lists_the_known(engine):
    with pytest.raises(InputError) as error:
        _build(engine, {"WEND.SCR.IN_FEATURE": "res5"})
    assert str(error.value) == (
        "config entry WEND.SCR.IN_FEATURE: expected some of the feature maps of "
        "build_small_cnn_backbone, stage1, stage2, stage3; got ['res5']"
    )


def test_images_without_boxes_give_a_loss_of_0_and_finite_gradients(engine):
    model = _build(engine)
    (loss,) = losses(engine, model, _crops(boxes_each=(0,))).values()
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_each_image_has_one_box_that_begins_in_the_crop(engine):
    model = _build(engine).eval()
    for bias in ([0.0] * 4, [50.0] * 4, [-50.0] * 4, [50.0, 50.0, -50.0, -50.0]):
        with torch.no_grad():
            model.head.fc2.bias.copy_(torch.tensor(bias))
        outputs = detections(engine, model, _crops())
        assert len(outputs) == 3
        for boxes, scores in outputs:
            assert scores.tolist() == [1.0]
            ((x1, y1, x2, y2),) = boxes.tolist()
            assert min(x1, y1) >= 0
            assert max(x1, y1) <= CROP
            assert max(x2, y2) <= 2 * CROP  # x + w of two sigmoids: PSOL and C2AM do not clip it
            assert min(x2 - x1, y2 - y1) >= 0


def test_box_is_the_heads_x_y_w_h_of_the_crop(engine):
    model = _build(engine).eval()
    seen = []
    model.head.register_forward_hook(lambda module, inputs, output: seen.append(output))
    found = detections(engine, model, _crops())
    for (boxes, _), (x, y, w, h) in zip(found, seen[0] * CROP, strict=True):
        expected = torch.stack([x, y, (x + w).clamp(max=CROP), (y + h).clamp(max=CROP)])
        torch.testing.assert_close(boxes[0], expected)
