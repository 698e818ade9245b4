import json
import math

import pytest
import torch
from engine_runs import CONFIGS, CROP, d2_batch, options, run
from torch import nn

pytest.importorskip("detectron2", reason="Detectron2 is not installed")
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances

import wend.d2  # noqa: F401  (registers SCR)
from wend.config import add_wend_config, merge_config
from wend.errors import InputError
from wend.tv.config import get_cfg as get_tv_cfg
from wend.tv.models import build_model as build_tv_model

pytestmark = pytest.mark.usefixtures("_event_storage")
YAML = CONFIGS / "CUB" / "scr_R50.yaml"
SMALL = {"WEND.SCR.IN_FEATURE": "stage3", "WEND.SCR.HIDDEN_DIM": "64"}


def _config(changes=None):
    cfg = get_cfg()
    add_wend_config(cfg)
    merge_config(cfg, str(YAML), options({**SMALL, **(changes or {})}), "")
    return cfg


def _build(changes=None):
    torch.manual_seed(0)
    return build_model(_config(changes)).train()


def _batch(boxes_each=(1, 2, 0)):
    return d2_batch(boxes_each)


def _predicted(model, batch):
    seen = []
    handle = model.head.register_forward_hook(lambda module, inputs, output: seen.append(output))
    loss = model(batch)["loss_box_reg"]
    handle.remove()
    return seen[0].detach(), loss.item()


def test_resnet50_detector_has_as_many_parameters_as_table_1():
    cfg = get_cfg()
    add_wend_config(cfg)
    merge_config(cfg, str(YAML), ["MODEL.DEVICE", "meta"], "")
    with torch.device("meta"):
        model = build_model(cfg)
    assert sum(p.numel() for p in model.parameters()) == 24_559_172


@pytest.mark.parametrize(
    ("name", "theirs"),
    [("l2", nn.MSELoss()), ("l1", nn.L1Loss()), ("smooth_l1", nn.SmoothL1Loss(beta=0.1))],
)
def test_loss_is_eta_times_its_weight_times_torchs_on_the_largest_boxes(name, theirs):
    changes = {"WEND.ETA": "0.125", "WEND.SCR.LOSS": name, "WEND.SCR.LOSS_WEIGHT": "40.0"}
    model, batch = _build(changes), _batch()
    predicted, loss = _predicted(model, batch)
    wanted = []
    for one in batch[:2]:  # the third has no box
        boxes = one["instances"].gt_boxes
        x1, y1, x2, y2 = boxes.tensor[boxes.area().argmax()].tolist()
        wanted.append([x1 / CROP, y1 / CROP, (x2 - x1) / CROP, (y2 - y1) / CROP])
    expected = 0.125 * 40 * theirs(predicted[:2], torch.tensor(wanted)).item()
    assert loss == pytest.approx(expected, rel=1e-5)


def test_weight_is_psols_by_default():
    # tzzcl/PSOL ddecfce, PSOL_training.py, line 162
    assert _config().WEND.SCR.LOSS_WEIGHT == 50
    assert _config().WEND.SCR.LOSS == "l2"


@pytest.mark.parametrize("loss", ["weighted_entropy", "entropy"])
def test_unsupervised_loss_is_an_error(loss):
    with pytest.raises(InputError, match=rf"^config entry WEND\.LOSS: .*got '{loss}'; set WEND"):
        _build({"WEND.LOSS": loss})


def test_unknown_feature_map_is_an_error_that_lists_the_known():
    with pytest.raises(InputError) as error:
        _build({"WEND.SCR.IN_FEATURE": "res5"})
    assert str(error.value) == (
        "config entry WEND.SCR.IN_FEATURE: expected some of the feature maps of "
        "build_small_cnn_backbone, stage1, stage2, stage3; got ['res5']"
    )


def test_images_without_boxes_give_finite_losses_and_gradients():
    model = _build()
    losses = model(_batch(boxes_each=(0,)))
    sum(losses.values()).backward()
    assert losses["loss_box_reg"].item() == 0
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_each_image_has_one_box_inside_the_crop():
    model = _build().eval()
    for bias in ([0.0] * 4, [50.0] * 4, [-50.0] * 4, [50.0, 50.0, -50.0, -50.0]):
        with torch.no_grad():
            model.head.fc2.bias.copy_(torch.tensor(bias))
            outputs = model(_batch())
        assert len(outputs) == 3
        for output in outputs:
            found = output["instances"]
            assert found.image_size == (CROP, CROP)
            assert found.scores.tolist() == [1.0]
            assert found.pred_classes.tolist() == [0]
            ((x1, y1, x2, y2),) = found.pred_boxes.tensor.tolist()
            assert min(x1, y1) >= 0
            assert max(x2, y2) <= CROP
            assert min(x2 - x1, y2 - y1) > 0.999  # pixels


def test_box_is_the_heads_x_y_w_h_of_the_crop():
    model, batch = _build().eval(), _batch()
    with torch.no_grad():
        found = [output["instances"].pred_boxes.tensor[0] for output in model(batch)]
        images = model.preprocess_image(batch)
        predicted = model.head([model.backbone(images.tensor)["stage3"]])
    for box, (x, y, w, h) in zip(found, predicted * CROP, strict=True):
        expected = torch.stack([x, y, (x + w).clamp(max=CROP), (y + h).clamp(max=CROP)])
        torch.testing.assert_close(box, expected)


def test_torchvision_engine_agrees_with_the_same_weights():
    cfg = get_tv_cfg()
    merge_config(cfg, str(YAML), options(SMALL), "")
    ours, theirs = _build(), build_tv_model(cfg).train()
    # both put the small network into backbone.body
    theirs.load_state_dict(ours.state_dict(), strict=True)
    batch = _batch()
    images = [one["image"].float() for one in batch]
    targets = [{"boxes": one["instances"].gt_boxes.tensor} for one in batch]
    assert ours(batch)["loss_box_reg"].item() == pytest.approx(
        theirs(images, targets)["loss_box_reg"].item(), rel=1e-5
    )
    ours.eval(), theirs.eval()
    with torch.no_grad():
        for a, b in zip(ours(batch), theirs(images), strict=True):
            torch.testing.assert_close(a["instances"].pred_boxes.tensor, b["boxes"])
            assert a["instances"].scores.tolist() == b["scores"].tolist() == [1.0]


def test_it_overfits_six_images():
    """GT-known 100 %: every box has IoU > 0.5 with its target."""
    from detectron2.structures import pairwise_iou

    model = _build()
    batch = []
    for index in range(6):
        image = torch.full((3, CROP, CROP), 40, dtype=torch.uint8)
        x, y = 4 + 5 * index, 30 - 4 * index
        image[:, y : y + 20, x : x + 16] = 220
        boxes = Boxes(torch.tensor([[x, y, x + 16, y + 20]]).float())
        instances = Instances((CROP, CROP), gt_boxes=boxes, gt_classes=torch.zeros(1).long())
        batch.append({"image": image, "height": CROP, "width": CROP, "instances": instances})
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(80):
        loss = model(batch)["loss_box_reg"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert math.isfinite(losses[-1])
    assert losses[-1] < 0.05 * losses[0]
    with torch.no_grad():
        outputs = model.eval()(batch)
    for one, output in zip(batch, outputs, strict=True):
        iou = pairwise_iou(output["instances"].pred_boxes, one["instances"].gt_boxes)
        assert iou.item() > 0.5


@pytest.mark.parametrize("engine", ["detectron2", "torchvision"])
def test_the_same_yaml_trains_and_evaluates_through_the_front_door(engine, tmp_path):
    output = tmp_path / "run"
    flags = ("--config-file", str(YAML))
    assert run(engine, output, *flags, changes={**SMALL, "WEND.EPOCHS": "1"}) == 0
    detections = list(output.rglob("detections.json"))
    assert len(detections) == 1
    found = json.loads(detections[0].read_text())
    assert len(found) == len({one["image_id"] for one in found}) == 12  # one box an image
    assert all(one["score"] == 1 for one in found)
