"""Does a box's score tell images without an object, wrong boxes, and how many objects there are?

    python projects/benchmark/objects/scenes.py OUT                        # the images, once
    wend pseudo-boxes --dataset OUT/scenes.yaml --boxes 5 --method lost --output OUT --split lost
    python projects/benchmark/objects/scores.py OUT/truth.json OUT/lost ...

The second command goes on where it was interrupted. The third takes the folders of any boxes of
these images, and has a row of each. AUROC: how often an image of the first kind has a higher first
score than one of the second; 0.5 is chance. The threshold of the counts has the best F1 on every
other image, the numbers beside it are of the rest.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from wend.errors import InputError
from wend.evaluation.tables import format_table
from wend.files import read_json
from wend.structures.boxes import box_iou

NONE, CONTROLS, SEVERAL = (
    ("background", "texture", "sky"),
    ("near", "shrunk"),
    ("mosaic", "several"),
)
HEADER = [
    *("method", "one / none", "control / background", "several / none"),
    *("right / wrong", "right", "threshold", "precision", "recall", "count error", "without"),
]
Scene = tuple[np.ndarray, np.ndarray, np.ndarray]  # true boxes (M, 4), boxes (N, 4), scores (N,)


def auroc(higher: np.ndarray, lower: np.ndarray) -> float:
    """How often a number of the first is above one of the second; ties count half."""
    if not len(higher) or not len(lower):
        return float("nan")
    ranks = rankdata(np.concatenate([higher, lower]))[: len(higher)]
    return float((ranks.sum() - len(higher) * (len(higher) + 1) / 2) / len(higher) / len(lower))


def hits(truth: np.ndarray, boxes: np.ndarray) -> int:
    """Boxes, best first, that have IoU > 0.5 with a true box that no box before has."""
    if not len(boxes) or not len(truth):
        return 0
    overlaps = box_iou(boxes, truth)
    free = np.ones(len(truth), dtype=bool)
    for row in overlaps:
        best = int(np.argmax(np.where(free, row, -1.0)))
        free[best] &= row[best] <= 0.5
    return int((~free).sum())


def counts(scenes: list[Scene], threshold: float) -> tuple[float, float, float, float]:
    """F1, precision, recall of boxes with scores above a threshold, and the counts' mean error."""
    kept = [(truth, boxes[scores > threshold]) for truth, boxes, scores in scenes]
    right = sum(hits(truth, boxes) for truth, boxes in kept)
    true, shown = (sum(len(pair[side]) for pair in kept) for side in (0, 1))
    error = float(np.mean([abs(len(truth) - len(boxes)) for truth, boxes in kept]))
    precision, recall = right / max(shown, 1), right / max(true, 1)
    return 2 * right / max(true + shown, 1), precision, recall, error


def row_of(name: str, scenes: Mapping[str, Scene]) -> list[str]:
    """A method's row of the table, of scenes by ``<kind>/<file>``."""
    kinds = np.array([key.split("/")[0] for key in scenes])
    first = np.array([scores.max(initial=0) for _, _, scores in scenes.values()])
    is_right = np.array([bool(hits(truth, boxes[:1])) for truth, boxes, _ in scenes.values()])

    def is_of(*names: str) -> np.ndarray:
        return np.isin(kinds, names)

    none, single = is_of(*NONE), is_of("one")
    pairs = [(single, none), (is_of(*CONTROLS), is_of("background")), (is_of(*SEVERAL), none)]
    pairs.append((single & is_right, single & ~is_right))
    chosen, rest = list(scenes.values())[::2], list(scenes.values())[1::2]
    thresholds = np.unique(np.concatenate([scores for _, _, scores in chosen]))[::-1]
    thresholds = thresholds[:: max(1, len(thresholds) // 50)]
    best = max(thresholds.tolist(), key=lambda threshold: counts(chosen, threshold)[0])
    _, precision, recall, error = counts(rest, best)
    numbers = [f"{auroc(first[a], first[b]):.2f}" for a, b in pairs]
    numbers += [f"{100 * is_right[single].mean():.0f}", f"{best:.2f}"]
    numbers += [f"{100 * precision:.0f}", f"{100 * recall:.0f}", f"{error:.2f}"]
    return [name, *numbers, f"{counts(rest, -1.0)[3]:.2f}"]


def read_scenes(truth: Path, boxes: Path) -> dict[str, Scene]:
    """The scenes of two COCO files: of the truth, and of a method's boxes."""
    tables = []
    for path in (truth, boxes):
        content = read_json(path, "boxes of the scenes")
        names = {image["id"]: image["file_name"] for image in content["images"]}
        rows: dict[str, list[list[float]]] = {name: [] for name in names.values()}
        for annotation in content["annotations"]:
            x, y, w, h = annotation["bbox"]
            row = [x, y, x + w, y + h, annotation.get("score", 1.0)]
            rows[names[annotation["image_id"]]].append(row)
        tables.append(
            {name: np.array(each, dtype=float).reshape(-1, 5) for name, each in rows.items()}
        )
    true, made = tables
    by_end = {"/".join(name.split("/")[-2:]): rows for name, rows in made.items()}
    if missing := sorted(set(true) - set(by_end)):
        raise InputError(f"{boxes}: has no boxes of {missing[0]} of {truth}")
    return {
        name: (rows[:, :4], by_end[name][:, :4], by_end[name][:, 4]) for name, rows in true.items()
    }


def main() -> None:
    """Print the table of the methods that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("truth", type=Path, help="truth.json, that scenes.py made")
    parser.add_argument("boxes", nargs="+", type=Path, help="folders with a pseudo_boxes.json")
    args = parser.parse_args()
    made = [read_scenes(args.truth, folder / "pseudo_boxes.json") for folder in args.boxes]
    rows = [row_of(path.name, each) for path, each in zip(args.boxes, made, strict=True)]
    sys.stdout.write(format_table(HEADER, rows) + "\n")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
