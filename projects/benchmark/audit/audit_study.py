"""How good ``wend boxes audit`` is, where the truth is known (docs/audit.md).

    python projects/benchmark/audit/audit_study.py ranking AUDIT --datasets-root DIR
    python projects/benchmark/audit/audit_study.py coverage [AUDIT ...] --datasets-root DIR

``ranking`` prints the area under the ROC curve of each signal of an audit's folder and of the
suspicion, and how many boxes of each stratum are right. ``coverage`` draws thousands of samples,
answers them by the truth, and prints how often the interval holds the accuracy, and its mean width,
beside simple random sampling: of made-up boxes, whose suspicion separates wrong from right boxes
with a given area, and of the boxes of audits.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import NormalDist

import numpy as np
from tabulate import tabulate

from wend.audit.design import draw_sample
from wend.audit.estimate import Counts, Estimate, estimate
from wend.audit.signals import Column, best_iou
from wend.audit.suspicion import ranking_area, suspicion
from wend.audit.table import AuditTable, read_audit
from wend.cli.named_boxes import load_images
from wend.datasets.catalog import DataSets
from wend.structures.box_table import BoxTable

ACCURACIES = (0.25, 0.45, 0.74, 0.9, 0.97)
AREAS = (0.5, 0.7, 0.85, 0.95)
NUMBERS = (300, 10_000)


def truth_of(folder: Path, root: str | None) -> tuple[AuditTable, np.ndarray]:
    """An audit and whether each of its boxes (B,) is right, by the truth of its data set."""
    table = read_audit(folder)
    data_set = load_images(str(table.info["dataset"]), DataSets(root))
    index = data_set.index_of_key
    image = np.array([index[key] for key in table.keys])
    order = np.argsort(image, kind="stable")
    boxes = BoxTable.from_rows(image[order], table.boxes[order], None, len(data_set))
    right = np.zeros(len(image), dtype=bool)
    right[order] = best_iou(boxes, data_set.truth) > 0.5
    return table, right


def ranking(table: AuditTable, right: np.ndarray) -> str:
    """The areas of the signals, of parts of them together, and of the suspicion; the strata."""
    families: dict[str, list[Column]] = {}
    rows = []
    for name, values in table.signals.items():
        family, meaning = table.info["signals"][name]
        families.setdefault(family, []).append(Column(name, family, meaning, values))
        rows.append([name, f"{ranking_area(values, ~right):.3f}"])
    for family, columns in families.items():
        rows.append(
            [f"family {family}", f"{ranking_area(suspicion(columns, len(right)), ~right):.3f}"]
        )
    rows.append(["suspicion", f"{ranking_area(table.suspicion, ~right):.3f}"])
    strata = [
        [
            stratum + 1,
            int((table.stratum == stratum).sum()),
            f"{100 * right[table.stratum == stratum].mean():.1f}",
        ]
        for stratum in range(int(table.stratum.max()) + 1)
    ]
    return "\n\n".join(
        [
            f"{len(right)} boxes, {100 * right.mean():.1f} % right",
            tabulate(rows, ["signal", "area"], tablefmt="github", disable_numparse=True),
            tabulate(strata, ["stratum", "boxes", "right (%)"], tablefmt="github"),
        ]
    )


def made_up(
    number: int, accuracy: float, area: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Whether each of some boxes is right, and a suspicion with about this area."""
    right = np.arange(number) < round(number * accuracy)
    apart = 2**0.5 * NormalDist().inv_cdf(area)
    return right, random.normal(size=number) - apart * right


def trial(
    right: np.ndarray, marks: np.ndarray, sample: int, draws: int, random: np.random.Generator
) -> list[float]:
    """Coverage and mean width in points of the audit's sample, then of one drawn from all boxes."""
    design = draw_sample(marks, sample)
    parts = [right[design.stratum == h] for h in range(len(design.sizes))]
    stratified = np.stack(
        [
            random.hypergeometric(part.sum(), len(part) - part.sum(), n, draws)
            for part, n in zip(parts, design.drawn, strict=True)
        ],
        1,
    )
    simple = random.hypergeometric(right.sum(), (~right).sum(), design.drawn.sum(), (draws, 1))
    results = []
    for sizes, drawn, rows in (
        (design.sizes, design.drawn, stratified),
        (design.sizes.sum(keepdims=True), design.drawn.sum(keepdims=True), simple),
    ):
        seen, times = np.unique(rows, axis=0, return_counts=True)
        made = [estimate(Counts(sizes, drawn, row)) for row in seen]
        results += [
            float(np.average([_holds(each, right.mean()) for each in made], weights=times)),
            float(np.average([100 * (each.high - each.low) for each in made], weights=times)),
        ]
    return results


def _holds(made: Estimate, accuracy: float) -> bool:
    return made.low - 1e-12 <= accuracy <= made.high + 1e-12


def coverage(args: argparse.Namespace) -> Iterator[list]:
    """Rows: boxes, accuracy, area, coverage and width of the audit's sample and of a simple one."""
    random = np.random.default_rng(args.seed)
    for number in NUMBERS:
        for accuracy in ACCURACIES:
            for area in AREAS:
                right, marks = made_up(number, accuracy, area, random)
                numbers = trial(right, marks, args.sample, args.draws, random)
                yield _row(f"{number} made up", accuracy, area, numbers)
    for folder in args.audits:
        table, right = truth_of(folder, args.datasets_root)
        numbers = trial(right, table.suspicion, args.sample, args.draws, random)
        area = ranking_area(table.suspicion, ~right)
        yield _row(f"{len(right)} of {folder.name}", float(right.mean()), area, numbers)


def _row(name: str, accuracy: float, area: float, numbers: list[float]) -> list:
    held, width, simple_held, simple_width = numbers
    cells = [f"{held:.3f}", f"{width:.1f}", f"{simple_held:.3f}", f"{simple_width:.1f}"]
    return [name, f"{100 * accuracy:.1f}", f"{area:.2f}", *cells]


def main() -> int:
    """Run one of the two studies."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("study", choices=["ranking", "coverage"])
    parser.add_argument("audits", nargs="*", type=Path, metavar="AUDIT", help="folders of audits")
    parser.add_argument("--datasets-root", metavar="DIR")
    parser.add_argument("--sample", type=int, default=100)
    parser.add_argument("--draws", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.study == "ranking":
        for folder in args.audits:
            sys.stdout.write(f"\n{folder}: {ranking(*truth_of(folder, args.datasets_root))}\n")
        return 0
    rows = list(coverage(args))
    head = ["boxes", "right (%)", "area", "coverage", "width", "of a simple sample", "its width"]
    sys.stdout.write(tabulate(rows, head, tablefmt="github", disable_numparse=True) + "\n")
    least = min(float(row[3]) for row in rows)
    sys.stdout.write(json.dumps({"least_coverage": least, "draws": args.draws}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
