"""Open Images' CSV of boxes (``oidv6-train-annotations-bbox.csv`` and its kind).

A line of column names, a line for each box: ``ImageID`` (the image's name without ending),
``LabelName``, ``XMin, XMax, YMin, YMax`` (in this order; fractions of width and height), perhaps
``Confidence`` and ``IsGroupOf``: 1 where one box is around a group of more than five objects.

Shape letter: N = boxes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wend.errors import InputError, MissingFileError
from wend.files import open_bytes
from wend.formats.csv_columns import read_columns
from wend.structures.arrow import booleans, numbers_of
from wend.structures.checks import as_boxes

logger = logging.getLogger(__name__)
GROUPS = ("drop", "keep")
COLUMNS = ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax")
OPTIONAL = ("Confidence", "IsGroupOf")
TOLERANCE = 1e-3  # of the image, by which rounding may leave it


@dataclass(frozen=True, eq=False)
class OpenImagesBoxes:
    """The boxes of a file.

    Attributes:
        names: N names of images, without ending.
        labels: N label names, such as ``/m/015p6``.
        boxes: (N, 4) xyxy in fractions of the image's width and height.
        scores: (N,) float64 confidence, or None where there is no such column.
    """

    names: Sequence[str]
    labels: Sequence[str]
    boxes: np.ndarray
    scores: np.ndarray | None


def is_openimages(path: str | Path) -> bool:
    """Whether a file's first line names their columns."""
    with open_bytes(path, "a CSV of Open Images' boxes") as file:
        first = file.readline(1000)
    header = first.decode("utf-8-sig", "replace").replace('"', "").strip().split(",")
    return {"ImageID", "XMin"} <= set(header)


def read_openimages(path: str | Path, groups: str = "drop") -> OpenImagesBoxes:
    """Read a file.

    Args:
        groups: "drop" boxes of groups, which are counted, or "keep" them.

    Raises:
        MissingFileError, InputError: not there, no such file, or a value that is none.
    """
    import pyarrow as pa
    from pyarrow import csv

    if groups not in GROUPS:
        raise InputError(f"groups must be one of {', '.join(GROUPS)}, got {groups!r}")
    if not Path(path).is_file():
        raise MissingFileError(f"{path}: there is no such file; expected Open Images' CSV of boxes")
    try:
        with csv.open_csv(path) as reader:
            present = reader.schema.names
        held = [name for name in (*COLUMNS, *OPTIONAL) if name in present]
        if missing := [name for name in COLUMNS if name not in held]:
            raise InputError(
                f"{path}: has no column {', '.join(missing)}; expected Open Images' "
                f"{', '.join((*COLUMNS, *OPTIONAL))}"
            )
        if twice := [name for name in held if present.count(name) > 1]:
            raise InputError(f"{path}: expected each column once, got {', '.join(twice)} twice")
        types = {n: pa.large_string() if n in COLUMNS[:2] else pa.float64() for n in held}
        options = csv.ConvertOptions(column_types=types, include_columns=held)
        table = read_columns(path, options)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())[:300]
        raise InputError(f"{path}: cannot be read as Open Images' CSV ({problem})") from error
    numbers = {}
    for name in held[2:]:
        column = table[name]
        if column.null_count:
            row = column.is_null().index(True).as_py()
            raise InputError(f"{path}, row {row + 1}: column {name} has no value")
        numbers[name] = numbers_of(column)
    boxes = np.stack([numbers[name] for name in ("XMin", "YMin", "XMax", "YMax")], 1)
    wrong = ~((boxes >= -TOLERANCE) & (boxes <= 1 + TOLERANCE)).all(1)
    wrong |= (boxes[:, 2:] < boxes[:, :2]).any(1)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"{path}, row {row + 1}: expected XMin <= XMax and YMin <= YMax as fractions of the "
            f"image, got XMin, YMin, XMax, YMax = {boxes[row].tolist()}"
        )
    kept = np.ones(len(boxes), dtype=bool)
    if "IsGroupOf" in numbers:
        is_group = numbers["IsGroupOf"] == 1  # -1: unknown
        kept = ~is_group if groups == "drop" else kept
        logger.info(
            "%s: %d of %d boxes are of groups and %s",
            *(path, int(is_group.sum()), len(boxes), "left out" if groups == "drop" else "kept"),
        )
    names, labels = (table[name].filter(booleans(kept)).to_pylist() for name in COLUMNS[:2])
    scores = numbers["Confidence"][kept] if "Confidence" in numbers else None
    return OpenImagesBoxes(names, labels, as_boxes(boxes[kept], str(path)), scores)
