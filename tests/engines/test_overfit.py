"""Each detector learns a handful of toy images by heart, on each engine that has it."""

import numpy as np
import pytest
import torch
from engine_runs import CROP, build, config, detections, losses
from reference import iou

from wend.datasets.toy import ToyConfig, draw_sample

STEPS = {"fcos": 100, "rcnn": 100, "scr": 80, "detr": 60, "cln": 120}
CHANGES = {"cln": {"MODEL.ANCHOR_GENERATOR.SIZES": "[[24]]"}}  # one anchor a location


def toy_crops(count=4):
    """Images (3, CROP, CROP) uint8 in RGB with boxes (1, 4) xyxy."""
    toy = ToyConfig(image_size=(CROP, CROP), max_objects=1)
    for number in range(count):
        image, boxes, _ = draw_sample(toy, "train", number)
        corners = torch.tensor(np.array([[x, y, x + w, y + h] for x, y, w, h in boxes])).float()
        yield torch.from_numpy(image[:, :, ::-1].transpose(2, 0, 1).copy()), corners


@pytest.mark.parametrize(
    "detector",
    [pytest.param(name, marks=[pytest.mark.slow] if name == "detr" else []) for name in STEPS],
)
def test_it_overfits(engine, detector):
    """GT-known Loc is 100 %: each image's best box has IoU > 0.5 with its box."""
    if (engine, detector) == ("torchvision", "cln"):
        pytest.skip("CLN needs Detectron2")
    cfg = config(engine, detector, CHANGES.get(detector))
    model, crops = build(engine, cfg), list(toy_crops())
    adam = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(STEPS[detector]):
        adam.zero_grad()
        sum(losses(engine, model, crops).values()).backward()
        adam.step()
    for (boxes, _), (_, truth) in zip(detections(engine, model.eval(), crops), crops, strict=True):
        assert max(iou(boxes[0].tolist(), box) for box in truth.tolist()) > 0.5
