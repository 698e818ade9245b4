"""``curve.csv``: the numbers of each evaluation of a training, a row for each number."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from wend.errors import InputError
from wend.files import atomic_write, read_lines

Results = Mapping[str, Mapping[str, Mapping[str, float]]]  # data set -> protocol -> name -> value
CURVE_COLUMNS = ("iteration", "epoch", "dataset", "protocol", "metric", "value")


class CurveRow(NamedTuple):
    """A number of an evaluation.

    Attributes:
        iteration: iterations that were done.
        epoch: the same in epochs; 0 where the training counts in iterations.
        dataset, protocol, metric: which number; a loss on a held-out part has no protocol.
        value: the number, metrics in per cent.
    """

    iteration: int
    epoch: float
    dataset: str
    protocol: str
    metric: str
    value: float


def _text(value: float) -> str:
    return f"{value:.6f}"


def as_in_curve(value: float) -> float:
    """A number as the file states it."""
    return float(_text(value))


def append_to_curve(path: str | Path, iteration: int, epoch: float, results: Results) -> None:
    """Add an evaluation to ``curve.csv``, as a whole: the file has all of its numbers, or none.

    Rows of this or a later iteration are replaced: a run that was resumed repeats them.

    Args:
        path: the file; made where there is none.
        iteration, epoch: see :class:`CurveRow`.
        results: the evaluation's numbers, metrics in per cent.
    """
    path = Path(path)
    rows = []
    if path.is_file():
        with open(path, newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if int(row["iteration"]) < iteration]
    for dataset, protocols in results.items():
        for protocol, values in protocols.items():
            for metric, value in values.items():
                cells = (str(iteration), f"{epoch:.6g}", dataset, protocol, metric, _text(value))
                rows.append(dict(zip(CURVE_COLUMNS, cells, strict=True)))
    with atomic_write(path) as file:
        writer = csv.DictWriter(file, CURVE_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_rows(path: str | Path) -> Iterator[CurveRow]:
    """The rows of ``curve.csv``.

    Raises:
        MissingFileError, InputError: not there, or a line that is none of such a file.
    """
    expected = f"columns {', '.join(CURVE_COLUMNS)}"
    for number, row in enumerate(csv.DictReader(read_lines(path, expected)), start=2):
        try:
            iteration, epoch, dataset, protocol, metric, value = (row[c] for c in CURVE_COLUMNS)
            yield CurveRow(int(iteration), float(epoch), dataset, protocol, metric, float(value))
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{path}, line {number}: expected {expected}, got {row}") from None


def read_results(path: str | Path) -> dict[int, dict[str, dict[str, dict[str, float]]]]:
    """The evaluations of ``curve.csv``: iterations -> data set -> protocol -> name -> value.

    Returns:
        None of them where there is no file.
    """
    evaluations: dict[int, dict[str, dict[str, dict[str, float]]]] = {}
    if Path(path).is_file():
        for row in read_rows(path):
            results = evaluations.setdefault(row.iteration, {})
            numbers = results.setdefault(row.dataset, {}).setdefault(row.protocol, {})
            numbers[row.metric] = row.value
    return evaluations
