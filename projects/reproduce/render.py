"""Finished runs -> tables: mean and standard deviation over seeds, beside the paper's figures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from plan import CONFIGS, REPOSITORY, Row, Run
from runs import is_finished
from tabulate import tabulate

from wend.files import atomic_write, read_json
from wend.run_files import LOSSES_FILE

PROTOCOLS = ("psol-crop224", "original")  # the paper's, and the one without a crop
METRICS = {  # multi-box ones at WEND.MAX_BOXES, or at the K behind "@"
    "top1_loc": "Top-1",
    "top5_loc": "Top-5",
    "top5_loc_multi": "Top-5 multi",
    "gt_known_loc": "GT-known",
    "gt_known_loc_multi": "GT-known multi",
    "gt_known_loc_multi@all": "GT-known multi, K all",
}


@dataclass(frozen=True)
class Spread:
    """A metric over the seeds of a config.

    Attributes:
        values: per cent, one a seed.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """In per cent."""
        return mean(self.values)

    @property
    def sd(self) -> float | None:
        """Standard deviation (n - 1) in per cent; None for one seed."""
        return stdev(self.values) if len(self.values) > 1 else None

    def text(self, digits: int) -> str:
        """Mean and standard deviation with so many digits behind the point."""
        sd = "" if self.sd is None else f" ± {self.sd:.{digits}f}"
        return f"{self.mean:.{digits}f}{sd}"

    def __str__(self) -> str:
        return self.text(2)


STUDY_METRICS = {  # of a study, under one protocol
    "gt_known_loc": "best box",
    "gt_known_loc_multi@5": "one of 5 boxes",
    "mean_iou": "mean IoU (0..1)",
    "ap50": "AP50",
    "ap": "AP",
}


def collect(
    runs: Sequence[Run],
    protocols: Sequence[str] = PROTOCOLS,
    metrics: Mapping[str, str] = METRICS,
) -> dict[str, dict[str, Spread]]:
    """Protocol -> metric -> values of the finished runs of one row."""
    found: dict[str, dict[str, list[float]]] = {}
    for run in filter(is_finished, runs):
        numbers = read_json(run.folder / "inference" / run.test_set / "metrics.json", "metrics")
        for protocol in protocols:
            for name in metrics:
                value = _value(numbers.get(protocol, {}), name)
                if value is not None:
                    found.setdefault(protocol, {}).setdefault(name, []).append(value)
    return {
        protocol: {name: Spread(tuple(values)) for name, values in by_name.items()}
        for protocol, by_name in found.items()
    }


def _value(numbers: Mapping, name: str) -> float | None:
    """A metric of a protocol's object in ``metrics.json``; None where it has none."""
    metric, _, k = name.partition("@")
    return (numbers.get("multi", {}).get(k, {}) if k else numbers).get(metric)


def _of_paper(row: Row, name: str) -> float | None:
    """The published figure; the paper states no K, so that it stands beside every K."""
    return row.paper.get(name.partition("@")[0])


def study_table(plan: Mapping[Row, Sequence[Run]], protocol: str) -> str:
    """A row's numbers under one protocol, and the force of its L_unsup; of rows that were run."""
    found = {row: collect(runs, [protocol], STUDY_METRICS) for row, runs in plan.items()}
    rows = {row: numbers[protocol] for row, numbers in found.items() if numbers}
    shown = [name for name in STUDY_METRICS if any(name in numbers for numbers in rows.values())]
    header = ["", "seeds", *(STUDY_METRICS[name] for name in shown), "unsup_to_cls"]
    body = []
    for row, numbers in rows.items():
        first = next(iter(numbers.values()))
        force = [value for run in plan[row] if is_finished(run) for value in _force(run)]
        digits = {name: 3 if name == "mean_iou" else 1 for name in shown}
        texts = [numbers[name].text(digits[name]) if name in numbers else "" for name in shown]
        body.append([row.label, len(first.values), *texts, f"{mean(force):.2g}" if force else ""])
    return tabulate(body, header, tablefmt="github", disable_numparse=True)


def overview(spreads: Mapping[str, Mapping[float, Spread]], x: str) -> str:
    """Rows beside the sizes of the noise: label -> size -> a metric's spread over seeds."""
    sizes = sorted({size for of_row in spreads.values() for size in of_row}, reverse=True)
    body = [
        [label, *(of_row[size].text(1) if size in of_row else "" for size in sizes)]
        for label, of_row in spreads.items()
    ]
    header = [x, *(f"{size:.0f}" for size in sizes)]
    return tabulate(body, header, tablefmt="github", disable_numparse=True)


def _force(run: Run) -> list[float]:
    """``unsup_to_cls`` wherever the run's log has it."""
    lines = map(json.loads, (run.folder / LOSSES_FILE).read_text(encoding="utf-8").splitlines())
    return [line["unsup_to_cls"] for line in lines if "unsup_to_cls" in line]


def markdown(plan: Mapping[Row, Sequence[Run]], title: str, note: str = "") -> str:
    """A table for each data set, ours under both protocols beside the paper's figures; a note."""
    parts = [f"### {title}"]
    for data in dict.fromkeys(row.data for row in plan):
        rows = {row: collect(runs) for row, runs in plan.items() if row.data == data}
        shown = [
            name
            for name in METRICS
            if any(name in by_name for found in rows.values() for by_name in found.values())
        ] or ["gt_known_loc", "gt_known_loc_multi"]
        published = [name for name in METRICS if any(name in row.paper for row in rows)]
        header = ["", "backbone", "seeds"]
        header += [f"{METRICS[name]} ({protocol})" for protocol in PROTOCOLS for name in shown]
        header += [f"paper: {METRICS[name]}" for name in published]
        body = [_line(row, found, shown, published) for row, found in rows.items()]
        parts += [f"**{data}**", tabulate(body, header, tablefmt="github", disable_numparse=True)]
    return "\n\n".join([*parts, *([note] if note else [])]) + "\n"


def _line(
    row: Row,
    found: Mapping[str, Mapping[str, Spread]],
    shown: Sequence[str],
    published: Sequence[str],
) -> list[str]:
    first = next((s for by_name in found.values() for s in by_name.values()), None)
    missing = "published" if row.config_file is None else "not run"
    line = [row.label, row.backbone, str(len(first.values)) if first else missing]
    for protocol in PROTOCOLS:
        line += [str(found.get(protocol, {}).get(name, "-")) for name in shown]
    return line + [f"{row.paper[name]:.2f}" if name in row.paper else "-" for name in published]


CSV_HEADER = (
    *("data", "label", "backbone", "config", "protocol", "metric", "seeds", "mean", "sd"),
    *("paper", "difference", "values"),
)


def as_csv(
    plan: Mapping[Row, Sequence[Run]],
    protocols: Sequence[str] = PROTOCOLS,
    metrics: Mapping[str, str] = METRICS,
) -> str:
    """One line for each row, protocol and metric; a row without a finished run has seeds 0.

    A row without a config has a line for each published figure.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    for row, runs in plan.items():
        if row.config_file is None:
            for name, value in row.paper.items():
                lead = (row.data, row.label, row.backbone, "", PROTOCOLS[0], name, 0)
                writer.writerow([*lead, "", "", value, "", ""])
            continue
        root = CONFIGS if row.config_file.is_relative_to(CONFIGS) else REPOSITORY
        config = row.config_file.relative_to(root).as_posix()
        lead = [row.data, row.label, row.backbone, config]
        found = collect(runs, protocols, metrics)
        if not found:
            writer.writerow([*lead, "", "", 0, "", "", "", "", ""])
        for protocol, by_name in found.items():
            for name, spread in by_name.items():
                paper = _of_paper(row, name) if protocol == PROTOCOLS[0] else None
                writer.writerow(
                    [
                        *(*lead, protocol, name, len(spread.values), f"{spread.mean:.4f}"),
                        "" if spread.sd is None else f"{spread.sd:.4f}",
                        *(("", "") if paper is None else (paper, f"{spread.mean - paper:.4f}")),
                        " ".join(f"{value:.4f}" for value in spread.values),
                    ]
                )
    return text.getvalue()


def write(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(text)
