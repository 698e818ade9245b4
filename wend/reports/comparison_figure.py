"""The figure of ``wend compare``: methods with their seeds, and the differences of their pairs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wend.evaluation.comparison import Comparison, MethodNumber, PairNumber
from wend.evaluation.scoring import Column
from wend.reports.figures import (
    COLORS,
    MARKERS,
    legend_above,
    load_pyplot,
    save_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COMPARISON_FIGURE = "comparison.png"
SIGNIFICANT = 0.05  # p after Holm's correction below which a marker is filled
LINE_HEIGHT = 0.24  # inches of a method or a pair


def draw_comparison(path: str | Path, comparison: Comparison, level: float = 0.95) -> None:
    """Draw a row of two panels for each protocol, of the metrics in per cent.

    Left: each method's mean over seeds, each seed as a small dot, lowest to highest as a line.
    Right: the difference of each pair on the same images, with its interval; the marker is filled
    where p, corrected by Holm's method, is below 0.05.

    Args:
        level: the intervals' confidence, for the axis.
    """
    methods = [number for number in comparison.methods if number.column.metric.unit == "%"]
    pairs = [pair for pair in comparison.pairs if pair.a.column.metric.unit == "%"]
    columns_of: dict[str, list[Column]] = {}  # a protocol's own, without copies
    for number in methods:
        columns = columns_of.setdefault(number.protocol, [])
        if number.column not in columns:
            columns.append(number.column)
    names = list(dict.fromkeys(number.method for number in methods))
    pair_names = list(dict.fromkeys((pair.a.method, pair.b.method) for pair in pairs))
    line = (max(len(names), len(pair_names)) + 0.8) * LINE_HEIGHT
    heights = [max(1.6, len(columns) * line) for columns in columns_of.values()]
    figure, grid = load_pyplot().subplots(
        *(len(heights), 2),
        figsize=(9, sum(heights) + 1.2),
        height_ratios=heights,
        layout="constrained",
        sharex="col",
        sharey="row",
        squeeze=False,
    )
    for (left, right), (protocol, columns) in zip(grid, columns_of.items(), strict=True):
        for axes in (left, right):
            axes.grid(axis="x", alpha=0.25, linewidth=0.6)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(axis="y", length=0)
        left.set_title(protocol, fontsize="medium", loc="left")
        _plot_methods(left, [n for n in methods if n.protocol == protocol], columns, names)
        mine = [pair for pair in pairs if pair.a.protocol == protocol]
        _plot_pairs(right, mine, columns, pair_names)
        left.set_yticks(range(len(columns)), [_column_text(column) for column in columns])
        left.set_ylim(len(columns) - 0.5, -0.5)
    grid[-1][0].set_xlabel("images that are right (%)")
    grid[-1][1].set_xlabel(f"difference (points of per cent), {100 * level:g} % interval")
    _limit(grid[0][1], pairs)
    legend_above(figure, f"methods; their pairs, filled where p (Holm) < {SIGNIFICANT:g}")
    save_figure(figure, path)


def _column_text(column: Column) -> str:
    return (
        f"{column.metric.title}, K = {column.k_text}"
        if column.metric.has_k
        else column.metric.title
    )


def _offset(number: int, total: int) -> float:
    """Where a line of several stands within its metric, -0.4 to 0.4."""
    return 0.8 * ((number + 0.5) / total - 0.5)


def _plot_methods(
    axes: Axes, numbers: list[MethodNumber], columns: list[Column], names: list[str]
) -> None:
    for each, name in enumerate(names):
        color, label = COLORS[each % len(COLORS)], name
        for number in numbers:
            if number.method != name:
                continue
            y = columns.index(number.column) + _offset(each, len(names))
            values = np.array(number.values)
            if len(values) > 1:
                axes.plot([values.min(), values.max()], [y, y], color=color, linewidth=1.2)
                axes.plot(values, np.full(len(values), y), ".", color="0.35", markersize=3.5)
            axes.plot(
                *([number.mean], [y]),
                linestyle="none",
                marker=MARKERS[each % len(MARKERS)],
                markersize=6,
                color=color,
                label=label,
            )
            label = "_"  # once in the legend


def _plot_pairs(
    axes: Axes, pairs: list[PairNumber], columns: list[Column], names: list[tuple[str, str]]
) -> None:
    axes.axvline(0, color="black", linewidth=0.8)
    labelled = set()
    for pair in pairs:
        name = (pair.a.method, pair.b.method)
        each = names.index(name)
        color = COLORS[each % len(COLORS)]
        y = columns.index(pair.a.column) + _offset(each, len(names))
        test = pair.test
        if test.low is not None and test.high is not None:
            axes.plot([test.low, test.high], [y, y], color=color, linewidth=1.4)
        is_sure = pair.p_holm is not None and pair.p_holm < SIGNIFICANT
        axes.plot(
            *([test.difference], [y]),
            linestyle="none",
            marker=MARKERS[each % len(MARKERS)],
            markersize=6,
            color=color,
            markerfacecolor=color if is_sure else "white",
            label="_" if name in labelled else " - ".join(name),
        )
        labelled.add(name)


def _limit(axes: Axes, pairs: list[PairNumber]) -> None:
    """Show all differences; of an interval far wider than most only a part, which runs out."""
    differences = [0.0, *(pair.test.difference for pair in pairs)]
    halves = [
        (pair.test.high - pair.test.low) / 2
        for pair in pairs
        if pair.test.low is not None and pair.test.high is not None
    ]
    margin = max(0.5, 4 * float(np.median(halves)) if halves else 0.5)
    axes.set_xlim(min(differences) - margin, max(differences) + margin)
