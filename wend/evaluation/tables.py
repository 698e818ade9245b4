"""Results as tables. No maths here: numbers come in computed."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence

from tabulate import tabulate

from wend.evaluation.intervals import KINDS
from wend.evaluation.metrics import Metric
from wend.evaluation.scoring import Column, ProtocolScores

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
    """The numbers of ``score_all`` as rows of ``SCORE_COLUMNS``, as text, without copies."""
    rows = []
    first = next(iter(scores))
    for name, result in scores.items():
        copies = result.copies
        for column, cell in result.cells.items():
            if column in copies or (column.metric.any_protocol and name != first):
                continue
            ends = (cell.interval.low, cell.interval.high) if cell.interval else (None, None)
            numbers = (cell.value, *ends, cell.baseline)
            rows.append(
                [
                    name,
                    column.metric.heading,
                    column.k_text,
                    "-" if cell.mean_boxes is None else f"{cell.mean_boxes:.2f}",
                    "-" if cell.min_score is None else f"{cell.min_score:.4g}",
                    *map(column.metric.text, numbers),
                ]
            )
    return rows


def score_notes(scores: Mapping[str, ProtocolScores], extra: Iterable[str] = ()) -> list[str]:
    """The notes below a table: each protocol's meaning, intervals, what is not there, and more."""
    notes = [f"per cent; {result.protocol.describe()}" for result in scores.values()]
    first = next(iter(scores.values()))
    reasons: dict[str, list[str]] = {}
    for metric, why in first.missing.items():
        reasons.setdefault(why, []).append(metric.title)
    notes += [f"{', '.join(titles)}: {why}" for why, titles in reasons.items()]
    copies = {name: result.copies for name, result in scores.items()}
    return [*notes, *_interval_notes(scores), *copy_notes(first.cells, copies), *extra]


def _interval_notes(scores: Mapping[str, ProtocolScores]) -> list[str]:
    cells = [cell for result in scores.values() for cell in result.cells.values()]
    kinds = {cell.interval.kind for cell in cells if cell.interval}
    level = next(iter(scores.values())).level
    if not kinds or level is None:
        return []
    said = "; ".join(text for kind, text in KINDS.items() if kind in kinds)
    return [f"low, high: {100 * level:g} % confidence interval ({said})"]


def copy_notes(
    columns: Iterable[Column], copies: Mapping[str, Mapping[Column, Column]]
) -> list[str]:
    """Which rows are left out, and of which others they would be copies.

    Args:
        columns: those of each protocol.
        copies: protocol name -> :attr:`ProtocolScores.copies`.
    """
    where: dict[str, list[str]] = {}
    for name, of_protocol in copies.items():
        same: dict[Column, dict[Metric, list[str]]] = {}
        for column, shown in of_protocol.items():
            same.setdefault(shown, {}).setdefault(column.metric, []).append(column.k_text)
        for shown, others in same.items():
            said = [
                ("" if metric is shown.metric else metric.title)
                + f" K {', '.join(ks)}" * metric.has_k
                for metric, ks in others.items()
            ]
            text = f"{_column_text(shown)} = {', '.join(map(str.strip, said))}"
            where.setdefault(text, []).append(name)
    said = [
        text if len(names) == len(copies) else f"{text} ({', '.join(names)})"
        for text, names in where.items()
    ]
    once = [column.metric.title for column in columns if column.metric.any_protocol]
    if once and len(copies) > 1:
        said.append(f"{', '.join(once)} under every protocol")
    if not said:
        return []
    return [f"left out, the same by definition: {'; '.join(said)}"]


def _column_text(column: Column) -> str:
    return column.metric.title + f" K {column.k_text}" * column.metric.has_k


def score_table(
    scores: Mapping[str, ProtocolScores],
    notes: Iterable[str] = (),
    table_format: str = "github",
) -> str:
    """A table with a row for each protocol, metric and K, and notes below it.

    Args:
        scores: by protocol name.
        notes: lines besides those on protocols and missing metrics.
        table_format: "github", "csv" (no notes: every line is a row) or "latex" (a table with
            booktabs, whose caption names data set and protocols; the notes are comments).
    """
    dataset = next(iter(scores.values())).per_image.data_set.name
    protocols = f"protocol{'s' * (len(scores) > 1)} {', '.join(scores)}"
    return format_table(
        SCORE_COLUMNS,
        score_rows(scores),
        score_notes(scores, notes),
        table_format,
        caption=f"Localization on {dataset}, {protocols}.",
        label="-".join((dataset, *scores)),
    )


def format_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    notes: Sequence[str] = (),
    table_format: str = "github",
    *,
    caption: str = "",
    label: str = "",
) -> str:
    """Rows of text as Markdown ("github"), CSV ("csv") or LaTeX ("latex"); see score_table.

    Args:
        caption, label: of the LaTeX table; plain text, the label without "tab:".
    """
    if table_format == "csv":
        lines = io.StringIO()
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([["" if cell == "-" else cell for cell in row] for row in rows])
        return lines.getvalue().rstrip("\n")
    if table_format == "latex":
        return _latex_table(header, rows, notes, caption, label)
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    text = tabulate(
        cells[1:], cells[0], tablefmt=table_format, disable_numparse=True, stralign="right"
    )
    return "\n".join([text, "", *(f"- {note}" for note in notes)] if notes else [text])


_LATEX = {
    **{character: "\\" + character for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"${character}$" for character in "<>|"},
}


def latex_text(text: str) -> str:
    """Text with the characters escaped that LaTeX reads as its own, on one line."""
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))


def _latex_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    notes: Sequence[str],
    caption: str,
    label: str,
) -> str:
    """A floating table with booktabs; columns of numbers stand right, notes are comments."""
    number = re.compile(r"-?|all|-?[0-9.]+(e-?[0-9]+)?")
    columns = zip(*rows, strict=True) if rows else ((),) * len(header)
    aligned = "".join("r" if all(map(number.fullmatch, column)) else "l" for column in columns)
    body = [" & ".join(map(latex_text, row)) + r" \\" for row in (header, *rows)]
    titles = [rf"\caption{{{latex_text(caption)}}}"] if caption else []
    if label:
        titles.append(rf"\label{{tab:{re.sub('[^A-Za-z0-9.:]+', '-', label)}}}")
    return "\n".join(
        [
            *(f"% {' '.join(note.split())}" for note in notes),
            *(r"\begin{table}", r"\centering", *titles),
            *(rf"\begin{{tabular}}{{{aligned}}}", r"\toprule", body[0], r"\midrule", *body[1:]),
            *(r"\bottomrule", r"\end{tabular}", r"\end{table}"),
        ]
    )


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
