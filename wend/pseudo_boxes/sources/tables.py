"""Boxes as rows: CSV and Parquet with named columns, wsolevaluation's ``localization.txt``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wend.errors import InputError, MissingFileError, some
from wend.formats.csv_columns import read_columns
from wend.formats.wsoleval import BOXES, read_list
from wend.pseudo_boxes.keys import path_key
from wend.pseudo_boxes.registry import box_source
from wend.pseudo_boxes.source_boxes import PseudoBoxes
from wend.structures.arrow import numbers_of, strings

if TYPE_CHECKING:
    import pyarrow as pa

CORNERS, SIDES = ("x0", "y0", "x1", "y1"), ("x", "y", "w", "h")


def from_rows(
    source: str, frame: str, names: pa.Array, boxes: np.ndarray, scores: np.ndarray | None
) -> PseudoBoxes:
    """Boxes of rows; all rows of a name are one entry.

    Args:
        names: (B,) Arrow strings, the path of each row's image.
        boxes: (B, 4) xyxy in the frame.
        scores: (B,) or None.
    """
    encoded = names.dictionary_encode()
    code = numbers_of(encoded.indices).astype(np.int64)
    keys = [path_key(name, f"{source}: image {name!r}") for name in encoded.dictionary.to_pylist()]
    order = np.argsort(code, kind="stable")
    num = np.bincount(code, minlength=len(keys))
    scores = None if scores is None else scores[order]
    return PseudoBoxes.from_entries(source, frame, keys, num, boxes[order], scores)


def _columns(source: str, columns: object, present: Sequence[str]) -> dict[str, str]:
    """The column of each value: image, four coordinates, perhaps score -> the column's name."""
    wanted = (*CORNERS, *SIDES, "image", "score")
    listed = " ".join(", ".join(present).split())  # a quoted name may hold a line's end
    if not isinstance(columns, Mapping) or set(columns) - set(wanted):
        raise InputError(
            f"{source}: columns: expected names for some of image, {', '.join(CORNERS)} or "
            f"{', '.join(SIDES)}, and score; got {columns!r}"
        )
    corners, sides = (set(names) & set(columns) for names in (CORNERS, SIDES))
    fits_sides = set(SIDES) <= set(present) and not set(CORNERS) <= set(present)
    xywh = bool(sides) or (not corners and fits_sides)
    held = {name: columns.get(name, name) for name in ("image", *(SIDES if xywh else CORNERS))}
    missing = [name for name in held.values() if name not in present]
    if missing or (set(columns) - {*held, "score"}):
        raise InputError(
            f"{source}: expected the columns {', '.join(map(str, held.values()))}; the file has "
            f"{listed or 'none'}. Name them, such as columns: {{image: file, x0: left}}"
        )
    score = columns.get("score", "score")
    if score in present:
        held["score"] = score
    elif "score" in columns:
        raise InputError(f"{source}: there is no column {score!r}; it has {listed}")
    twice = [name for name in held.values() if present.count(name) > 1]
    if twice or len(set(held.values())) < len(held):
        raise InputError(
            f"{source}: expected one column for each of {', '.join(held)}; got "
            f"{some(twice) + ' twice in the file' if twice else dict(held)}"
        )
    return held


def _from_table(source: str, table: pa.Table, held: Mapping[str, str], frame: str) -> PseudoBoxes:
    """An Arrow table to boxes; each column is checked for nulls and its type."""
    import pyarrow as pa

    for key, name in held.items():
        if pa.types.is_boolean(table[name].type):
            raise InputError(f"{source}: column {name!r} holds true and false, expected {key}")
        if table[name].null_count:
            row = table[name].is_null().index(True).as_py()
            raise InputError(f"{source}: column {name!r} has no value in row {row + 1}")
    try:
        table.validate(full=True)  # a damaged file may hold text that is no UTF-8
        names = table[held["image"]].cast(pa.string()).combine_chunks()
        numbers = {
            key: numbers_of(table[name].cast(pa.float64()))
            for key, name in held.items()
            if key != "image"
        }
    except pa.ArrowException as error:
        raise InputError(
            f"{source}: expected text in column {held['image']!r} and numbers in the others "
            f"({' '.join(str(error).split())})"
        ) from error
    if isinstance(names, pa.ChunkedArray):
        names = pa.concat_arrays([pa.array([], pa.string()), *names.chunks])
    scores = numbers.pop("score", None)
    boxes = np.stack(list(numbers.values()), 1)
    if "w" in held:
        if (boxes[:, 2:] < 0).any():
            row = int(np.argmax((boxes[:, 2:] < 0).any(1)))
            raise InputError(f"{source}: row {row + 1}: width or height is negative")
        boxes[:, 2:] += boxes[:, :2]
    return from_rows(source, frame, names, boxes, scores)


def _existing(path: str | Path, expected: str) -> Path:
    if not Path(path).is_file():
        raise MissingFileError(f"{path}: there is no such file; expected {expected}")
    return Path(path)


@box_source("csv")
def read_csv(
    path: str | Path, columns: Mapping[str, str] | None = None, frame: str = "pixel"
) -> PseudoBoxes:
    """Read a CSV with a line of column names and one line per box.

    Frame: as ``frame`` says, pixels of the original image by default.

    Args:
        path: the file, UTF-8.
        columns: what each column is called: ``image`` and ``x0, y0, x1, y1`` or ``x, y, w, h``
            (the top left corner, width and height), and ``score``; each is called so by default.
        frame: "pixel", or "fraction" of the image's width and height.

    Raises:
        MissingFileError, InputError: not there, other columns, or a value that is none.
    """
    import pyarrow as pa
    from pyarrow import csv

    path = _existing(path, "a CSV of boxes")
    try:
        with csv.open_csv(path) as reader:
            present = reader.schema.names
        held = _columns(str(path), columns or {}, present)
        types = {n: pa.string() if k == "image" else pa.float64() for k, n in held.items()}
        options = csv.ConvertOptions(
            column_types=types, include_columns=list(held.values()), strings_can_be_null=True
        )
        table = read_columns(path, options)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())[:300]
        raise InputError(
            f"{path}: cannot be read as CSV ({problem}); expected a line of column names, then one "
            f"line per box with numbers"
        ) from error
    return _from_table(str(path), table, held, frame)


@box_source("parquet")
def read_parquet(
    path: str | Path, columns: Mapping[str, str] | None = None, frame: str = "pixel"
) -> PseudoBoxes:
    """Read a Parquet file with one row per box; arguments and frame as of :func:`read_csv`."""
    import pyarrow as pa
    from pyarrow import parquet

    path = _existing(path, "a Parquet file of boxes")
    try:
        held = _columns(str(path), columns or {}, parquet.read_schema(path).names)
        table = parquet.read_table(path, columns=list(held.values()))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read as Parquet ({problem})") from error
    return _from_table(str(path), table, held, frame)


@box_source("localization")
def read_localization(path: str | Path) -> PseudoBoxes:
    """Read wsolevaluation's ``localization.txt``: lines ``<image id>,<x0>,<y0>,<x1>,<y1>``.

    Frame: pixels of the original image, taken as they stand. Nothing found is ``0,0,0,0``, without
    area (wsolevaluation, evaluation.py).

    Args:
        path: the file, or a folder that holds it.

    Raises:
        MissingFileError, InputError: not there, or a line is malformed.
    """
    path = Path(path)
    path = path / BOXES if path.is_dir() else path
    names, boxes = read_list(path, CORNERS, float)
    return from_rows(str(path), "pixel", strings(names), boxes, None)
