"""Parts that pages of runs, evaluations and pseudo boxes share: tables and figures of numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from wend.evaluation.metrics import accuracy
from wend.evaluation.numbers import recall_curve
from wend.evaluation.score_files import RECALL_MAX_BOXES
from wend.evaluation.scoring import Column, ProtocolScores
from wend.evaluation.tables import score_notes
from wend.reports.boxes_numbers import shape_numbers
from wend.reports.curve import Line, line_figure
from wend.reports.figures import svg_text
from wend.reports.page import Figure, Figures, Table
from wend.reports.score_figures import iou_figure, recall_figure
from wend.reports.words import score_text
from wend.structures.box_table import BoxTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawn

SIZE = (3.9, 2.9)  # inches of a figure
DASH = "–"
_names = count(1)  # of figures: ids on a page must differ


def figure(title: str, drawn: Drawn, alt: str) -> Figure:
    """A drawn figure as a part of a page."""
    drawn.set_size_inches(*SIZE)
    for axes in drawn.axes:  # the page has the title above
        axes.set_title("")
    return Figure(title, svg_text(drawn, f"f{next(_names)}"), alt)


def metric_name(column: Column) -> str:
    """``GT-known Loc multi, K = 5``."""
    return column.metric.heading + (f", K = {column.k_text}" if column.metric.has_k else "")


def score_part(
    scores: Mapping[str, ProtocolScores],
    pseudo: Mapping[str, ProtocolScores] | None = None,
    notes: Iterable[str] = (),
    caption: str = "",
) -> Table:
    """Every number of detections, with its interval and baselines, a group for each protocol.

    Args:
        scores: of the detections.
        pseudo: of the pseudo boxes of the same images; empty without any.
        notes: lines besides those on protocols, intervals and what is left out.
    """
    level = next(iter(scores.values())).level
    header = ["metric", "value"]
    header += [f"{100 * level:g} % interval"] if level else []
    header += ["pseudo boxes"] if pseudo else []
    header += ["fixed boxes", "boxes per image", "lowest score"]
    rows: list[list[str]] = []
    groups: dict[int, str] = {}
    first = next(iter(scores))
    for name, result in scores.items():
        copies = result.copies
        groups[len(rows)] = f"{result.protocol.describe()}"
        theirs = pseudo[name].cells if pseudo and name in pseudo else {}
        for column, cell in result.cells.items():
            if column in copies or (column.metric.any_protocol and name != first):
                continue
            text = column.metric.text
            row = [metric_name(column), text(cell.value)]
            if level:
                ends = cell.interval
                row.append(f"{text(ends.low)} {DASH} {text(ends.high)}" if ends else DASH)
            if pseudo:
                row.append(_text(text, theirs[column].value if column in theirs else None))
            row.append(_text(text, cell.baseline))
            row.append(DASH if cell.mean_boxes is None else f"{cell.mean_boxes:.2f}")
            row.append(DASH if cell.min_score is None else score_text(cell.min_score))
            rows.append(row)
    return Table(header, rows, caption, [*score_notes(scores)[len(scores) :], *notes], groups)


def _text(text: Callable[[float], str], value: float | None) -> str:
    return DASH if value is None else text(value)


def score_figures(scores: Mapping[str, ProtocolScores]) -> Figures:
    """Recall over K beside fixed boxes, and the IoU of the best boxes, under each protocol."""
    figures = []
    for name, result in scores.items():
        alone = {name: result}
        ours = _recall(result)
        fixed = ""
        if result.fixed is not None:
            curve = recall_curve(result.fixed, len(ours.y))
            fixed = f"; of fixed boxes {curve[0]:.1f} % and {curve[-1]:.1f} %"
        figures.append(
            figure(
                f"Recall at K boxes, {name}",
                recall_figure(alone),
                f"Images with a right box among the K best, protocol {name}: {ours.y[0]:.1f} % at "
                f"K 1, {ours.y[-1]:.1f} % at K {len(ours.y)}{fixed}.",
            )
        )
    for name, result in scores.items():
        figures.append(
            figure(
                f"IoU of the best boxes, {name}",
                iou_figure({name: result}),
                f"Histogram of the IoU of the best box with the truth, protocol {name}: mean "
                f"{accuracy(result.per_image, 'mean_iou'):.3f}.",
            )
        )
    return Figures(figures)


def _recall(result: ProtocolScores) -> Line:
    most = max(1, min(int(result.per_image.num_boxes.max()), RECALL_MAX_BOXES))
    return Line(np.arange(1, most + 1), recall_curve(result.per_image, most))


def recall_of_several(title: str, results: Mapping[str, ProtocolScores]) -> Figure:
    """Recall over K of several detections of one data set, and of fixed boxes, in one figure."""
    lines = {label: _recall(result) for label, result in results.items()}
    longest = max(len(line.x) for line in lines.values())
    fixed = next((r.fixed for r in results.values() if r.fixed is not None), None)
    baseline = {}
    if fixed is not None:
        baseline = {"fixed boxes": Line(np.arange(1, longest + 1), recall_curve(fixed, longest))}
    alt = "; ".join(f"{label}: {line.y[0]:.1f} % at K 1" for label, line in lines.items())
    names = ("K, boxes per image", "images with a right box (%)")
    drawn = line_figure(lines, *names, baseline=baseline, per_cent=True)
    return figure(title, drawn, f"{title}. {alt}.")


def shape_rows(boxes: BoxTable, sizes: np.ndarray) -> list[str]:
    """Cells on the shapes of boxes: mean share of the image's area, and 5 and 95 % of both shapes.

    Args:
        sizes: (I, 2) width and height of the images.
    """
    cells = []
    for values in shape_numbers(boxes, sizes).values():
        marks = np.percentile(values, (5, 50, 95)) if len(values) else [np.nan] * 3
        cells.append(" / ".join(f"{mark:.2f}" for mark in marks))
    return cells


def plain_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    caption: str = "",
    notes: Sequence[str] = (),
) -> Table:
    """A table without groups, "-" as a dash."""
    return Table(header, [[DASH if c == "-" else c for c in row] for row in rows], caption, notes)
