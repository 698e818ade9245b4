"""SCR's box arrives in detections.json as its head made it, also where it leaves the image."""

import json

import numpy as np
import pytest
import torch
from engine_runs import CROP, RESIZE, TINY, build, config, run

from wend.datasets.catalog import DataSets
from wend.modeling.detectors.scr import SCRHead

HEAD = [0.5, 0.25, 0.9, 0.5]  # x, y, w, h of the crop: out at the right, not below


@pytest.fixture
def output_dir(engine, tmp_path, monkeypatch, toy_root):
    model = build(engine, config(engine, "scr"))
    torch.save({"model": model.state_dict()}, tmp_path / "scr.pth")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(toy_root.parent))
    monkeypatch.setattr(
        SCRHead, "forward", lambda self, features: torch.tensor([HEAD] * len(features[0]))
    )
    folder = tmp_path / "out"
    changes = {"MODEL.WEIGHTS": str(tmp_path / "scr.pth")}
    assert run(engine, folder, "--eval-only", detector="scr", changes=changes) == 0
    return folder / "inference" / "toy_test"


def test_a_box_that_leaves_the_crop_and_the_image_is_written_and_scored_as_it_is(output_dir):
    data_set = DataSets().get(TINY["DATASETS.TEST"][2:-3])
    sizes = np.tile(data_set.sizes, 2)
    rows = json.loads((output_dir / "detections.json").read_text())
    assert [row["image_id"] for row in rows] == list(data_set.image_ids)
    boxes = np.array([row["bbox"] for row in rows])
    boxes[:, 2:] += boxes[:, :2]
    x, y, w, h = HEAD
    crop = CROP * np.array([x, y, x + w, y + h])
    in_image = (crop + (RESIZE - CROP) / 2) / RESIZE * sizes
    np.testing.assert_allclose(boxes, in_image, rtol=1e-6)
    metrics = json.loads((output_dir / "metrics.json").read_text())
    outside = in_image[:, 2] > sizes[:, 2]
    assert outside.all()
    assert metrics["psol-crop224"]["counts"]["boxes_outside"] == len(boxes)
