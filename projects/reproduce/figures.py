"""Curves: GT-known Loc after each epoch (figures 3 and 4), and Loc over noise."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

from plan import Row, Run
from runs import is_finished

from wend.run_files import CURVE_FILE

METRIC = "gt_known_loc"


def read_curve(run: Run, protocol: str) -> dict[int, float]:
    """Epoch -> GT-known Loc in per cent of one run."""
    with open(run.folder / CURVE_FILE, newline="", encoding="utf-8") as file:
        return {
            round(float(line["epoch"])): float(line["value"])
            for line in csv.DictReader(file)
            if (line["protocol"], line["metric"], line["dataset"])
            == (protocol, METRIC, run.test_set)
        }


def curves(
    plan: Mapping[Row, Sequence[Run]], protocol: str
) -> dict[str, list[tuple[int, float, float, int]]]:
    """Label -> (epoch, mean, standard deviation or 0, seeds) of its finished runs."""
    found = {}
    for row, runs in plan.items():
        by_epoch: dict[int, list[float]] = defaultdict(list)
        for run in filter(is_finished, runs):
            for epoch, value in read_curve(run, protocol).items():
                by_epoch[epoch].append(value)
        found[row.label] = [
            (epoch, mean(v), stdev(v) if len(v) > 1 else 0.0, len(v))
            for epoch, v in sorted(by_epoch.items())
        ]
    return found


def curve_csv(found: Mapping[str, Sequence[tuple[float, float, float, int]]], x: str) -> str:
    """The points of a plot as CSV."""
    lines = [f"label,{x},mean,sd,seeds"]
    for label, points in found.items():
        lines += [f'"{label}",{at:g},{m:.4f},{sd:.4f},{n}' for at, m, sd, n in points]
    return "\n".join(lines) + "\n"


def plot(
    path: Path,
    found: Mapping[str, Sequence[tuple[float, float, float, int]]],
    title: str,
    x: str,
    y: str = "GT-known Loc (%)",
) -> None:
    """Lines with a band of one standard deviation."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for label, points in found.items():
        if points:
            at, middle, sd, _ = zip(*points, strict=True)
            low = [m - s for m, s in zip(middle, sd, strict=True)]
            high = [m + s for m, s in zip(middle, sd, strict=True)]
            (line,) = axes.plot(at, middle, marker="o", markersize=3, label=label)
            axes.fill_between(at, low, high, alpha=0.15, color=line.get_color())
    axes.set(xlabel=x, ylabel=y)
    axes.set_title(title, fontsize="medium")
    axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
