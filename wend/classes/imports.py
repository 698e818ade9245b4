"""Class predictions of other programs: score JSON (GenPromp, mmpretrain) and CSV.

What is accepted is in docs/classify.md. Images are matched by :func:`.match_names`, with or without
the file's ending.
"""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from wend.classes.predictions import PredictionsFile
from wend.errors import InputError, some
from wend.files import is_number, read_json, read_text
from wend.numerals import decimal_number, whole_number
from wend.structures.names import clean_path, match_names
from wend.structures.records import ImageRecord

NAME_FIELDS = ("img_path", "filename", "file_name", "file", "name", "image")
SCORE_FIELDS = ("pred_scores", "pred_score")
JSON_SHAPE = (
    '{"<class folder>/<file>": {"pred_scores": [score of class 0, 1, ...]}} or '
    '[{"img_path": "...", "pred_scores": [...]}]'
)
CSV_SHAPE = "lines 'file,class,class,...' with the best class first, numbered from 0"
logger = logging.getLogger(__name__)
Ranked = tuple[list[int], list[float]]  # classes, best first, and their scores (empty: not known)


def import_class_predictions(
    path: str | Path, records: Sequence[ImageRecord], top_k: int = 5
) -> PredictionsFile:
    """Read another program's file (``.json`` or ``.csv``) as predictions of these records.

    Args:
        top_k: classes that are kept where the file has a score for each class.

    Raises:
        InputError: not such a file, or an image stands there twice.
    """
    path = Path(path)
    readers = {".json": _read_score_json, ".csv": _read_csv}
    if path.suffix.lower() not in readers:
        raise InputError(f"{path}: expected a .json or .csv file to import")
    num_classes, rows = readers[path.suffix.lower()](path, top_k)
    matched = _match(path, rows, records)
    has_scores = all(scores for _, scores in matched.values())
    return PredictionsFile(
        predictions={key: classes for key, (classes, _) in matched.items()},
        scores={key: scores for key, (_, scores) in matched.items()} if has_scores else {},
        num_classes=num_classes,
        settings={"imported_from": path.name},
        source=str(path),
    )


def _match(
    path: Path, rows: Iterable[tuple[str, Ranked]], records: Sequence[ImageRecord]
) -> dict[str, Ranked]:
    """Key of each image that the file has -> its classes."""
    rows, keys = list(rows), [record.key for record in records]
    names = [clean_path(name) for name, _ in rows]
    index = match_names(names, [clean_path(key) for key in keys], str(path))
    matched: dict[str, Ranked] = {}
    unknown = []
    for (name, ranked), i in zip(rows, index.tolist(), strict=True):
        if i < 0:
            unknown.append(name)
        elif keys[i] in matched:
            raise InputError(f"{path}: image {keys[i]} stands there twice (the second as {name!r})")
        else:
            matched[keys[i]] = ranked
    if unknown:
        logger.info(
            "%s: passed over %d entries of images that the data set does not have (%s)",
            path,
            len(unknown),
            some(unknown),
        )
    if not matched:
        raise InputError(
            f"{path}: none of its {len(unknown)} images is in the data set ({some(unknown)}); "
            f"expected names such as {keys[0] if keys else '<class folder>/<file>'}"
        )
    return matched


def _best(scores: Sequence[float], top_k: int) -> Ranked:
    """The ``top_k`` best classes; of equal scores the lower class first."""
    values = np.asarray(scores, dtype=np.float64)
    order = np.argsort(-values, kind="stable")[:top_k]
    return order.tolist(), values[order].tolist()


def _read_score_json(path: Path, top_k: int) -> tuple[int, list[tuple[str, Ranked]]]:
    content = read_json(path, JSON_SHAPE)
    if isinstance(content, dict):
        entries = list(content.items())
    elif isinstance(content, list):
        entries = [
            (_entry_name(path, number, entry), entry) for number, entry in enumerate(content)
        ]
    else:
        entries = []
    if not entries:
        raise InputError(f"{path}: expected {JSON_SHAPE}, got no entries")
    rows, counts = [], set()
    for name, entry in entries:
        fields = entry if isinstance(entry, dict) else {}
        scores = next((fields[f] for f in SCORE_FIELDS if isinstance(fields.get(f), list)), None)
        if not scores or not all(map(is_number, scores)):
            raise InputError(
                f"{path}: entry {name!r}: expected 'pred_scores', a finite score for each class; "
                f"the whole file: {JSON_SHAPE}"
            )
        counts.add(len(scores))
        rows.append((name, _best(scores, top_k)))
    if len(counts) > 1:
        raise InputError(
            f"{path}: images have {sorted(counts)} scores; expected one number of them"
        )
    return counts.pop(), rows


def _entry_name(path: Path, number: int, entry: object) -> str:
    fields = entry if isinstance(entry, dict) else {}
    name = next((fields[f] for f in NAME_FIELDS if isinstance(fields.get(f), str)), None)
    if name is None:
        raise InputError(
            f"{path}: entry {number} of the list names no image; expected one of "
            f"{', '.join(NAME_FIELDS)}"
        )
    return name


def _number(path: Path, line: int, text: str, kind: type) -> float:
    wanted = "a class number from 0" if kind is int else "a finite score"
    try:
        value = whole_number(text) if kind is int else decimal_number(text)
    except ValueError:
        value = -1 if kind is int else float("nan")
    if not is_number(value) or (kind is int and value < 0):
        raise InputError(f"{path}, line {line}: expected {wanted}, got {text!r}")
    return value


def _read_csv(path: Path, top_k: int) -> tuple[int | None, list[tuple[str, Ranked]]]:
    text = read_text(path, CSV_SHAPE).lstrip("\ufeff")
    rows = [
        (number, [cell.strip() for cell in row])
        for number, row in enumerate(csv.reader(text.splitlines()), 1)
        if any(cell.strip() for cell in row)
    ]
    header = rows[0][1] if rows and len(rows[0][1]) > 1 and _is_header(rows[0][1]) else None
    rows = rows[1:] if header else rows
    if not rows:
        raise InputError(f"{path}: no image in it; expected {CSV_SHAPE}")
    if not header:
        return None, [(row[0], (_classes(path, line, row[1:]), [])) for line, row in rows]
    wrong = next((line for line, row in rows if len(row) != len(header)), None)
    if wrong:
        raise InputError(f"{path}, line {wrong}: expected {len(header)} cells as in the first line")
    return _with_header(path, header, rows, top_k)


def _is_header(row: Sequence[str]) -> bool:
    return re.match(r"(class|score|pred)", row[1], re.IGNORECASE) is not None


def _classes(path: Path, line: int, cells: Sequence[str]) -> list[int]:
    if not cells:
        raise InputError(f"{path}, line {line}: expected {CSV_SHAPE}")
    return [int(_number(path, line, cell, int)) for cell in cells]


def _with_header(
    path: Path, header: list[str], rows: list[tuple[int, list[str]]], top_k: int
) -> tuple[int | None, list[tuple[str, Ranked]]]:
    score_at = [i for i, name in enumerate(header) if i and "score" in name.lower()]
    class_at = [i for i in range(1, len(header)) if i not in score_at]
    table = [
        (
            row[0],
            _classes(path, line, [row[i] for i in class_at]) if class_at else [],
            [_number(path, line, row[i], float) for i in score_at],
        )
        for line, row in rows
    ]
    if not class_at:  # one score for each class
        return len(score_at), [(name, _best(scores, top_k)) for name, _, scores in table]
    if score_at and len(score_at) != len(class_at):
        raise InputError(
            f"{path}: {len(class_at)} class columns but {len(score_at)} score columns; expected as "
            f"many, or 'file' and one score column for each class"
        )
    if len(class_at) == 1:  # a line for each class of an image
        grouped: dict[str, Ranked] = {}
        for name, classes, scores in table:
            all_classes, all_scores = grouped.setdefault(name, ([], []))
            all_classes += classes
            all_scores += scores
        return None, [(name, _sorted(*ranked)) for name, ranked in grouped.items()]
    return None, [(name, _sorted(classes, scores)) for name, classes, scores in table]


def _sorted(classes: list[int], scores: list[float]) -> Ranked:
    """The classes with the best score first; as they came where there are no scores."""
    if not scores:
        return classes, []
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    return [classes[i] for i in order], [scores[i] for i in order]
