"""Results as tables and a curve. No maths here: numbers come in computed."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

from tabulate import tabulate

from wend.evaluation.metrics import WSOLResult
from wend.evaluation.scoring import ProtocolScores

METRIC_TITLES = {
    "top1_loc": "Top-1",
    "top5_loc": "Top-5",
    "gt_known_loc": "GT-known",
    "top5_loc_multi": "Top-5 multi@{top5_boxes}",
    "gt_known_loc_multi": "GT-known multi@{max_boxes}",
}


def results_table(
    rows: Mapping[str, Mapping[str, WSOLResult]], table_format: str = "github"
) -> str:
    """A table of metrics in per cent, and below it what each protocol means.

    Args:
        rows: label of what was evaluated (may be empty) -> protocol name -> its result. All
            results of a table have the same K.
        table_format: a format name of ``tabulate``.

    Returns:
        Text of several lines. Every multi-box column states its K and the mean number of boxes.
    """
    first = next(result for results in rows.values() for result in results.values())
    titles = {
        name: title.format(max_boxes=first.max_boxes, top5_boxes=min(5, first.max_boxes))
        for name, title in METRIC_TITLES.items()
    }
    labelled = any(rows)
    header = ["", *([] if not labelled else ["images"])] if labelled else []
    header = [*header, "protocol", *titles.values(), f"boxes (<= {first.max_boxes})"]
    body = []
    for label, results in rows.items():
        for name, result in results.items():
            values = [
                f"{result.metrics[metric]:.2f}" if metric in result.metrics else "-"
                for metric in titles
            ]
            lead = [label, result.num_images] if labelled else []
            body.append([*lead, name, *values, f"{result.mean_boxes:.2f}"])
    text = tabulate(body, header, tablefmt=table_format, disable_numparse=True, stralign="right")
    notes = {
        result.protocol.name: result.protocol.describe()
        for results in rows.values()
        for result in results.values()
    }
    reasons: dict[str, list[str]] = {}
    for metric, why in first.missing.items():
        reasons.setdefault(why, []).append(titles[metric])
    lines = [f"per cent; {note}" for note in notes.values()]
    lines += [f"{', '.join(metrics)}: {why}" for why, metrics in reasons.items()]
    return "\n".join([text, *lines])


SCORE_COLUMNS = (
    "protocol",
    "metric",
    "K",
    "boxes/image",
    "lowest score",
    "value",
    "low",
    "high",
    "fixed boxes",
)
TITLES = {
    "top1_loc": "Top-1 Loc",
    "top5_loc": "Top-5 Loc",
    "gt_known_loc": "GT-known Loc",
    "top5_loc_multi": "Top-5 Loc multi",
    "gt_known_loc_multi": "GT-known Loc multi",
}


def score_rows(scores: Mapping[str, ProtocolScores]) -> list[list[str]]:
    """Every number of ``score_all`` as a row of ``SCORE_COLUMNS``, as text."""
    rows = []
    for name, of in scores.items():
        for column, cell in of.cells.items():
            low, high = cell.interval or (None, None)
            numbers = (cell.value, low, high, cell.baseline)
            rows.append(
                [
                    name,
                    TITLES[column.metric],
                    ("all" if column.k is None else str(column.k)) if column.multi else "1",
                    f"{cell.mean_boxes:.2f}",
                    "-" if cell.min_score is None else f"{cell.min_score:.4g}",
                    *("-" if value is None else f"{value:.2f}" for value in numbers),
                ]
            )
    return rows


def score_notes(scores: Mapping[str, ProtocolScores], extra: Iterable[str] = ()) -> list[str]:
    """What stands below a table: each protocol's meaning, what is missing, and more."""
    notes = [f"per cent; {of.protocol.describe()}" for of in scores.values()]
    first = next(iter(scores.values()))
    reasons: dict[str, list[str]] = {}
    for metric, why in first.missing.items():
        reasons.setdefault(why, []).append(TITLES[metric])
    notes += [f"{', '.join(metrics)}: {why}" for why, metrics in reasons.items()]
    return [*notes, *extra]


def score_table(
    scores: Mapping[str, ProtocolScores],
    notes: Iterable[str] = (),
    table_format: str = "github",
) -> str:
    """A table with a row for each protocol, metric and K, and notes below it.

    Args:
        scores: by protocol name.
        notes: lines besides those on protocols and missing metrics.
        table_format: "github", "csv" (no notes: every line is a row) or "latex" (booktabs; the
            notes are comments).
    """
    rows = score_rows(scores)
    lines = score_notes(scores, notes)
    return format_table(SCORE_COLUMNS, rows, lines, table_format)


def format_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    notes: Sequence[str] = (),
    table_format: str = "github",
) -> str:
    """Rows of text as Markdown ("github"), CSV ("csv") or LaTeX ("latex"); see score_table."""
    if table_format == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([["" if cell == "-" else cell for cell in row] for row in rows])
        return text.getvalue().rstrip("\n")
    if table_format == "latex":
        body = tabulate(rows, header, tablefmt="latex_booktabs", disable_numparse=True)
        return "\n".join([*(f"% {note}" for note in notes), body])
    text = tabulate(rows, header, tablefmt=table_format, disable_numparse=True, stralign="right")
    return "\n".join([text, "", *(f"- {note}" for note in notes)] if notes else [text])
