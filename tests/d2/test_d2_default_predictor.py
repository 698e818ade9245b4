"""Detectron2's own ways to predict give our detectors' boxes, although these see crops."""

import numpy as np
import pytest

pytest.importorskip("detectron2", reason="Detectron2 is not installed")
import torch
from detectron2.data.detection_utils import read_image
from detectron2.engine import DefaultPredictor
from engine_runs import CROP, d2_config, d2_inputs, random_crops

import wend
from wend.d2.run import read_config
from wend.datasets.catalog import DataSets
from wend.structures.boxes import paired_iou

pytestmark = pytest.mark.detectron2


def best_boxes(folder, images, **changes):
    """The best box (4,) of each image by ``DefaultPredictor`` on a run's own config."""
    opts = [text for pair in changes.items() for text in pair]
    weights = str(folder / "model_final.pth")
    cfg = read_config(str(folder / "config.yaml"), ["MODEL.WEIGHTS", weights, *opts])
    predictor = DefaultPredictor(cfg)
    rows = []
    for image in images:
        instances = predictor(read_image(image, "BGR"))["instances"]
        assert instances.image_size == read_image(image).shape[:2]
        rows.append(instances.pred_boxes.tensor[0].numpy())
    return np.stack(rows)


def test_the_default_predictor_sees_the_crop_of_the_training(finished):
    folder = finished("detectron2")
    images = DataSets().get("toy_test").file_names[:5]
    ours = np.stack([boxes.xyxy[0] for boxes in wend.load(folder)(images)])
    theirs = best_boxes(folder, images)
    assert np.median(paired_iou(ours, theirs)) > 0.95  # it resizes to 800 pixels in between
    whole = best_boxes(folder, images, **{"WEND.CROP_IN_MODEL": "False"})
    assert np.median(paired_iou(ours, whole)) < 0.5


@pytest.mark.parametrize("name", ["fcos", "rcnn", "scr", "detr"])
def test_a_crop_without_frame_stays_as_it_is(name):
    """Of the same size: what a loader of the user's own cropped already."""
    from engine_runs import build

    model = build("detectron2", d2_config(name)).eval()
    (entry,) = d2_inputs(random_crops(1, (1,)))
    assert entry["image"].shape == (3, CROP, CROP)
    with torch.no_grad():
        (cropped,) = model([entry])
        model.own_crops = None
        (whole,) = model([entry])
    assert torch.equal(cropped["instances"].pred_boxes.tensor, whole["instances"].pred_boxes.tensor)
    assert "boxes" not in cropped
