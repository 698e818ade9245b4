"""FCOS and Faster R-CNN with WE learn a handful of toy images by heart, on both engines.

CLN, Deformable DETR and SCR: see their own tests in tests/d2.
"""

import numpy as np
import pytest
import torch
from engine_runs import CROP, d2_config, tv_config
from reference import iou

from wend.datasets.toy import ToyConfig, draw_sample

STEPS = {"fcos": 100, "rcnn": 100}


def toy_crops(count=4):
    """Images (3, CROP, CROP) uint8 in RGB with boxes (1, 4) xyxy."""
    toy = ToyConfig(image_size=(CROP, CROP), max_objects=1)
    for number in range(count):
        image, boxes, _ = draw_sample(toy, "train", number)
        corners = torch.tensor(np.array([[x, y, x + w, y + h] for x, y, w, h in boxes])).float()
        yield torch.from_numpy(image[:, :, ::-1].transpose(2, 0, 1).copy()), corners


def learn(model, losses_of, steps):
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        sum(losses_of().values()).backward()
        optimizer.step()
    model.eval()


def assert_known(best, truth):
    """GT-known Loc is 100 %."""
    for box, boxes in zip(best, truth, strict=True):
        assert max(iou(box.tolist(), one) for one in boxes.tolist()) > 0.5


@pytest.mark.parametrize("detector", STEPS)
def test_detectron2_overfits(detector):
    pytest.importorskip("detectron2", reason="Detectron2 is not installed")
    from detectron2.modeling import build_model
    from detectron2.structures import Boxes, Instances
    from detectron2.utils.events import EventStorage

    import wend.d2  # noqa: F401  (registers detectors)

    torch.manual_seed(0)
    model = build_model(d2_config(detector)).train()
    batch = []
    for image, boxes in toy_crops():
        instances = Instances((CROP, CROP), gt_boxes=Boxes(boxes))
        instances.gt_classes = torch.zeros(len(boxes), dtype=torch.int64)
        batch.append({"image": image, "height": CROP, "width": CROP, "instances": instances})
    with EventStorage():
        learn(model, lambda: model(batch), STEPS[detector])
    with torch.no_grad():
        found = [output["instances"].pred_boxes.tensor[0] for output in model(batch)]
    assert_known(found, [one["instances"].gt_boxes.tensor for one in batch])


@pytest.mark.parametrize("detector", STEPS)
def test_torchvision_overfits(detector):
    from wend.tv.models import build_model

    torch.manual_seed(0)
    model = build_model(tv_config(detector)).train()
    images, truth = zip(*((image.float(), boxes) for image, boxes in toy_crops()), strict=True)
    label = model.foreground_label
    targets = [
        {"boxes": boxes, "labels": torch.full((len(boxes),), label, dtype=torch.int64)}
        for boxes in truth
    ]
    learn(model, lambda: model(list(images), targets), STEPS[detector])
    with torch.no_grad():
        found = [output["boxes"][0] for output in model(list(images))]
    assert_known(found, truth)
