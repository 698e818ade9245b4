"""A folder of images and nothing else: boxes from the images, a training, detections, a picture."""

import json

import cv2
import numpy as np
from engine_runs import run

from wend.cli.parser import main


def write_photos(folder, count=12):
    """Bright squares on dark ground."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(count):
        image = generator.integers(0, 40, (80, 100, 3), dtype=np.uint8)
        x, y = generator.integers(20, 50), generator.integers(15, 35)
        image[y : y + 30, x : x + 30] = (40, 200, 230)
        cv2.imwrite(str(folder / f"my photo {number}.jpg"), image)


def test_from_photos_to_detections(engine, tmp_path, monkeypatch, capsys):
    write_photos(tmp_path / "photos")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    boxes = ["pseudo-boxes", "--method", "border", "--images", str(tmp_path / "photos")]
    assert main([*boxes, "--output", str(tmp_path / "boxes"), "--num-workers", "0"]) == 0
    (tmp_path / "photos.yaml").write_text(
        "name: photos\nformat: folder\nimages: photos\nclasses: none\n"
        "pseudo_boxes: {source: coco, path: boxes/train/pseudo_boxes.json}\n"
    )
    changes = {"DATASETS.TRAIN": "('photos',)", "DATASETS.TEST": "('photos',)"}
    changes |= {"SOLVER.IMS_PER_BATCH": "6", "SOLVER.WARMUP_ITERS": "0"}
    assert run(engine, tmp_path / "run", changes=changes) == 0
    assert "no image has a true box, so there is nothing to score" in capsys.readouterr().out
    written = tmp_path / "run" / "inference" / "photos" / "detections.json"
    assert {row["image_id"] for row in json.loads(written.read_text())} == {
        f"my photo {i}.jpg" for i in range(12)
    }
    assert main(["report", str(tmp_path / "run")]) == 0
    assert "nothing to score" in capsys.readouterr().out
    assert (tmp_path / "run" / "boxes_photos.png").is_file()
