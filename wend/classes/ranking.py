"""What the columns of a table of class predictions mean, by their names, never by their position.

A name is a word and perhaps a number: ``class_3``, ``label``, ``prob_0``, ``top1_score``. Words are
those of images, classes, scores and ranks below; columns that are called after classes of the data
set, or by a number alone, hold that class's scores. A number counts classes where there are scores
alone, and places from the best where there are classes.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from wend.classes.class_names import ClassNames
from wend.classes.column_words import (
    CLASSES,
    IMAGES,
    RANKS,
    SCORES,
    is_image_column,
    word_and_number,
)
from wend.classes.tables import Table, cell_values
from wend.errors import InputError, shown, some
from wend.files import MAX_NUMBER, is_number
from wend.numerals import decimal_number

Ranked = tuple[list[int], list[float]]  # classes, best first, and their scores (empty: not known)
Family = dict[int | None, str]  # the columns of one word: number, or None without one -> name
logger = logging.getLogger(__name__)


class _Columns:
    """A table's columns, sorted by what they mean."""

    def __init__(self, table: Table, names: ClassNames) -> None:
        self.table = table
        self.classes: dict[str, Family] = {}
        self.scores: dict[str, Family] = {}
        self.rank: str | None = None
        self.by_class: dict[int, str] = {}  # class -> the column of its scores
        self.others: list[str] = []
        images = sorted(
            (name for name in table.columns if is_image_column(name)),
            key=lambda name: IMAGES.index(word_and_number(name)[0]),
        )
        for name in table.columns:
            word, number = word_and_number(name)
            families = self.classes if word in CLASSES else self.scores if word in SCORES else None
            if name in images[:1]:
                continue
            if word in RANKS and number is None:
                self.rank = name
            elif families is None:
                self.others.append(name)
            elif number in families.setdefault(word, {}):
                raise InputError(
                    f"{table.path}: columns {families[word][number]!r} and {name!r} mean the same"
                )
            else:
                families[word][number] = name
        self._take_columns_of_classes(names)
        if not images and len(self.others) == 1:
            images = [self.others.pop()]
        if not images:
            raise InputError(
                f"{table.path}: no column names the images; expected one called {', '.join(IMAGES)}"
                f"; got {some(map(repr, table.columns), 8)}"
            )
        self.images = images[0]
        self._leave_out_row_numbers()

    def _take_columns_of_classes(self, names: ClassNames) -> None:
        """Columns that are called after classes, or by numbers alone, hold their scores."""
        if self.classes or self.scores:
            return
        for name in list(self.others):
            number = int(name) if re.fullmatch(r"[0-9]{1,9}", name) else names.number(name)
            if number is None:
                continue
            if number in self.by_class:
                raise InputError(
                    f"{self.table.path}: columns {self.by_class[number]!r} and {name!r} are both "
                    f"of class {number}"
                )
            self.by_class[number] = name
            self.others.remove(name)

    def _leave_out_row_numbers(self) -> None:
        """Leave out pandas' ``index``, the rows' own numbers, where other columns have classes."""
        family = self.classes.get("index", {})
        if family.keys() == {None} and len(self.classes) + len(self.scores) > 1:
            cells = [str(cell) for cell in self.table.columns[family[None]]]
            if len(cells) > 1 and cells == [str(row) for row in range(len(cells))]:
                self.others.append(self.classes.pop("index")[None])


def rank_classes(
    table: Table, names: ClassNames, top_k: int
) -> tuple[int | None, list[tuple[str, str, Ranked]]]:
    """The images of a table with their classes, best first.

    Args:
        names: class numbers by name.
        top_k: classes that are kept where there is a score for each class.

    Returns:
        How many classes the classifier knows, where there is a score for each; and for each image
        the words that point to its (first) row, its name, and its classes.

    Raises:
        InputError: columns that are missing or contradict each other, or a cell that is no class or
            no finite number.
    """
    columns = _Columns(table, names)
    images = []
    for row, cell in enumerate(table.columns[columns.images]):
        if not isinstance(cell, str) or not cell.strip():
            raise table.wrong(row, f"expected an image's name in {columns.images!r}, got {cell!r}")
        images.append(cell.strip())
    if columns.others:
        logger.info("%s: columns that are not read: %s", table.path, some(columns.others, 8))
    scores = _scores_of_all_classes(columns)
    if scores is not None:
        _refuse_class_numbers(table, scores)
        ranked = [_best(row, top_k) for row in scores]
        rows = zip(table.places, images, ranked, strict=True)
        return len(scores[0]), list(rows)
    classes = _classes(columns, names)
    paired = _paired_scores(columns, classes)
    if len(set(images)) < len(images) and all(len(row) == 1 for row in classes):
        return None, _grouped(columns, images, classes, paired)
    ranked = [_sorted(row, paired[number] if paired else []) for number, row in enumerate(classes)]
    return None, list(zip(table.places, images, ranked, strict=True))


def _cells(columns: _Columns, family: Family) -> list[list[Any]]:
    """The values of a family's columns in each row, in the order of their numbers."""
    table = columns.table
    numbers = sorted(number for number in family if number is not None)
    first = numbers[0] if numbers else 0
    if numbers and (
        None in family or first > 1 or numbers != list(range(first, first + len(numbers)))
    ):
        raise InputError(
            f"{table.path}: expected columns numbered from 0 or 1 without a gap, got "
            f"{some(map(repr, family.values()), 8)}"
        )
    names = [family[number] for number in numbers] or [family[None]]
    chosen = [table.columns[name] for name in names]
    rows = []
    for row in range(len(table.places)):
        cells = [column[row] for column in chosen]
        try:
            rows.append(cell_values(cells[0]) if len(cells) == 1 else cells)
        except ValueError as error:
            raise table.wrong(row, str(error)) from error
    return rows


def _numbers(columns: _Columns, rows: list[list[Any]], word: str) -> list[list[float]]:
    """The finite numbers of cells."""
    checked = []
    for number, row in enumerate(rows):
        values = row if _are_floats(row) else [_number(cell) for cell in row]
        if _are_floats(values):  # a score for each class is many
            good = bool((np.abs(values) < MAX_NUMBER).all())
        else:
            good = all(map(is_number, values))
        if not good:
            bad = next(cell for cell in rows[number] if not is_number(_number(cell)))
            raise columns.table.wrong(
                number, f"expected a finite score, got {shown(bad)} (in {word!r})"
            )
        checked.append(values)
    return checked


def _are_floats(row: list[Any]) -> bool:
    return {*map(type, row)} == {float}


def _number(cell: Any) -> Any:
    """The number that a cell is; None if it is none."""
    if isinstance(cell, str):
        try:
            return decimal_number(cell.strip())
        except ValueError:
            return None
    if isinstance(cell, bool):
        return None
    if isinstance(cell, int | float):
        return cell
    try:
        return float(cell)  # a Decimal of Parquet
    except (TypeError, ValueError, OverflowError):
        return None


def _scores_of_all_classes(columns: _Columns) -> Sequence[Sequence[float]] | None:
    """Scores (N, C) of classes 0 to C - 1; None where the table lists classes instead."""
    path = columns.table.path
    if columns.by_class:
        numbers = sorted(columns.by_class)
        if numbers != list(range(len(numbers))):
            start = " Are the classes 1-based? They are counted from 0" if numbers[0] == 1 else ""
            raise InputError(
                f"{path}: expected a column of scores for each class from 0, got "
                f"{len(numbers)} columns, of classes {numbers[0]} to {numbers[-1]}.{start}"
            )
        family: Family = {number: columns.by_class[number] for number in numbers}
        return _numbers(columns, _cells(columns, family), columns.by_class[0])
    wide = []
    for word, family in columns.scores.items():
        single = family.keys() == {None}
        rows = _cells(columns, family)
        many = not single or any(len(row) > 1 for row in rows)
        if many and not _listed(columns):
            wide.append((word, family, rows))
    if not wide:
        return None
    word, family, rows = max(wide, key=lambda each: len(each[2][0]))
    name = next(iter(family.values()))
    if min((number for number in family if number is not None), default=0) == 1:
        raise InputError(
            f"{path}: the columns of scores begin with {family[1]!r} and there is none of class 0. "
            f"Are the classes 1-based? Name the columns by classes from 0"
        )
    counts = sorted({len(row) for row in rows})
    if len(counts) > 1:
        raise InputError(f"{path}: images have {counts} scores; expected one number of them")
    return _numbers(columns, rows, name)


def _listed(columns: _Columns) -> bool:
    """Whether a column lists several classes of an image, or several columns do."""
    for family in columns.classes.values():
        if family.keys() != {None}:
            return True
        if any(len(row) > 1 for row in _cells(columns, family)):
            return True
    return False


def _refuse_class_numbers(table: Table, scores: Sequence[Sequence[float]]) -> None:
    """Raise InputError if the scores of every image are different whole numbers, as classes are."""

    def are_numbers_of_classes(row: Sequence[float]) -> bool:
        return len({*row}) == len(row) and all(value >= 0 and value % 1 == 0 for value in row)

    if len(scores) > 1 and len(scores[0]) > 2 and all(map(are_numbers_of_classes, scores)):
        row = some((f"{value:g}" for value in scores[0]), 5)
        raise InputError(
            f"{table.path}: expected a score for each class, got different whole numbers in every "
            f"image, such as {row}. If they are classes, best first, call the columns class1, "
            f"class2, ..., or the list of them classes; ranks are no scores"
        )


def _best(scores: Sequence[float], top_k: int) -> Ranked:
    """The ``top_k`` best classes; of equal scores the lower class first."""
    values = np.asarray(scores, dtype=np.float64)
    order = np.argsort(-values, kind="stable")[:top_k]
    return order.tolist(), values[order].tolist()


def _classes(columns: _Columns, names: ClassNames) -> list[list[int]]:
    """Each row's classes: of all columns of classes that can be understood, which must agree."""
    table = columns.table
    if not columns.classes:
        raise InputError(
            f"{table.path}: no column has classes, or a score for each class; expected one such as "
            f"class, label, class1 or score_0, or one for each class; got "
            f"{some(map(repr, table.columns), 8)}"
        )
    lists: dict[str, list[list[int]]] = {}
    errors = []
    for family in columns.classes.values():
        name = next(iter(family.values()))
        try:
            lists[name] = _class_numbers(columns, _cells(columns, family), name, names)
        except InputError as error:
            errors.append(error)
    if not lists:
        raise errors[0]
    longest = max(lists, key=lambda name: max(map(len, lists[name])))
    for name, rows in lists.items():
        for number, (ours, theirs) in enumerate(zip(lists[longest], rows, strict=True)):
            if ours[: len(theirs)] != theirs:
                raise table.wrong(
                    number,
                    f"columns {longest!r} and {name!r} contradict each other: classes "
                    f"{some(ours, 5)} and {some(theirs, 5)}. Is one of them 1-based, or of another "
                    f"label order?",
                )
    return lists[longest]


def _class_numbers(
    columns: _Columns, rows: list[list[Any]], name: str, names: ClassNames
) -> list[list[int]]:
    result = []
    for number, row in enumerate(rows):
        classes = []
        for cell in row:
            value = _number(cell)
            if value is not None and (not is_number(value) or value != int(value) or value < 0):
                raise columns.table.wrong(
                    number,
                    f"expected a class number from 0, got {shown(cell)} in {name!r}. If these are "
                    f"scores, call the columns score_0, score_1, ...",
                )
            if value is None:
                value = names.number(cell) if isinstance(cell, str) else None
            if value is None:
                why = names.explain(cell) if isinstance(cell, str) and cell else "is no class"
                raise columns.table.wrong(
                    number, f"expected a class number from 0, got {shown(cell)}, which {why}"
                )
            classes.append(int(value))
        if not classes:
            raise columns.table.wrong(number, "has no class")
        if len(set(classes)) < len(classes):
            raise columns.table.wrong(number, f"a class stands there twice: {some(classes, 8)}")
        result.append(classes)
    return result


def _paired_scores(columns: _Columns, classes: list[list[int]]) -> list[list[float]]:
    """Each row's scores of its classes; empty where there are none."""
    table = columns.table
    best: list[list[float]] = []
    for family in columns.scores.values():
        name = next(iter(family.values()))
        rows = _cells(columns, family)
        wrong = next(
            (i for i, (c, s) in enumerate(zip(classes, rows, strict=True)) if len(c) != len(s)),
            None,
        )
        if wrong is not None:
            raise table.wrong(
                wrong,
                f"{len(classes[wrong])} class columns but {len(rows[wrong])} score columns (or as "
                f"many in lists); expected as many, or one score for each class and no classes",
            )
        best = best or [list(row) for row in _numbers(columns, rows, name)]
    length = len(classes[0])
    ranks = [set(range(start, start + length)) for start in (0, 1)]
    if length > 1 and len(best) > 1 and all(set(row) in ranks for row in best):
        raise InputError(
            f"{table.path}: the scores of every image are its ranks ({some(best[0], 5)}); leave "
            f"them out, and write the best class first"
        )
    return best


def _sorted(classes: list[int], scores: list[float]) -> Ranked:
    """The classes with the best score first; as they came where there are no scores."""
    if not scores:
        return classes, []
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    return [classes[i] for i in order], [scores[i] for i in order]


def _grouped(
    columns: _Columns, images: list[str], classes: list[list[int]], scores: list[list[float]]
) -> list[tuple[str, str, Ranked]]:
    """A row for each class of an image: by ranks, else by scores, else as they came."""
    table = columns.table
    ranks = None
    if columns.rank is not None:
        cells = [[cell] for cell in table.columns[columns.rank]]
        ranks = [row[0] for row in _numbers(columns, cells, columns.rank)]
    members: dict[str, list[int]] = {}
    for row, image in enumerate(images):
        members.setdefault(image, []).append(row)
    result = []
    for image, rows in members.items():
        if ranks is not None:
            rows = sorted(rows, key=ranks.__getitem__)
        own = [classes[row][0] for row in rows]
        if len(set(own)) < len(own):
            raise table.wrong(rows[-1], f"image {image!r}: a class stands there twice: {own}")
        own_scores = [scores[row][0] for row in rows] if scores else []
        ranked = (own, own_scores) if ranks is not None else _sorted(own, own_scores)
        result.append((table.places[rows[0]], image, ranked))
    return result
