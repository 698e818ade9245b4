"""Files that a training adds lines to: when it goes on, what it does again is taken out first."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Container
from pathlib import Path

from wend.evaluation.best import HELD_OUT
from wend.run_files import CURVE_FILE, LOSSES_FILE

logger = logging.getLogger(__name__)


def cut_logs(folder: str | Path, start_iter: int, first_line: int | None = None) -> None:
    """Take out of a run's logs what comes again where it goes on from a checkpoint, and say so.

    Of ``metrics.json`` that are lines of an iteration (from 0) that comes again, and losses on
    held-out images of an evaluation that was not finished; of ``curve.csv`` evaluations after more
    iterations than were taken; lines that a kill cut off, too. A file that is open for adding stays
    open.

    Args:
        folder: the run's.
        start_iter: the iteration that the training goes on with.
        first_line: the first iteration of a line of ``metrics.json`` that comes again; by default
            ``start_iter``.
    """
    folder = Path(folder)
    first_line = start_iter if first_line is None else first_line
    curve = _cut(folder / CURVE_FILE, lambda line: _evaluated_at(line) <= start_iter)
    evaluated = _evaluations(folder / CURVE_FILE)
    losses = _cut(folder / LOSSES_FILE, lambda line: _stays(line, first_line, evaluated))
    numbers = {LOSSES_FILE: losses, CURVE_FILE: curve}
    cut = [f"{number} lines of {name}" for name, number in numbers.items() if number]
    if cut:
        logger.info(
            "%s: %s are taken out, which come again after iteration %d or were cut off",
            *(folder, " and ".join(cut), start_iter - 1),
        )


def _evaluations(path: Path) -> frozenset[float]:
    """The iterations before each evaluation of ``curve.csv``."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    return frozenset(map(_evaluated_at, lines))


def _stays(line: str, first_line: int, evaluated: Container[float]) -> bool:
    """Whether a line of ``metrics.json`` is whole, and does not come again."""
    try:
        row = json.loads(line)
        iteration = int(row["iteration"])
    except (ValueError, KeyError, TypeError):
        return False
    is_held_out = all(key.startswith(f"{HELD_OUT}/") for key in row.keys() - {"iteration"})
    return iteration < first_line and (not is_held_out or iteration + 1 in evaluated)


def _evaluated_at(line: str) -> float:
    """The iterations before an evaluation, of a line of ``curve.csv``; none, of its header."""
    if line.startswith("iteration,"):
        return 0
    number, comma, rest = line.partition(",")
    is_whole = number.isdecimal() and rest.count(",") >= 4 and line.endswith("\n")
    return int(number) if comma and is_whole else float("inf")


def _cut(path: Path, stays: Callable[[str], bool]) -> int:
    """Take lines out of a file; how many they were.

    As a rule they are its last ones, which go by one call of the system.
    """
    if not path.is_file():
        return 0
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if line.endswith(b"\n") and stays(line.decode(errors="replace"))]
    if kept == lines[: len(kept)]:
        os.truncate(path, sum(map(len, kept)))
    else:
        with path.open("r+b") as file:  # as whoever adds lines holds it open
            file.writelines(kept)
            file.truncate()
    return len(lines) - len(kept)
