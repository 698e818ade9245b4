import json

import pytest
import torch
from engine_runs import run, tv_config
from reference import iou
from torch import nn

import wend.tv.engine
from wend.datasets.catalog import DataSets
from wend.run import resolve

ENGINE = "torchvision"


def test_detections_in_the_crop_become_coco_results_in_original_pixels(tmp_path):
    # The centre 56 x 56 of the 64 x 64 squash: x of the crop is (x + 4) / 64 of the image's width
    class Detector(nn.Module):
        def forward(self, images):
            assert [tuple(image.shape) for image in images] == [(3, 56, 56)]
            boxes = torch.tensor([[0.0, 0, 56, 56], [12, 28, 44, 52]])
            return [{"boxes": boxes, "scores": torch.tensor([0.25, 0.75])}]

    run = resolve(tv_config("fcos", {"OUTPUT_DIR": str(tmp_path)}), DataSets(), train=False)
    results = wend.tv.engine.evaluate(run, Detector())
    rows = json.loads((tmp_path / "inference" / "toy_test" / "detections.json").read_text())
    records = DataSets().get("toy_test")
    assert len(rows) == 24
    for best, other, record in zip(rows[::2], rows[1::2], records, strict=True):
        w, h = record.width / 64, record.height / 64
        assert best["image_id"] == other["image_id"] == record.image_id
        assert (best["score"], other["score"]) == (0.75, 0.25)
        assert best["bbox"] == pytest.approx([16 * w, 32 * h, 32 * w, 24 * h], abs=1e-4)
        assert other["bbox"] == pytest.approx([4 * w, 4 * h, 56 * w, 56 * h], abs=1e-4)
    hits = 0
    for best, record in zip(rows[::2], records, strict=True):
        x, y, w, h = best["bbox"]
        hits += any(iou([x, y, x + w, y + h], list(box)) > 0.5 for box in record.gt_boxes)
    assert results["toy_test"]["original"]["gt_known_loc"] == pytest.approx(100 * hits / 12)


def test_unmet_expected_results_fail_the_run(finished, tmp_path, capsys):
    changes = {
        "MODEL.WEIGHTS": str(finished(ENGINE) / "model_final.pth"),
        "TEST.EXPECTED_RESULTS": "[['original', 'max_boxes', 5.0, 0.0]]",
    }
    assert run(ENGINE, tmp_path / "out", "--eval-only", changes=changes) == 0
    changes["TEST.EXPECTED_RESULTS"] = "[['original', 'gt_known_loc', 101.0, 0.5]]"
    with pytest.raises(RuntimeError, match=r"original gt_known_loc is .*, expected 101\.0 ± 0\.5"):
        run(ENGINE, tmp_path / "out", "--eval-only", changes=changes)
