"""A loaded detector predicts what the evaluation wrote, to the last bit."""

import json

import pytest
from engine_runs import DETECTORS, ENGINES, run

import wend
from wend.datasets.catalog import DataSets

CASES = [
    pytest.param(engine, name, marks=[pytest.mark.slow] if name != "fcos" else [])
    for engine in ENGINES
    for name in DETECTORS
    if (engine, name) != ("torchvision", "cln")
]
CHANGES = {"cln": {"MODEL.ANCHOR_GENERATOR.SIZES": "[[32]]", "WEND.EPOCHS": "1"}}
CHANGES["cln"]["MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS"] = "[[1.0]]"


def rows_of(detector, images, **options):
    """Rows of detections.json that predictions on a data set's images make."""
    detections = detector([record.file_name for record in images], **options)
    return [
        row
        for record, boxes in zip(images, detections, strict=True)
        for row in boxes.to_coco(record.image_id)
    ]


def written_by(folder):
    return json.loads((folder / "inference/toy_test/detections.json").read_text())


@pytest.mark.parametrize(("engine", "name"), CASES, indirect=["engine"])
def test_the_boxes_are_those_of_the_evaluation(engine, name, finished, tmp_path):
    changes = CHANGES.get(name, {})
    trained = tmp_path / "run" if name != "fcos" else finished(engine)
    if name != "fcos":
        assert run(engine, trained, detector=name, changes=changes) == 0
    detector, images = wend.load(trained), list(DataSets().get("toy_test"))
    assert detector.engine == engine
    assert len(written_by(trained)) >= len(images)
    assert rows_of(detector, images) == written_by(trained)

    changes |= {"WEND.TEST_BATCH": "32", "MODEL.WEIGHTS": str(trained / "model_final.pth")}
    assert run(engine, tmp_path / "eval", "--eval-only", detector=name, changes=changes) == 0
    assert rows_of(detector, images, batch_size=32) == written_by(tmp_path / "eval")
