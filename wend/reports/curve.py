"""A run's curve: a metric after each evaluation, as figures 3 and 4 of the paper show it."""

from __future__ import annotations

import csv
from pathlib import Path

from wend.errors import MissingFileError
from wend.evaluation.metrics import METRICS
from wend.reports.figures import line_style, load_pyplot, save_figure


def draw_curve(curve_file: str | Path, path: str | Path, metric: str = "gt_known_loc") -> None:
    """Plot a metric of the best box after each epoch, as figures 3 and 4 of the paper do.

    Args:
        curve_file: ``curve.csv`` of a run.
        path: the PNG to write.
        metric: a registered metric's name.
    """
    if not Path(curve_file).is_file():
        raise MissingFileError(f"{curve_file}: there is no such file; was the run evaluated?")
    lines: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
    with open(curve_file, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["metric"] == metric:
                epochs, values = lines.setdefault((row["dataset"], row["protocol"]), ([], []))
                epochs.append(float(row["epoch"]))
                values.append(float(row["value"]))
    figure, axes = load_pyplot().subplots(figsize=(6, 4), layout="constrained")
    for number, ((dataset, protocol), (epochs, values)) in enumerate(lines.items()):
        axes.plot(epochs, values, **line_style(number), label=f"{dataset}, {protocol}")
    unit = METRICS.get(metric).unit
    axes.set(xlabel="epoch", ylabel=f"{metric} ({unit})")
    if unit == "%":
        axes.set(ylim=(0, 100))
    axes.grid(alpha=0.3)
    axes.legend()
    save_figure(figure, path)
