"""Is a detector better than the boxes that it learns from, on photographs with known truth?

``python projects/reproduce/photos.py DATASET --output DIR [KEY VALUE ...]``: every third image of a
data set is kept for testing (or all of ``--test``'s); DDT makes pseudo boxes of each part,
``configs/photos.yaml`` learns from those of the first part, and the table puts the detector beside
the pseudo boxes and fixed boxes, on both parts.
``docs/photos_study.md`` holds what it printed.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import yaml
from tabulate import tabulate

from wend.datasets.catalog import DataSets
from wend.structures.boxes import box_iou
from wend.structures.data_set import DataSet

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "photos.yaml"
BACKBONE = "timm:tf_efficientnet_lite0"
METRICS = (("GT-known Loc", "1"), ("GT-known Loc multi", "5"), ("Mean IoU (0..1)", "1"))


def main() -> None:
    """Make boxes, train, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", help="name or YAML file of a declared data set with truth")
    parser.add_argument("--test", help="another one to test on, instead of every third image")
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--datasets-root", type=Path)
    parser.add_argument("--engine", default="torchvision", choices=("torchvision", "detectron2"))
    parser.add_argument("--boxes", type=int, default=1, help="pseudo boxes per image at most")
    parser.add_argument("--weights", default="pretrained", help="the backbone's")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config entries")
    args = parser.parse_intermixed_args()
    parts = split(DataSets(args.datasets_root), args.dataset, args.test)
    os.environ["WEND_DATASETS"] = str(args.output / "datasets")
    for name, data_set in parts.items():
        declare(args.output / "datasets", name, data_set)
        wend(
            *("pseudo-boxes", "--method", "ddt", "--backbone", BACKBONE, "--group", "all"),
            *("--weights", args.weights, "--boxes", str(args.boxes)),
            *("--dataset", name, "--output", str(args.output / f"boxes_{name}")),
        )
        boxes = args.output / f"boxes_{name}" / "train" / "pseudo_boxes.json"
        declare(args.output / "datasets", name, data_set, boxes)
    run = args.output / "run"
    wend(
        *("train", "--engine", args.engine, "--config-file", str(CONFIG), "OUTPUT_DIR", str(run)),
        *("DATASETS.TRAIN", "('photos_train',)", "DATASETS.TEST", f"{tuple(parts)}"),
        *("MODEL.WEIGHTS", args.weights, *args.opts),
    )
    sys.stdout.write(table(parts, run) + "\n")


def wend(*arguments: str) -> None:
    """Run a command of ``wend``; its error ends this, too."""
    if code := subprocess.run([sys.executable, "-m", "wend", *arguments], check=False).returncode:
        sys.exit(code)


def split(data_sets: DataSets, name: str, test: str | None) -> dict[str, DataSet]:
    """The part to train on and the one to test on: every third image, by name, if none is given."""
    data_set = data_sets.get(name)
    if test:
        return {"photos_train": data_set, "photos_test": data_sets.get(test)}
    order = np.argsort([str(key) for key in data_set.keys])
    third = np.arange(len(order)) % 3 == 2
    parts = {"photos_train": order[~third], "photos_test": order[third]}
    return {part: data_set.take(np.sort(indices)) for part, indices in parts.items()}


def declare(folder: Path, name: str, data_set: DataSet, boxes: Path | None = None) -> None:
    """Write a part as a data set of COCO's format, with pseudo boxes where there are some."""
    folder.mkdir(parents=True, exist_ok=True)
    root = os.path.commonpath([os.path.dirname(os.path.abspath(f)) for f in data_set.file_names])
    images, annotations = [], []
    for index, row in enumerate(data_set):
        images.append(
            {
                "id": index,
                "file_name": os.path.relpath(os.path.abspath(row.file_name), root),
                "width": row.width,
                "height": row.height,
            }
        )
        for x0, y0, x1, y1 in row.gt_boxes.tolist():
            box = {"image_id": index, "category_id": 1, "bbox": [x0, y0, x1 - x0, y1 - y0]}
            annotations.append({"id": len(annotations), **box})
    truth = folder / f"{name}.json"
    categories = [{"id": 1, "name": "object"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    truth.write_text(json.dumps(content), encoding="utf-8")
    entries = {
        **{"name": name, "format": "coco", "images": root, "exif": data_set.exif},
        **{"annotations": str(truth.resolve()), "classes": "none"},
    }
    if boxes:
        entries["pseudo_boxes"] = {"source": "coco", "path": str(boxes.resolve())}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(entries), encoding="utf-8")


def table(parts: dict[str, DataSet], run: Path) -> str:
    """The detector beside pseudo boxes and fixed boxes, on each part."""
    rows = []
    for name in parts:
        data_set = DataSets().get(name)
        best = [_best_iou(row.pseudo_boxes[:1], row.gt_boxes) for row in data_set]
        any_of_5 = [_best_iou(row.pseudo_boxes[:5], row.gt_boxes) for row in data_set]
        right = [100 * np.mean(np.array(ious) > 0.5) for ious in (best, any_of_5)]
        rows.append([name, "pseudo boxes", *(f"{v:.1f}" for v in right), f"{np.mean(best):.3f}"])
        with open(run / "inference" / name / "results.csv", encoding="utf-8") as file:
            lines = {(line["metric"], line["K"]): line for line in csv.DictReader(file)}
        for label, column in (("fixed boxes", "fixed boxes"), ("detector", "value")):
            values = [lines[metric][column] for metric in METRICS]
            shown = [
                f"{float(v):.{d}f}" if v else "" for v, d in zip(values, (1, 1, 3), strict=True)
            ]
            rows.append([name, label, *shown])
    heads = ["", "", "GT-known Loc", "one of the 5 best boxes", "mean IoU"]
    return tabulate(rows, heads, tablefmt="github", disable_numparse=True)


def _best_iou(boxes: np.ndarray, truth: np.ndarray) -> float:
    return float(box_iou(boxes, truth).max(initial=0.0))


if __name__ == "__main__":
    main()
