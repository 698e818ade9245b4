"""What happened in each round, side by side."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tabulate import tabulate

from wend.evaluation.metrics import gt_known_loc
from wend.evaluation.per_image import score
from wend.evaluation.protocols import get_protocol
from wend.files import atomic_write
from wend.structures.box_table import BoxTable
from wend.structures.boxes import paired_iou
from wend.structures.data_set import DataSet

UNCHANGED = 1 - 1e-6  # IoU from which on a box is the same
PROTOCOL = "original"


def best_iou(a: BoxTable, b: BoxTable) -> np.ndarray:
    """IoU (n,) of the best boxes of the images where both tables have one."""
    both = np.flatnonzero((a.counts > 0) & (b.counts > 0))
    return paired_iou(a.boxes[a.offsets[both]], b.boxes[b.offsets[both]])


def accuracy(data_sets: Sequence[DataSet], boxes: BoxTable) -> float | None:
    """Images (per cent) whose best box is right, of those that have a truth; None without any."""
    hits = []
    start = 0
    for data_set in data_sets:
        of_set = boxes[start : start + len(data_set)]
        start += len(data_set)
        known = data_set.truth.with_boxes
        if len(known):
            detections = of_set.take(known).scored()
            per_image = score(data_set.take(known), detections, get_protocol(PROTOCOL))
            hits.append(gt_known_loc.values(per_image))
    return 100 * float(np.concatenate(hits).mean()) if hits else None


@dataclass
class Row:
    """A training of detectors, and the boxes that they learned from.

    Attributes:
        name: such as "round 1".
        images: with a box to learn from.
        changed: images (per cent) whose best box differs from the one before; None at the start.
        iou_with_given: mean IoU of the best box with the given one.
        right: images (per cent) whose best box is right, a check; None without truth.
        held_out_iou: mean IoU of the detectors' best boxes with the given boxes of images that they
            have not seen; None where they have seen all.
        agreement: the same beyond chance.
        looks: mean agreement of the looks on the best box; None where nothing was looked at.
        tests: name -> metric of the detectors, the mean of several.
        verdict: of the boxes, in words.
    """

    name: str
    images: int
    changed: float | None
    iou_with_given: float
    right: float | None
    held_out_iou: float | None = None
    agreement: float | None = None
    looks: float | None = None
    tests: Mapping[str, float] = field(default_factory=dict)
    verdict: str = ""

    def cells(self, tests: Sequence[str]) -> list[str]:
        """Its numbers as text."""
        return [
            self.name,
            str(self.images),
            _text(self.changed, 1),
            _text(self.iou_with_given, 3),
            _text(self.right, 1),
            _text(self.held_out_iou, 3),
            _text(self.agreement, 3),
            _text(self.looks, 3),
            *(_text(self.tests.get(test), 2) for test in tests),
            self.verdict,
        ]


HEADS = (
    "",
    "images",
    "changed (%)",
    "IoU with given",
    "right (%, a check)",
    "held-out IoU with given",
    "beyond chance",
    "agreement of looks",
)


def _text(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _columns(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Heads and cells, without the columns that no row has a value in."""
    tests = list(dict.fromkeys(test for row in rows for test in row.tests))
    heads = [*HEADS, *tests, "boxes are"]
    cells = [row.cells(tests) for row in rows]
    used = [i for i in range(len(heads)) if i == 0 or any(row[i] for row in cells)]
    return [heads[i] for i in used], [[row[i] for i in used] for row in cells]


def show(rows: Sequence[Row]) -> str:
    """The table, for people."""
    heads, cells = _columns(rows)
    return tabulate(cells, heads, tablefmt="github", disable_numparse=True)


def write(folder: Path, rows: Sequence[Row], notes: Sequence[str]) -> list[Path]:
    """Write ``rounds.md`` and ``rounds.csv``."""
    heads, cells = _columns(rows)
    paths = [folder / "rounds.md", folder / "rounds.csv"]
    with atomic_write(paths[0]) as file:
        file.write("\n".join([show(rows), "", *notes]) + "\n")
    with atomic_write(paths[1]) as file:
        csv.writer(file, lineterminator="\n").writerows([heads, *cells])
    return paths
