"""What a detector's numbers are worth: beside its pseudo boxes and boxes that never look."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tabulate import tabulate

from wend.auto.matching import match
from wend.evaluation.fixed_boxes import FixedBoxes
from wend.evaluation.metrics import accuracy, gt_known_loc
from wend.evaluation.per_image import score
from wend.evaluation.protocols import get_protocol
from wend.evaluation.statistics import paired_difference
from wend.reports.words import better_or_worse
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet

K = 5
DETECTOR, PSEUDO, FIXED = "detector", "pseudo boxes", "fixed boxes"
PROTOCOL = "original"


@dataclass(frozen=True)
class Row:
    """Numbers of some boxes against reference boxes, in per cent.

    Attributes:
        hits: (images,) bool: the best box has IoU > 0.5 with a reference box.
        one_of_k: images of which one of the K best boxes has.
        objects: reference boxes with which one of the K best boxes has IoU >= 0.5, each its own.
    """

    hits: np.ndarray
    one_of_k: float
    objects: float

    @property
    def best(self) -> float:
        """Images whose best box has IoU > 0.5 with a reference box."""
        return 100.0 * float(self.hits.mean())


@dataclass(frozen=True)
class Standing:
    """A detector beside other boxes, on held-out photos.

    Attributes:
        images: how many.
        truth: whether the reference boxes are the truth; else they are pseudo boxes.
        rows: name -> numbers.
    """

    images: int
    truth: bool
    rows: dict[str, Row]

    def table(self) -> str:
        """The numbers, for people."""
        head = ["", "best box", f"one of {K} boxes", f"objects found by {K} boxes"]
        rows = [
            [name, f"{row.best:.1f}", f"{row.one_of_k:.1f}", f"{row.objects:.1f}"]
            for name, row in self.rows.items()
        ]
        return tabulate(rows, head, disable_numparse=True)

    def sentences(self) -> list[str]:
        """Where the detector stands, in plain words; what is not better is said first."""
        reference = "the true boxes" if self.truth else "their pseudo boxes"
        ours = self.rows[DETECTOR]
        said = []
        for other, words in (
            (FIXED, "one fixed box that never looks at the photo"),
            (PSEUDO, "the pseudo boxes that it learned from"),
        ):
            if other not in self.rows:
                continue
            theirs = self.rows[other]
            said.append(
                f"On {self.images} held-out photos the detector's best box is "
                f"{better_or_worse(paired_difference(ours.hits, theirs.hits))} {words}: "
                f"{ours.best:.1f} % against {theirs.best:.1f} % agree with {reference}."
            )
        said.sort(key=lambda sentence: " better than" in sentence and "NOT" not in sentence)
        if any("NOT" in sentence for sentence in said):
            said.append(
                "Better and worse are said where the 95 % interval of the difference on the same "
                "photos excludes zero; few photos show only large differences."
            )
        if not self.truth:
            said.append(
                "There is no truth: these numbers say how well the detector repeats pseudo boxes, "
                "which may be wrong themselves; --truth DIR would say how many boxes are right."
            )
        return said


def _row(data_set: DataSet, boxes: BoxTable) -> Row:
    per_image = score(data_set, boxes.scored(), get_protocol(PROTOCOL))
    first = boxes.first(K)
    hits = int(match(first, data_set.truth).sum())
    return Row(
        gt_known_loc.values(per_image),
        accuracy(per_image, "gt_known_loc_multi", K),
        100.0 * hits / len(data_set.truth.boxes),
    )


def stand(
    data_set: DataSet,
    detections: BoxTable,
    training: DataSet,
    pseudo: BoxTable | None = None,
) -> Standing:
    """The detector's numbers beside others'.

    Args:
        data_set: held-out photos, each with a reference box as its truth.
        detections: the detector's boxes of them.
        training: photos with the boxes that were learned, on which fixed boxes are chosen.
        pseudo: pseudo boxes of the held-out photos, where the reference boxes are the truth.
    """
    fixed = FixedBoxes.from_training([training]).table(data_set, get_protocol(PROTOCOL), K)
    tables = {DETECTOR: detections, PSEUDO: pseudo, FIXED: fixed}
    rows = {name: _row(data_set, boxes) for name, boxes in tables.items() if boxes is not None}
    return Standing(len(data_set), pseudo is not None, rows)
