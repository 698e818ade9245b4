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
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml
from tabulate import tabulate

from wend.evaluation.statistics import holm

IMAGES = {"CUB": 5794, "ImageNet": 50000}  # test images of CUB-200-2011, validation images
METRIC = "gt_known_loc"
TABLES = Path(__file__).with_name("tables.yaml")

HEAD = """# What the paper's numbers show

GT-known Loc (best box) of the paper's tables, each row against its table's reference. σ is the
binomial deviation of a difference of two rates of so many test images (CUB-200-2011: 5,794,
ImageNet-1K: 50,000), as if of different images and of one training each; p is two-sided, by the
normal distribution; "p, Holm" is corrected for all the comparisons of the table. Two detectors of
the same images agree on most of them: a paired test would see more than this, and other seeds
would spread more than this. Neither is in the paper.

Made from the published figures alone by

```
python projects/reproduce/significance.py > docs/what_the_paper_shows.md
```
"""

TAIL = """
## What follows

- WE against BCD is clear for Faster R-CNN and CLN on CUB-200-2011, weak for Deformable DETR, and
  within chance for FCOS there and for every detector on ImageNet-1K.
- No row of tables 4 and 8 is "BCD at that η without WE": with SGD, η alone is also a learning
  rate divided by 1/η, so that a gain of WE with its best η may be η's.
  `configs/ablation/table10/eta_CUB.yaml` and `eta_ImageNet.yaml` are that control,
  `factor_CUB.yaml` and `factor_ImageNet.yaml` are WE with the same balance at η 1
  (`WEND.UNSUP_FACTOR`).
- WE against plain entropy (table 10) is within chance on both data sets, and so is every row of
  table 3 against BCD.
- Table 2's Deformable DETR + WE on CUB-200-2011 (93.69) is none of table 11's rows, whose best is
  93.43 (τ 0.9), and the text names no other setting.
- Table 7's boxes are C2AM's from MoCo weights, not those of the other tables: its figures stand
  beside its own first row alone.
- Table 12's ratio is a cap in Detectron2's sampler: where an image has fewer proposals on its
  objects, the ratio that the detector trains on is smaller than the row's.
"""


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


def differences(tables: dict) -> Iterator[Difference]:
    """Each row of a table against its reference.

    In table 2 a detector with WE stands against itself without, and a detector without against
    SCR; tables 3, 4, 8 and 9 stand against table 2's BCD, table 11 against Deformable DETR without
    WE, tables 10 and 12 against their first row, table 10's WE against its plain entropy, too.
    """
    figures = {
        (number, data, row["label"], row["backbone"]): row["paper"][data][
            tables["metrics"].index(METRIC)
        ]
        for number, table in tables["tables"].items()
        for row in table["rows"]
        for data in row["paper"]
    }
    for (number, data, label, backbone), value in figures.items():
        if value is None:  # a control of ours
            continue
        for other_table, other in _references(number, label):
            against = figures.get((other_table, data, other, backbone))
            if against is not None:
                yield Difference(number, data, f"{label}, {backbone}", other, value, against)


def _references(number: int, label: str) -> list[tuple[int, str]]:
    if number == 2:
        if label.endswith(" + WE"):
            return [(2, label.removesuffix(" + WE"))]
        return [] if label.startswith("C2AM") else [(2, "C2AM (SCR)")]
    if number in (3, 4, 8, 9):
        return [(2, "Faster R-CNN")]
    if number == 7:
        return [] if label.startswith("C2AM") else [(7, "C2AM (SCR)")]
    if number == 10:
        return {"BCD": [], "BCD + entropy": [(10, "BCD")]}.get(
            label, [(10, "BCD"), (10, "BCD + entropy")]
        )
    if number == 11:
        return [(2, "Deformable DETR")]
    return [(12, "1:1")] if number == 12 and label != "1:1" else []


def page(tables: dict) -> str:
    """The page in Markdown."""
    parts, rows_of = [HEAD], {}
    for difference in differences(tables):
        rows_of.setdefault(difference.table, []).append(difference)
    for number, rows in rows_of.items():
        corrected = holm([row.p_value for row in rows])
        body = [
            [
                row.data,
                row.label,
                row.reference,
                f"{row.value:.2f}",
                f"{row.other:.2f}",
                f"{row.value - row.other:+.2f}",
                f"{row.sigma:.2f}",
                f"{row.z:+.1f}",
                f"{row.p_value:.2g}",
                f"{p:.2g}",
            ]
            for row, p in zip(rows, corrected, strict=True)
        ]
        header = ["data", "row", "against", "row's", "reference's", "difference", "σ", "in σ", "p"]
        parts.append(f"## Table {number}: {tables['tables'][number]['title']}\n")
        parts.append(
            tabulate(body, [*header, "p, Holm"], tablefmt="github", disable_numparse=True) + "\n"
        )
    return "\n".join(parts) + TAIL


if __name__ == "__main__":
    sys.stdout.write(page(yaml.safe_load(TABLES.read_text(encoding="utf-8"))))
