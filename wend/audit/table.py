"""The files of an audit: ``audit.csv``, a row for each box, and ``audit.json``, how it was made.

The CSV is ranked by suspicion and is there for people, too: its column ``answer`` may be filled in
by hand, its rows may be sorted, and a spreadsheet may have saved it with semicolons.

Shape letters: B = boxes.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wend.audit.design import Design
from wend.audit.signals import Column
from wend.audit.words import parse_answer
from wend.errors import InputError, shown, some
from wend.files import atomic_write, read_json, read_text, write_json
from wend.structures.box_table import BoxTable

TABLE_FILE, INFO_FILE = "audit.csv", "audit.json"
FORMAT = "wend boxes audit 1"
BOX, KEY, ANSWER = "box", "key", "answer"
CORNERS = ("x0", "y0", "x1", "y1")
SIZES = ("width", "height")
SUSPICION, STRATUM, DRAW, PROBABILITY = "suspicion", "stratum", "draw", "inclusion_probability"
BEFORE = (BOX, KEY, *CORNERS, *SIZES, SUSPICION)
AFTER = (STRATUM, DRAW, PROBABILITY, ANSWER)
EXPECTED_TABLE = "the table of wend boxes audit"
EXPECTED_INFO = "what wend boxes audit says of its table"


@dataclass(frozen=True, eq=False)
class AuditTable:
    """The boxes of an audit in the order of their numbers.

    Attributes:
        path: of the CSV.
        info: the object of ``audit.json``.
        keys: B keys of the boxes' images.
        boxes: (B, 4) in original pixels.
        sizes: (B, 2) int64 width and height of the boxes' images.
        suspicion: (B,).
        signals: name -> values (B,), NaN where a signal has nothing to say.
        stratum: (B,) from 0, the most suspicious.
        draw: (B,) 1 for the first that is asked about; 0 for those that are not drawn.
        answers: B answers, "" where there is none.
    """

    path: Path
    info: Mapping[str, Any]
    keys: list[str]
    boxes: np.ndarray
    sizes: np.ndarray
    suspicion: np.ndarray
    signals: Mapping[str, np.ndarray]
    stratum: np.ndarray
    draw: np.ndarray
    answers: list[str]

    @property
    def digest(self) -> str:
        """By which answers know the audit."""
        return str(self.info["audit"])


def write_audit(
    folder: Path,
    info: Mapping[str, Any],
    keys: Sequence[str],
    boxes: BoxTable,
    sizes: np.ndarray,
    suspicion: np.ndarray,
    columns: Sequence[Column],
    design: Design,
    answers: Sequence[str],
) -> list[Path]:
    """Write both files; returns their paths.

    Args:
        info: further entries of ``audit.json``.
        keys: of the I images.
        boxes: of the I images, B in all.
        sizes: (I, 2).
        answers: B.
    """
    owner, probability = boxes.owner.tolist(), design.probability.tolist()
    order = np.lexsort((np.arange(len(suspicion)), -suspicion))
    values = [column.values for column in columns]

    def rows() -> Iterator[list]:
        for box in order.tolist():
            image = owner[box]
            yield [
                *(box, keys[image], *boxes.boxes[box].tolist(), *sizes[image].tolist()),
                float(suspicion[box]),
                *("" if math.isnan(value[box]) else float(value[box]) for value in values),
                *(int(design.stratum[box]) + 1, int(design.draw[box]) or "", probability[box]),
                answers[box],
            ]

    with atomic_write(folder / TABLE_FILE) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*BEFORE, *(column.name for column in columns), *AFTER])
        writer.writerows(rows())
    write_json(folder / INFO_FILE, {"format": FORMAT, **info}, indent=1)
    return [folder / TABLE_FILE, folder / INFO_FILE]


def is_audit(folder: Path) -> bool:
    """Whether a folder holds an audit."""
    return (folder / INFO_FILE).is_file()


def read_audit(folder: Path) -> AuditTable:
    """Read both files.

    Raises:
        MissingFileError, InputError: not there, or not as they were written, but for answers and
            the order of the rows.
    """
    info = _read_info(folder / INFO_FILE)
    path = folder / TABLE_FILE
    names, rows = _read_rows(path)
    numbers = [_whole(path, line, BOX, row[BOX]) for line, row in rows]
    if sorted(numbers) != list(range(info["boxes"])):
        raise InputError(
            f"{path}: expected a row for each of {info['boxes']} boxes, numbered from 0, got "
            f"{len(numbers)} rows, of {len(set(numbers))} different boxes; run the audit again "
            f"(answers of the page are in answers.json)"
        )
    rows = [rows[i] for i in np.argsort(numbers).tolist()]
    signals = [name for name in names if name not in (*BEFORE, *AFTER)]
    columns = {
        name: np.array([_number(path, line, name, row[name]) for line, row in rows])
        for name in (*CORNERS, *SIZES, SUSPICION, *signals)
    }
    for name in (*CORNERS, *SIZES, SUSPICION):
        if np.isnan(columns[name]).any():
            line = rows[int(np.argmax(np.isnan(columns[name])))][0]
            raise InputError(f"{path}, line {line}: column {name} is empty")
    stratum = np.array([_whole(path, line, STRATUM, row[STRATUM]) for line, row in rows]) - 1
    draw = np.array([_whole(path, line, DRAW, row[DRAW] or "0") for line, row in rows])
    if np.bincount(stratum.clip(0), minlength=1).tolist() != info["strata"] or stratum.min() < 0:
        raise InputError(
            f"{path}: column {STRATUM} is not as {folder / INFO_FILE} says; run the audit again"
        )
    return AuditTable(
        path,
        info,
        [row[KEY] for _, row in rows],
        np.stack([columns[name] for name in CORNERS], 1),
        np.stack([columns[name] for name in SIZES], 1).astype(np.int64),
        columns[SUSPICION],
        {name: columns[name] for name in signals},
        stratum,
        draw,
        [parse_answer(row[ANSWER], f"{path}, line {line}") for line, row in rows],
    )


def _read_info(path: Path) -> dict[str, Any]:
    info = read_json(path, EXPECTED_INFO)
    fits = isinstance(info, dict) and info.get("format") == FORMAT
    fits = fits and isinstance(info.get("audit"), str) and isinstance(info.get("strata"), list)
    if not fits or not isinstance(info.get("boxes"), int) or info["boxes"] < 1:
        raise InputError(f"{path}: expected {EXPECTED_INFO}, got {shown(info)}")
    return info


def _read_rows(path: Path, needed: Sequence[str] = (*BEFORE, *AFTER)) -> tuple[list, list]:
    """Names of the columns, and line number and cells by name of each row."""
    text = read_text(path, EXPECTED_TABLE)
    head = text.partition("\n")[0]
    separator = max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        lines = [(reader.line_num, cells) for cells in reader if cells]
    except csv.Error as error:
        raise InputError(f"{path}: not a whole CSV ({error}); expected {EXPECTED_TABLE}") from error
    names = [name.strip() for name in lines[0][1]] if lines else []
    missing = [name for name in needed if name not in names]
    if missing:
        raise InputError(f"{path}: expected {EXPECTED_TABLE}, but it lacks {some(missing)}")
    for line, cells in lines[1:]:
        if len(cells) != len(names):
            raise InputError(f"{path}, line {line}: expected {len(names)} cells, got {len(cells)}")
    rows = [(line, dict(zip(names, cells, strict=True))) for line, cells in lines[1:]]
    return names, rows


def read_answer_column(table: AuditTable, path: Path) -> dict[str, str]:
    """Box -> answer, as text, of a copy of an audit's table.

    Raises:
        InputError: no such columns, a box that comes twice, or a row of another audit.
    """
    _, rows = _read_rows(path, (BOX, KEY, STRATUM, ANSWER))
    answers: dict[str, str] = {}
    ours = {
        str(box): (key, str(stratum + 1))
        for box, (key, stratum) in enumerate(zip(table.keys, table.stratum.tolist(), strict=True))
    }
    for line, row in rows:
        if row[BOX] in answers:
            raise InputError(f"{path}, line {line}: box {row[BOX]} comes twice")
        if ours.get(row[BOX]) != (row[KEY], row[STRATUM]):
            raise InputError(
                f"{path}, line {line}: box {row[BOX]} of {row[KEY]} in stratum {row[STRATUM]} is "
                f"none of the audit in {table.path.parent}; name the folder of that audit"
            )
        answers[row[BOX]] = row[ANSWER]
    return answers


def audit_digest(keys: Sequence[str], boxes: BoxTable, design: Design) -> str:
    """By which answers know their audit: the same for the same boxes in the same random order."""
    digest = hashlib.sha256(design.digest().encode())
    digest.update("\0".join(keys).encode("utf-8", "surrogateescape"))
    digest.update(boxes.offsets.astype("<i8").tobytes())
    digest.update(np.ascontiguousarray(boxes.boxes, dtype="<f8").tobytes())
    return digest.hexdigest()


def _whole(path: Path, line: int, name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InputError(
            f"{path}, line {line}: column {name}: expected a whole number, got {shown(text)}"
        )
    return int(text)


def _number(path: Path, line: int, name: str, text: str) -> float:
    """A number; NaN for an empty cell."""
    try:
        value = float(text.replace(",", ".")) if text else math.nan  # a spreadsheet's comma
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise InputError(
            f"{path}, line {line}: column {name}: expected a number, got {shown(text)}"
        )
    return value
