import pytest
import torch
from engine_runs import CONFIGS, CROP, options, random_crops
from torch import nn

from wend.config import merge_config
from wend.errors import InputError
from wend.tv.config import get_cfg
from wend.tv.models import build_model

YAML = CONFIGS / "CUB" / "scr_R50.yaml"
SMALL = {"WEND.SCR.IN_FEATURE": "stage3", "WEND.SCR.HIDDEN_DIM": "64"}


def _build(changes=None):
    torch.manual_seed(0)
    cfg = get_cfg()
    merge_config(cfg, str(YAML), options({**SMALL, **(changes or {})}), "")
    return build_model(cfg).train()


def _batch(boxes_each=(1, 2, 0)):
    crops = random_crops(3, boxes_each)
    images = [image.float() for image, _ in crops]
    return images, [{"boxes": boxes, "labels": torch.zeros(len(boxes))} for _, boxes in crops]


def test_resnet50_detector_has_as_many_parameters_as_table_1():
    cfg = get_cfg()
    merge_config(cfg, str(YAML), ["MODEL.DEVICE", "meta"], "")
    with torch.device("meta"):
        model = build_model(cfg)
    assert sum(p.numel() for p in model.parameters()) == 24_559_172


def test_loss_is_eta_times_50_times_the_mean_squared_error_of_the_largest_boxes():
    model = _build({"WEND.ETA": "0.125"})
    seen = []
    model.head.register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
    images, targets = _batch()
    losses = model(images, targets)
    wanted = []
    for target in targets[:2]:  # the third has no box
        x1, y1, x2, y2 = max(
            target["boxes"].tolist(), key=lambda box: (box[2] - box[0]) * (box[3] - box[1])
        )
        wanted.append([x1 / CROP, y1 / CROP, (x2 - x1) / CROP, (y2 - y1) / CROP])
    expected = 0.125 * 50 * nn.MSELoss()(seen[0][:2], torch.tensor(wanted)).item()
    assert set(losses) == {"loss_box_reg"}
    assert losses["loss_box_reg"].item() == pytest.approx(expected, rel=1e-5)


def test_pixels_are_normalized_with_the_configs_mean_and_deviation():
    model, (images, _) = _build().eval(), _batch()
    seen = []
    model.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model(images)
    mean, deviation = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    expected = (images[1] - mean[:, None, None]) / deviation[:, None, None]
    torch.testing.assert_close(seen[0][1], expected)


def test_images_without_boxes_give_a_loss_of_0_and_finite_gradients():
    model = _build()
    (loss,) = model(*_batch(boxes_each=(0,))).values()
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_each_image_has_one_box_inside_the_crop():
    model = _build().eval()
    with torch.no_grad():
        outputs = model(_batch()[0])
    assert len(outputs) == 3
    for output in outputs:
        ((x1, y1, x2, y2),) = output["boxes"].tolist()
        assert 0 <= x1 < x2 <= CROP
        assert 0 <= y1 < y2 <= CROP
        assert output["scores"].tolist() == [1.0]
        assert output["labels"].tolist() == [0]


def test_unsupervised_loss_is_an_error():
    with pytest.raises(InputError, match=r"^config entry WEND\.LOSS: .*got 'entropy'; set WEND"):
        _build({"WEND.LOSS": "entropy"})
