"""A run's curves: losses, and a metric after each evaluation as figures 3 and 4 of the paper."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wend.errors import InputError, MissingFileError
from wend.evaluation.curve import read_rows
from wend.evaluation.metrics import METRICS
from wend.files import read_lines
from wend.reports.figures import label_text, line_style, load_pyplot, panels, save_figure
from wend.reports.roles import BLACK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOTAL_LOSS = "total_loss"
MOST_POINTS = 400  # of a line of a figure; more are averaged


@dataclass(frozen=True, eq=False)
class Line:
    """A line of a figure: values (n,) at places (n,) of the axis."""

    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True, eq=False)
class Losses:
    """What a training wrote to its log.

    Attributes:
        lines: name of a loss -> its values over iterations.
        seconds: of an iteration, in the middle; None where it is not known.
        cut_off: whether the last line was not whole: the run was ended while it wrote.
    """

    lines: Mapping[str, Line]
    seconds: float | None
    cut_off: bool


def read_losses(path: str | Path) -> Losses:
    """Read ``metrics.json`` of a run; of iterations that a resumed run repeated, the last count.

    Raises:
        MissingFileError, InputError: not there, or no JSON object a line.
    """
    expected = "a JSON object a line, as a training writes it"
    lines = [line for line in read_lines(path, expected) if line.strip()]
    values: dict[str, dict[int, float]] = {}
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            iteration = int(row["iteration"])
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines) and number > 1:
                return _losses(values, cut_off=True)
            raise InputError(f"{path}, line {number}: {error!r}; expected {expected}") from None
        for name, value in row.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                values.setdefault(name, {})[iteration] = float(value)
    return _losses(values, cut_off=False)


def _losses(values: Mapping[str, Mapping[int, float]], *, cut_off: bool) -> Losses:
    """Losses are what is added up to the total: each of which stands where the total does."""
    of_step = values.get(TOTAL_LOSS, {})
    others = {"lr", "time", "data_time", "eta_seconds", "iteration", "rank_data_time"}
    lines = {}
    for name, row in values.items():
        is_loss = name == TOTAL_LOSS or (
            row.keys() == of_step.keys() and name not in others and "/" not in name
        )
        if is_loss and not name.startswith(("num_", "unsup_")):
            steps = sorted(row)
            lines[name] = _thinned(Line(np.array(steps), np.array([row[step] for step in steps])))
    times = list(values.get("time", {}).values())
    return Losses(lines, float(np.median(times)) if times else None, cut_off)


def _thinned(line: Line) -> Line:
    """At most :data:`MOST_POINTS` points, means of neighbours."""
    step = -(-len(line.x) // MOST_POINTS)
    if step <= 1:
        return line
    starts = np.arange(0, len(line.x), step)
    counts = np.diff([*starts, len(line.x)])
    return Line(*(np.add.reduceat(values, starts) / counts for values in (line.x, line.y)))


def read_curve(path: str | Path) -> dict[tuple[str, str, str], Line]:
    """Read ``curve.csv``: (data set, protocol, metric) -> its values over epochs, or iterations.

    Raises:
        MissingFileError, InputError: not there, or a line that is none of such a file.
    """
    if not Path(path).is_file():
        raise MissingFileError(f"{path}: there is no such file; was the run evaluated?")
    rows: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for row in read_rows(path):
        name = (row.dataset, row.protocol, row.metric)
        rows.setdefault(name, []).append((row.epoch or row.iteration, row.value))
    return {name: Line(*np.array(points).T) for name, points in rows.items()}


def draw_curve(curve_file: str | Path, path: str | Path, metric: str = "gt_known_loc") -> None:
    """Plot a metric of the best box after each epoch, as figures 3 and 4 of the paper do.

    Args:
        curve_file: ``curve.csv`` of a run.
        path: the PNG to write.
        metric: a registered metric's name.
    """
    curves = {
        f"{dataset}, {protocol}": line
        for (dataset, protocol, name), line in read_curve(curve_file).items()
        if name == metric
    }
    figure, axes = load_pyplot().subplots(figsize=(6, 4), layout="constrained")
    for number, (label, line) in enumerate(curves.items()):
        axes.plot(line.x, line.y, **line_style(number), label=label_text(label))
    unit = METRICS.get(metric).unit
    axes.set(xlabel="epoch", ylabel=f"{metric} ({unit})")
    if unit == "%":
        axes.set(ylim=(0, 100))
    axes.grid(alpha=0.3)
    axes.legend()
    save_figure(figure, path)


def line_figure(
    lines: Mapping[str, Line],
    x: str,
    y: str,
    *,
    baseline: Mapping[str, Line] | None = None,
    per_cent: bool = False,
    log: bool = False,
) -> Figure:
    """Lines over an axis, each in colour, stroke and marker of its own.

    Args:
        lines: label -> line.
        x, y: names of the axes.
        baseline: label -> what the lines are to be compared with, black and dotted.
        per_cent: the y axis goes from 0 to 100.
        log: the y axis is logarithmic, where all values are > 0.
    """
    figure, (axes,) = panels(1)
    for number, (label, line) in enumerate(lines.items()):
        style = line_style(number)
        every = max(1, len(line.x) // 8)
        axes.plot(line.x, line.y, **style, markevery=every, linewidth=1.4, label=label_text(label))
    for label, line in (baseline or {}).items():
        axes.plot(
            line.x, line.y, color=BLACK, linestyle=":", linewidth=1.8, label=label_text(label)
        )
    axes.set(xlabel=x, ylabel=y)
    axes.locator_params(axis="x", integer=True)
    if per_cent:
        axes.set_ylim(0, 103)
    elif log and lines and all((line.y > 0).all() for line in lines.values()):
        axes.set_yscale("log")
    if len(lines) + len(baseline or {}) > 1:
        figure.legend(loc="outside upper left", ncols=2, fontsize="small", frameon=False)
    return figure
