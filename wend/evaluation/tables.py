"""Results as tables. No maths here: numbers come in computed."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

from tabulate import tabulate

from wend.evaluation.scoring import ProtocolScores

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


def score_rows(scores: Mapping[str, ProtocolScores]) -> list[list[str]]:
    """Every number of ``score_all`` as a row of ``SCORE_COLUMNS``, as text."""
    rows = []
    for name, result in scores.items():
        for column, cell in result.cells.items():
            low, high = cell.interval or (None, None)
            numbers = (cell.value, low, high, cell.baseline)
            rows.append(
                [
                    name,
                    column.metric.heading,
                    column.k_text,
                    f"{cell.mean_boxes:.2f}",
                    "-" if cell.min_score is None else f"{cell.min_score:.4g}",
                    *map(column.metric.text, numbers),
                ]
            )
    return rows


def score_notes(scores: Mapping[str, ProtocolScores], extra: Iterable[str] = ()) -> list[str]:
    """The notes below a table: each protocol's meaning, what is missing, and more."""
    notes = [f"per cent; {result.protocol.describe()}" for result in scores.values()]
    first = next(iter(scores.values()))
    reasons: dict[str, list[str]] = {}
    for metric, why in first.missing.items():
        reasons.setdefault(why, []).append(metric.title)
    notes += [f"{', '.join(titles)}: {why}" for why, titles in reasons.items()]
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
        lines = io.StringIO()
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([["" if cell == "-" else cell for cell in row] for row in rows])
        return lines.getvalue().rstrip("\n")
    if table_format == "latex":
        body = tabulate(rows, header, tablefmt="latex_booktabs", disable_numparse=True)
        return "\n".join([*(f"% {note}" for note in notes), body])
    text = tabulate(rows, header, tablefmt=table_format, disable_numparse=True, stralign="right")
    return "\n".join([text, "", *(f"- {note}" for note in notes)] if notes else [text])


def labelled_table(rows: Mapping[str, Mapping[str, ProtocolScores]]) -> str:
    """A table of several sets of detections: the rows of each, behind its label.

    Args:
        rows: label of what was scored -> protocol name -> its numbers.

    Returns:
        Markdown with the notes below it; columns that hold nothing are left out.
    """
    header = ["", "images", *SCORE_COLUMNS]
    body = [
        [label, str(len(scores[row[0]].per_image)), *row]
        for label, scores in rows.items()
        for row in score_rows(scores)
    ]
    filled = [i for i in range(len(header)) if any(row[i] != "-" for row in body)]
    notes = dict.fromkeys(note for scores in rows.values() for note in score_notes(scores))
    return format_table(
        [header[i] for i in filled], [[row[i] for i in filled] for row in body], list(notes)
    )
