"""What the answers about an audit tell: numbers, a list of wrong boxes, a score for each box.

Only boxes that were drawn count for the estimate: which others a human looked at was no chance.
Unsure is no answer: the estimate is of the others, and two more say what it would be if all unsure
boxes were wrong, or right.

Shape letters: B = boxes, H = strata.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wend.audit.answers import is_answer
from wend.audit.calibration import Calibration, calibrate
from wend.audit.estimate import Bounds, Counts, Estimate, bounds, estimate, number_for_width
from wend.audit.suspicion import ranking_area
from wend.audit.table import AuditTable
from wend.audit.words import RIGHT, UNSURE, WRONG
from wend.errors import InputError
from wend.files import atomic_write, write_json
from wend.formats.coco import to_coco
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet

OUTCOME_FILE, WRONG_FILE, SCORES_FILE = "estimate.json", "wrong.jsonl", "scored_boxes.json"
WIDTHS = (0.2, 0.15, 0.1, 0.05)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the answers tell.

    Attributes:
        estimate: the accuracy of all boxes.
        bounds: where some are unsure; else None.
        counts: answers by stratum.
        strata: the accuracy of each stratum's boxes; None for one without an answer.
        drawn: (H,) boxes drawn of each stratum.
        unsure: (H,) of them unsure.
        left_out: drawn boxes without any answer that come before one with an answer.
        others: answered boxes that were not drawn.
        areas: signal, or "suspicion" -> area under its ROC curve on the answered boxes.
        calibration: of the suspicion.
        scores: (B,) probability that a box is right; 1 or 0 where a human said so.
        needed: width of the interval -> boxes to look at for it.
    """

    estimate: Estimate
    bounds: Bounds | None
    counts: Counts
    strata: Sequence[Estimate | None]
    drawn: np.ndarray
    unsure: np.ndarray
    left_out: int
    others: int
    areas: dict[str, float]
    calibration: Calibration
    scores: np.ndarray
    needed: dict[float, int]

    def to_dict(self) -> dict[str, Any]:
        """All numbers as plain values; what is not a number is null."""
        value: dict[str, Any] = {
            "boxes": int(self.counts.sizes.sum()),
            "drawn": int(self.drawn.sum()),
            "right": int(self.counts.right.sum()),
            "wrong": int((self.counts.answered - self.counts.right).sum()),
            "unsure": int(self.unsure.sum()),
            "left_out_between": self.left_out,
            "answered_but_not_drawn": self.others,
            "accuracy": asdict(self.estimate),
            "if_unsure_are_wrong": None if self.bounds is None else asdict(self.bounds.wrong),
            "if_unsure_are_right": None if self.bounds is None else asdict(self.bounds.right),
            "strata": [
                {
                    "stratum": number,
                    "boxes": int(self.counts.sizes[number - 1]),
                    "drawn": int(self.drawn[number - 1]),
                    "answered": int(self.counts.answered[number - 1]),
                    "right": int(self.counts.right[number - 1]),
                    "accuracy": None if part is None else asdict(part),
                }
                for number, part in enumerate(self.strata, 1)
            ],
            "ranking_area": self.areas,
            "calibration": asdict(self.calibration),
            "boxes_for_width": {f"{width:g}": number for width, number in self.needed.items()},
        }
        plain: dict[str, Any] = _without_nonfinite(value)
        return plain


def _without_nonfinite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nonfinite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_nonfinite(each) for each in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def evaluate_answers(
    table: AuditTable,
    answers: Sequence[str],
    *,
    level: float = 0.95,
    widths: Sequence[float] = WIDTHS,
) -> Outcome:
    """What the answers tell of all boxes.

    Args:
        answers: about each of the B boxes, as of :func:`wend.audit.answers.read_answers`.
        level: of the intervals.
        widths: of intervals to say the number of boxes for.

    Raises:
        InputError: no drawn box is answered right or wrong.
    """
    right, wrong, unsure = (is_answer(answers, answer) for answer in (RIGHT, WRONG, UNSURE))
    drawn = table.draw > 0
    told = right | wrong
    if not (told & drawn).any():
        raise InputError(
            f"{table.path}: none of the {int(drawn.sum())} drawn boxes is answered right or wrong; "
            f"answer them on the page and name its answers.json by --answers, or type the answers "
            f"into the column answer"
        )

    def by_stratum(boxes: np.ndarray) -> np.ndarray:
        return np.bincount(table.stratum[boxes], minlength=int(table.stratum.max()) + 1)

    sizes = by_stratum(np.ones(len(answers), dtype=bool))
    counts = Counts(sizes, by_stratum(told & drawn), by_stratum(right & drawn))
    unsure_counts = by_stratum(unsure & drawn)
    rows = np.flatnonzero(told & drawn)
    weights = (counts.sizes / np.maximum(counts.answered, 1))[table.stratum[rows]]
    calibration = calibrate(table.suspicion[rows], wrong[rows], weights)
    scores = 1 - calibration.wrong(table.suspicion)
    scores[right], scores[wrong] = 1.0, 0.0
    last = int(table.draw[(told | unsure) & drawn].max())
    silent = drawn & ~told & ~unsure
    columns = {"suspicion": table.suspicion, **table.signals}
    return Outcome(
        estimate(counts, level),
        bounds(counts, unsure_counts, level) if unsure_counts.any() else None,
        counts,
        [_of_stratum(counts, h, level) for h in range(len(sizes))],
        by_stratum(drawn),
        unsure_counts,
        int((silent & (table.draw < last)).sum()),
        int(((told | unsure) & ~drawn).sum()),
        {name: ranking_area(values[rows], wrong[rows]) for name, values in columns.items()},
        calibration,
        scores,
        {width: number_for_width(counts, width, level) for width in widths},
    )


def _of_stratum(counts: Counts, stratum: int, level: float) -> Estimate | None:
    if not counts.answered[stratum]:
        return None
    part = slice(stratum, stratum + 1)
    return estimate(Counts(counts.sizes[part], counts.answered[part], counts.right[part]), level)


def write_outcome(
    folder: Path, table: AuditTable, answers: Sequence[str], outcome: Outcome
) -> list[Path]:
    """Write the numbers, the list of wrong boxes' images, and the boxes with their scores."""
    write_json(folder / OUTCOME_FILE, {"audit": table.digest, **outcome.to_dict()}, indent=1)
    wrong = np.flatnonzero(is_answer(answers, WRONG)).tolist()
    with atomic_write(folder / WRONG_FILE) as file:
        for box in wrong:  # as lines of 'wend data check', which WEND.DATA.QUARANTINE reads
            row = {
                "key": table.keys[box],
                "problem": "box_answered_wrong",
                "box": table.boxes[box].tolist(),
                "leave_out": True,
            }
            file.write(json.dumps(row) + "\n")
    write_json(folder / SCORES_FILE, scored_boxes(table, outcome.scores))
    return [folder / name for name in (OUTCOME_FILE, WRONG_FILE, SCORES_FILE)]


def scored_boxes(table: AuditTable, scores: np.ndarray) -> dict[str, Any]:
    """The boxes with scores (B,) as COCO's JSON, which the box source ``coco`` reads."""
    index = {key: i for i, key in enumerate(dict.fromkeys(table.keys))}
    image = np.array([index[key] for key in table.keys], dtype=np.int64)
    sizes = np.zeros((len(index), 2), dtype=np.int64)
    sizes[image] = table.sizes
    keys = list(index)
    boxes = BoxTable.from_rows(image, table.boxes, scores, len(keys))
    data_set = DataSet(
        name="wend boxes audit",
        image_ids=list(range(1, len(keys) + 1)),
        file_names=keys,
        keys=keys,
        sizes=sizes,
        class_ids=np.full(len(keys), -1, dtype=np.int64),
        truth=BoxTable.empty(len(keys)),
        pseudo_boxes=boxes,
    )
    info = {"description": "pseudo boxes; score: the probability that a box is right"}
    return to_coco(data_set, boxes, info)
