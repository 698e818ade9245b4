"""Kaggle's ``LOC_train_solution.csv`` and ``LOC_val_solution.csv`` of ImageNet's CLS-LOC.

A line ``ImageId,PredictionString``, then a line for each image: its name without ending, and for
each box the WordNet id and four pixel coordinates, ``n01440764 24 38 312 290``. Coordinates are
taken as they stand, as those of the XML files.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from wend.errors import InputError, shown
from wend.files import open_bytes, read_lines
from wend.numerals import decimal_number
from wend.structures.checks import as_boxes

WNID = re.compile(r"n\d{8}")
HEADER = "ImageId,PredictionString"
LINE = "<image>,<wnid> <x0> <y0> <x1> <y1> ..."


def is_kaggle(path: str | Path) -> bool:
    """Whether a file's first line is theirs."""
    with open_bytes(path, f"lines '{LINE}'") as file:
        first = file.readline(200)
    return first.decode("utf-8-sig", "replace").replace('"', "").strip() == HEADER


def read_kaggle(path: str | Path) -> list[tuple[str, list[str], np.ndarray]]:
    """The name, the boxes' WordNet ids (M) and the boxes (M, 4) of each image.

    Raises:
        MissingFileError, InputError: a malformed line, or an image twice; file and line are named.
    """
    rows: list[tuple[str, list[str], np.ndarray]] = []
    line_of: dict[str, int] = {}
    for number, line in enumerate(read_lines(path, f"lines '{LINE}'"), 1):
        if number == 1 or not line.strip():
            continue
        where = f"{path}, line {number}"
        name, comma, text = line.strip().partition(",")
        words = text.strip().strip('"').split()
        labels = words[::5]
        if not name or not comma or len(words) % 5 or not all(map(WNID.fullmatch, labels)):
            raise InputError(f"{where}: expected '{LINE}', got {shown(line)}")
        if line_of.setdefault(name, number) != number:
            raise InputError(f"{where}: {name} stands already in line {line_of[name]}")
        try:
            values = [decimal_number(word) for i, word in enumerate(words) if i % 5]
        except ValueError as error:
            raise InputError(f"{where}: {error}") from None
        rows.append((name, labels, as_boxes(np.reshape(values, (-1, 4)), where)))
    if not rows:
        raise InputError(f"{path}: is empty; expected lines '{LINE}'")
    return rows
