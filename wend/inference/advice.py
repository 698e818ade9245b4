"""The score threshold that a run advises: its ``advice.json``, which ``wend auto`` writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wend.errors import InputError
from wend.files import is_number, read_json

ADVICE_FILE = "advice.json"
ADVISED = "advised"


def read_advice(run: str | Path) -> float | None:
    """The score below which a run's boxes are better left out; None where it advises none.

    Args:
        run: its folder, or a file of weights in it.

    Raises:
        InputError: the file is not what ``wend auto`` writes.
    """
    run = Path(run)
    path = (run if run.is_dir() else run.parent) / ADVICE_FILE
    if not path.is_file():
        return None
    content = read_json(path, "the advice of wend auto")
    score: Any = content.get("min_score") if isinstance(content, dict) else None
    if not is_number(score):
        raise InputError(f'{path}: expected "min_score", a number, as wend auto writes it')
    return float(score)
