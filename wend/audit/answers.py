"""Answers of a human about boxes: from the page's file, or typed into the table of an audit.

Shape letters: B = boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wend.audit.table import ANSWER, AuditTable, read_answer_column
from wend.audit.words import NONE, parse_answer
from wend.errors import InputError, shown, some
from wend.files import read_json

FORMAT = "wend boxes audit answers 1"  # the page's script writes it
EXPECTED = "answers.json, as the page of an audit saves it, or its audit.csv"


def read_answers(table: AuditTable, paths: Sequence[str | Path] = ()) -> list[str]:
    """The answer about each of the B boxes: those typed into the table, and those of files.

    Args:
        paths: ``answers.json`` of the audit's page, or other copies of the audit's CSV.

    Raises:
        InputError: a file that is neither, answers of another audit, boxes that the audit does not
            have, or answers about one box that differ.
    """
    answers = list(table.answers)
    told = dict.fromkeys(range(len(answers)), str(table.path))
    for path in paths:
        for box, answer in _read_file(table, Path(path)).items():
            if answers[box] not in (NONE, answer):
                raise InputError(
                    f"{path}: box {box} ({table.keys[box]}) is answered {answer}, and "
                    f"{answers[box]} in {told[box]}; take one of the two out, or make it unsure"
                )
            answers[box], told[box] = answer, str(path)
    return answers


def _read_file(table: AuditTable, path: Path) -> dict[int, str]:
    """Box -> answer of a file, without those that are not answered."""
    if path.suffix.lower() == ".csv":
        return _known(table, path, read_answer_column(table, path))
    content = read_json(path, EXPECTED)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path}: expected {EXPECTED}, got {shown(content)}")
    answers = content.get("answers")
    if content.get("audit") != table.digest:
        raise InputError(
            f"{path}: holds answers to the page of another audit than {table.path.parent}; name "
            f"the folder of that page, or answer this one's"
        )
    if not isinstance(answers, dict):
        raise InputError(f"{path}: expected an object answers, got {shown(answers)}")
    return _known(table, path, answers)


def _known(table: AuditTable, path: Path, answers: dict) -> dict[int, str]:
    numbers = {str(box) for box in range(len(table.keys))}
    unknown = [box for box in answers if box not in numbers]
    if unknown:
        raise InputError(
            f"{path}: {len(unknown)} boxes are none of the audit's {len(table.keys)} "
            f"({some(map(shown, unknown))}); they are numbered from 0"
        )
    parsed = {}
    for box, answer in answers.items():
        where = f"{path}: {ANSWER} of box {box}"
        if not isinstance(answer, str):
            raise InputError(f"{where}: expected right, wrong or unsure, got {shown(answer)}")
        if parse_answer(answer, where):
            parsed[int(box)] = parse_answer(answer, where)
    return parsed


def is_answer(answers: Sequence[str], answer: str) -> np.ndarray:
    """Whether each box (B,) has an answer."""
    return np.array([each == answer for each in answers], dtype=bool)
