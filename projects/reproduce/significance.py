"""What the paper's differences can show: each against the spread that its number of images allows.

    python projects/reproduce/significance.py > docs/what_the_paper_shows.md

From the published figures of tables.yaml alone. A rate p of n images, one training, has the
binomial deviation sqrt(p (1 - p) / n); a difference of two rates, as if of different images,
sqrt(of the sum of both squares). Two detectors of the same images agree on most of them, so that a
paired test would see more; how much, the paper's figures do not tell. What a second seed would
change is not in them either, and adds to the spread.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml
from tabulate import tabulate

from wend.evaluation.statistics import holm

IMAGES = {"CUB": 5794, "ImageNet": 50000}  # test images of CUB-200-2011, validation images
METRICS = {"gt_known_loc": "best box", "gt_known_loc_multi": "one of several boxes"}
SMALLEST = 1e-16  # of the p that are printed
TABLES = Path(__file__).with_name("tables.yaml")

HEAD = """# What the paper's numbers show

GT-known Loc of the paper's tables 2 to 12, of the best box and of several, each row against what
the paper says that it is better than, or against its table's reference. σ is the binomial deviation
of a difference of two rates of so many test images (CUB-200-2011: 5,794, ImageNet-1K: 50,000), as
if of different images and of one training each; p is two-sided, by the normal distribution; "p,
Holm" is corrected for all the comparisons of its list. Two detectors of the same images agree on
most of them: a paired test would see more than this, and other seeds would spread more than this.
Neither is in the paper. Table 1 is about parameters and seconds.

Made from the published figures alone by

```
python projects/reproduce/significance.py > docs/what_the_paper_shows.md
```
"""

TAIL = """
## What follows

- WE against BCD, best box (table 2): clear for Faster R-CNN and CLN on CUB-200-2011, weak for
  Deformable DETR (1.9 σ), and within chance for FCOS there and for every detector on ImageNet-1K.
  Of several boxes it is as clear for Faster R-CNN and CLN on CUB-200-2011, and on ImageNet-1K for
  Faster R-CNN on DenseNet161 (3.1 σ) alone.
- BCD against SCR, best box: all but Deformable DETR and Faster R-CNN on DenseNet161 on CUB-200-2011
  are beyond 2 σ. SCR has one box, so that nothing of its own stands beside several.
- No row of tables 4 and 8 is "BCD at that η without WE": with SGD, η alone is also a learning
  rate divided by 1/η, so that a gain of WE with its best η may be η's.
  `configs/ablation/table10/eta_CUB.yaml` and `eta_ImageNet.yaml` are that control,
  `factor_CUB.yaml` and `factor_ImageNet.yaml` are WE with the same balance at η 1
  (`WEND.UNSUP_FACTOR`).
- WE against plain entropy (table 10) is within chance on both data sets, and so is every row of
  table 3 against BCD: what table 4 gains from η 1 to η 0.125 is 2.5 times as much as what
  WE gains at η 1. Of several boxes plain entropy is 2.5 σ above BCD on both data sets.
- Table 8: no η is better than BCD beyond chance by the best box; of several boxes 0.0625 and
  0.03125 are, by 3 σ.
- Table 5 has "consistently outperforms the existing works in terms of all criteria". By its own
  figures PPD (97.0) is above WEND on CUB-200-2011, BAS (95.13) within chance of it, and FAM (71.73)
  and BAS (71.77) are above WEND on ImageNet-1K, whose best box is correct in 69.89.
- Table 6, best box: no detector is better frozen than trained beyond chance (on ImageNet-1K CLN
  +0.08 and Deformable DETR +0.06, 0.3 σ and less); the others lose, and all lose on CUB-200-2011.
  Of several boxes Deformable DETR is better frozen (CUB-200-2011 +0.69, 3.7 σ, ImageNet-1K +0.46,
  2.0 σ), and the others lose. The figures of FCOS from MoCo weights are the same on both data
  sets, so that one of them must be a slip. CLN on CUB-200-2011 is 10.9 points better from MoCo
  weights than from ImageNet's, Faster R-CNN 13.0 points worse.
- Table 7's boxes are C2AM's from MoCo weights, not those of the other tables: its figures stand
  beside its own first row, the boxes themselves, and C2AM's SCR on them.
- All values of τ in table 9 are the same within chance; so are those of table 11, and none of
  them is better than Deformable DETR without WE beyond chance. Table 2's Deformable DETR + WE on
  CUB-200-2011 (93.69) is none of table 11's rows, whose best is 93.43 (τ 0.9), and the text names
  no other setting.
- Table 12's ratios from 1:1 to 1:4 are the same within chance; 1:5 is 1.9 σ below 1:1. The ratio is
  a cap in Detectron2's sampler: where an image has fewer proposals on its objects, the ratio that
  the detector trains on is smaller than the row's (`WEND.RCNN.RATIO exact` keeps it).
"""

OTHERS = (  # of table 5
    *("CAM", "ADL", "I²C", "SPA", "FAM", "ORNet", "BAS", "PPD", "GC-Net", "PSOL", "SLT-Net"),
    "C2AM",
)


class Figure(NamedTuple):
    """Where a published figure stands.

    Attributes:
        table: number of the paper's table.
        data: "CUB" or "ImageNet".
        label, backbone: of its row.
    """

    table: int
    data: str
    label: str
    backbone: str


class Difference(NamedTuple):
    """A row of a table against its reference.

    Attributes:
        table: number of the paper's table.
        data: "CUB" or "ImageNet".
        label, reference: of the two rows.
        value, other: their figures in per cent.
    """

    table: int
    data: str
    label: str
    reference: str
    value: float
    other: float

    @property
    def sigma(self) -> float:
        """The binomial deviation of the difference, in points."""
        shares = (self.value / 100, self.other / 100)
        return 100 * math.sqrt(sum(p * (1 - p) for p in shares) / IMAGES[self.data])

    @property
    def z(self) -> float:
        """The difference in units of :attr:`sigma`."""
        return (self.value - self.other) / self.sigma

    @property
    def p_value(self) -> float:
        """Two-sided, of the hypothesis "no difference"."""
        return math.erfc(abs(self.z) / math.sqrt(2))


def published(tables: dict, metric: str) -> dict[Figure, float]:
    """The published figures of a metric."""
    index = tables["metrics"].index(metric)
    return {
        Figure(number, data, row["label"], row["backbone"]): figures[index]
        for number, table in tables["tables"].items()
        for row in table["rows"]
        for data, figures in row["paper"].items()
        if figures[index] is not None
    }


def differences(tables: dict, metric: str = "gt_known_loc") -> Iterator[Difference]:
    """Each row of a table against its references, where both have a figure of the metric.

    In table 2 a detector with WE stands against itself without, and a detector without against
    SCR; tables 3, 4, 8 and 9 stand against table 2's BCD; table 5's WEND against each other method;
    table 6's rows against SCR of the same weights, against the same detector trained whole (table
    2), and those from MoCo weights against those from ImageNet's; table 7's against its boxes and
    SCR; table 11's against Deformable DETR without WE; tables 10 and 12 against their first row,
    table 10's WE against its plain entropy, too.
    """
    figures = published(tables, metric)
    for figure, value in figures.items():
        for table, label in _references(figure.table, figure.label):
            for other, reference in figures.items():
                if (other.table, other.data, other.label) != (table, figure.data, label):
                    continue
                if other.backbone == figure.backbone or table == 5:
                    named = f"{label}, {other.backbone}" if table == 5 else label
                    named += " (table 2)" if table == 2 and figure.table == 6 else ""
                    row = f"{figure.label}, {figure.backbone}"
                    yield Difference(figure.table, figure.data, row, named, value, reference)


def _references(number: int, label: str) -> list[tuple[int, str]]:
    """Tables and labels of the rows that a row stands against."""
    if number == 2:
        if label.endswith(" + WE"):
            return [(2, label.removesuffix(" + WE"))]
        return [] if label.startswith("C2AM") else [(2, "C2AM (SCR)")]
    if number in (3, 4, 8, 9):
        return [(2, "Faster R-CNN")]
    if number == 5:
        return [(5, other) for other in OTHERS] if label == "WEND" else []
    if number == 6:
        detector, from_moco, _ = label.partition(" (MoCo)")
        if from_moco:
            scr = [(6, "SCR (MoCo)")] if detector != "SCR" else []
            return [*scr, (6, detector)]
        whole = "C2AM (SCR)" if detector == "SCR" else f"{detector} + WE"
        return [*([(6, "SCR")] if detector != "SCR" else []), (2, whole)]
    if number == 7:
        boxes, scr = (7, "C2AM's boxes from MoCo weights"), (7, "C2AM (SCR)")
        return {boxes[1]: [], scr[1]: [boxes]}.get(label, [boxes, scr])
    if number == 10:
        return {"BCD": [], "BCD + entropy": [(10, "BCD")]}.get(
            label, [(10, "BCD"), (10, "BCD + entropy")]
        )
    if number == 11:
        return [(2, "Deformable DETR")]
    return [(12, "1:1")] if number == 12 and label != "1:1" else []


HEADER = (
    *("data", "row", "against", "row's", "reference's", "difference", "σ", "in σ", "p"),
    "p, Holm",
)


def page(tables: dict) -> str:
    """The page in Markdown."""
    parts = [HEAD]
    by_metric = {metric: list(differences(tables, metric)) for metric in METRICS}
    for number, table in tables["tables"].items():
        parts.append(f"## Table {number}: {table['title']}\n")
        for metric, title in METRICS.items():
            rows = [row for row in by_metric[metric] if row.table == number]
            if rows:
                parts += [f"GT-known Loc, {title}:\n", _listed(rows)]
    return "\n".join(parts) + TAIL


def _listed(rows: Sequence[Difference]) -> str:
    corrected = holm([row.p_value for row in rows])
    body = [
        [
            *(row.data, row.label, row.reference, f"{row.value:.2f}", f"{row.other:.2f}"),
            *(f"{row.value - row.other:+.2f}", f"{row.sigma:.2f}", f"{row.z:+.1f}"),
            *(f"{p:.2g}" if p >= SMALLEST else f"< {SMALLEST}" for p in (row.p_value, adjusted)),
        ]
        for row, adjusted in zip(rows, corrected, strict=True)
    ]
    return tabulate(body, HEADER, tablefmt="github", disable_numparse=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page(yaml.safe_load(TABLES.read_text(encoding="utf-8"))))
