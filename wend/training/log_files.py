"""Files that a training adds lines to: when it goes on, what it does again is taken out first."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

from wend.run_files import CURVE_FILE, LOSSES_FILE

logger = logging.getLogger(__name__)


def cut_logs(folder: str | Path, start_iter: int, logged_from: int | None = None) -> None:
    """Take out of a run's logs what lies past the checkpoint that it goes on from, and say so.

    Of ``metrics.json`` that are lines of an iteration (from 0) that comes again, of ``curve.csv``
    evaluations after more iterations than were taken; lines that a kill cut off, too. A file that
    is open for adding stays open.

    Args:
        folder: the run's.
        start_iter: the iteration that the training goes on with.
        logged_from: the first iteration whose lines of ``metrics.json`` come again, where it is
            another one.
    """
    folder = Path(folder)
    logged = start_iter if logged_from is None else logged_from
    numbers = {
        LOSSES_FILE: _cut(folder / LOSSES_FILE, lambda line: _iteration(line) < logged),
        CURVE_FILE: _cut(folder / CURVE_FILE, lambda line: _evaluated_at(line) <= start_iter),
    }
    cut = [f"{number} lines of {name}" for name, number in numbers.items() if number]
    if cut:
        logger.info(
            "%s: %s are taken out, which come again or were cut off", folder, " and ".join(cut)
        )


def _iteration(line: str) -> float:
    """The iteration of a line of ``metrics.json``; infinite for what is no such line."""
    try:
        return int(json.loads(line)["iteration"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


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
