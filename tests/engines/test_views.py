"""WEND.VIEW: what detectors see, and where their boxes end, at another size than in training."""

import json

import numpy as np
import pytest
import torch
from engine_runs import DETECTORS, RESIZE, assert_refused, build, config, detections, run
from PIL import Image

import wend
from wend.datasets.catalog import DataSets
from wend.structures.records import ImageRecord

CHOICES = [
    pytest.param(engine, name, marks=[pytest.mark.detectron2] * (engine == "detectron2"))
    for engine in ("detectron2", "torchvision")
    for name in DETECTORS
    if (engine, name) != ("torchvision", "cln")
]
TALL, WIDE = (30, 90), (120, 40)
LOW = {"WEND.FCOS.SCORE_THRESH_TEST": "0.0"}
CLN_ANCHORS = {
    "MODEL.ANCHOR_GENERATOR.SIZES": "[[32]]",
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": "[[1.0]]",
}


@pytest.mark.parametrize(("engine", "detector"), CHOICES)
def test_a_detector_predicts_on_the_whole_square_as_one_made_for_it(engine, detector):
    """The same weights, made to be trained on crops of 56 and of 64, on images of 64."""
    images = torch.randint(0, 256, (2, 3, RESIZE, RESIZE), dtype=torch.uint8)
    crops = [(image, torch.zeros(0, 4)) for image in images]
    predicted = []
    for changes in ({"WEND.VIEW": "squash"}, {"WEND.VIEW": "crop", "WEND.CROP": str(RESIZE)}):
        more = CLN_ANCHORS if detector == "cln" else {}
        model = build(engine, config(engine, detector, {**LOW, **more, **changes})).eval()
        predicted.append(detections(engine, model, crops))
    for (boxes, scores), (expected, expected_scores) in zip(*predicted, strict=True):
        assert len(boxes) > 0
        torch.testing.assert_close(boxes, expected, rtol=0, atol=0)
        torch.testing.assert_close(scores, expected_scores, rtol=0, atol=0)


@pytest.fixture
def photos(tmp_path, register):
    """Six photos, tall and wide, as training set "photos" and test set "photos_test"."""
    rng = np.random.default_rng(0)
    records = []
    for i in range(6):
        width, height = (TALL, WIDE)[i % 2]
        path = tmp_path / f"ü {i}.png"
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
        box = np.array([[0.0, 0, width, height / 2]])
        records.append(ImageRecord(i, str(path), width, height, gt_boxes=box, pseudo_boxes=box))
    register("photos", lambda: records)
    register("photos_test", lambda: records)


@pytest.mark.parametrize("view", ["pad", pytest.param("squash", marks=pytest.mark.slow)])
def test_a_run_says_its_view_and_keeps_boxes_in_the_images(engine, tmp_path, photos, view):
    changes = {
        **LOW,
        "WEND.VIEW": view,
        "WEND.EPOCHS": "1",
        "SOLVER.IMS_PER_BATCH": "3",
        "SOLVER.WARMUP_ITERS": "0",
        "WEND.PROTOCOLS": "('original',)",
        "WEND.DATA.CACHE": str(tmp_path / "caches"),
        "DATASETS.TRAIN": "('photos',)",
        "DATASETS.TEST": "('photos_test',)",
    }
    assert run(engine, tmp_path / "out", changes=changes) == 0
    folder = tmp_path / "out" / "inference" / "photos_test"
    name = f"{view}{RESIZE}"
    assert json.loads((folder / "metrics.json").read_text())["original"]["view"] == name
    assert f"the detector saw {name}: " in (folder / "results.md").read_text()
    data_set = DataSets().get("photos_test")
    sizes = dict(zip(data_set.image_ids, data_set.sizes.tolist(), strict=True))
    rows = json.loads((folder / "detections.json").read_text())
    assert rows
    for row in rows:
        x, y, w, h = row["bbox"]
        width, height = sizes[row["image_id"]]
        assert -1e-6 <= x < x + w <= width + 1e-4
        assert -1e-6 <= y < y + h <= height + 1e-4
    detector = wend.load(tmp_path / "out")  # reads the same view from the checkpoint
    paths, ids = data_set.file_names, data_set.image_ids
    again = [d.to_coco(i) for i, d in zip(ids, detector(list(paths)), strict=True)]
    assert [row for of_image in again for row in of_image] == rows
    caches = {path.name for path in (tmp_path / "caches").iterdir()}
    pad = "-pad" * (view == "pad")
    assert caches == {f"photos-{RESIZE}{pad}", f"photos_test-{RESIZE}{pad}"}


def test_an_unknown_view_is_named(engine, tmp_path, capsys):
    message = "config entry WEND.VIEW: expected one of ('crop', 'squash', 'pad'), got 'letterbox'"
    assert_refused(engine, "WEND.VIEW letterbox", message, tmp_path / "out", capsys)


def test_a_closer_look_moves_best_boxes_and_predicting_looks_as_evaluation_does(
    engine, tmp_path, photos
):
    """Half way to the best box of the enlarged part, on both engines; the others stay."""
    changes = {
        **LOW,
        "WEND.VIEW": "squash",
        "WEND.EPOCHS": "1",
        "SOLVER.IMS_PER_BATCH": "3",
        "SOLVER.WARMUP_ITERS": "0",
        "WEND.PROTOCOLS": "('original',)",
        "DATASETS.TRAIN": "('photos',)",
        "DATASETS.TEST": "('photos_test',)",
    }
    assert run(engine, tmp_path / "out", changes=changes) == 0
    weights = str(tmp_path / "out" / "model_final.pth")
    boxes = {}
    for factor in ("0.0", "1.5"):
        again = {**changes, "WEND.CLOSER_LOOK": factor, "MODEL.WEIGHTS": weights}
        out = tmp_path / factor
        assert run(engine, out, "--eval-only", changes=again) == 0
        rows = json.loads((out / "inference" / "photos_test" / "detections.json").read_text())
        boxes[factor] = {}
        for row in rows:
            boxes[factor].setdefault(row["image_id"], []).append(row["bbox"])
    assert boxes["0.0"].keys() == boxes["1.5"].keys() == set(range(6))
    for image_id, once in boxes["0.0"].items():
        assert once[0] != boxes["1.5"][image_id][0]
        assert once[1:] == boxes["1.5"][image_id][1:]
    data_set = DataSets().get("photos_test")
    detector = wend.load(tmp_path / "out", engine=engine, device="cpu", **{"WEND.CLOSER_LOOK": 1.5})
    predictions = detector(list(data_set.file_names), batch_size=1)
    for image_id, prediction in zip(data_set.image_ids, predictions, strict=True):
        x0, y0, x1, y1 = prediction.xyxy.T
        xywh = np.stack([x0, y0, x1 - x0, y1 - y0], 1)
        np.testing.assert_allclose(xywh, boxes["1.5"][image_id], rtol=0, atol=1e-9)


def test_a_mirrored_look_is_the_mirrored_image_turned_back(finished, engine):
    """Of an image as wide as the crop, whose resizing cannot round otherwise from the right."""
    plain = wend.load(finished(engine), device="cpu", **{"WEND.VIEW": "squash"})
    mirrored = wend.load(
        finished(engine), device="cpu", **{"WEND.VIEW": "squash", "WEND.MIRROR": True}
    )
    side = plain.cfg.WEND.RESIZE
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    expected, turned = plain(image[:, ::-1].copy()), mirrored(image)
    assert len(turned) == len(expected) > 0
    np.testing.assert_array_equal(turned.scores, expected.scores)
    x0, y0, x1, y1 = expected.xyxy.T
    np.testing.assert_allclose(turned.xyxy, np.stack([side - x1, y0, side - x0, y1], 1), atol=1e-9)
    assert not np.allclose(turned.scores, plain(image).scores)
