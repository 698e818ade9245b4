"""YOLO's text files: one for each image, a line ``<class> <cx> <cy> <w> <h>`` for each box.

Centre, width and height are fractions of the image's width and height. A sixth number is a
detector's confidence; a longer line is a polygon or a turned box, ``<class> <x> <y> <x> <y> ...``,
and becomes its tight box. A detector's polygon may have a confidence behind it, too (ultralytics
8.4.190, engine/results.py:774-781, save_conf). An empty file is an image without a box.
``classes.txt`` beside the files and ``data.yaml`` beside their folder name the classes.

Shape letters: L = files, N = boxes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wend.errors import InputError, MissingFileError, shown
from wend.files import read_lines
from wend.images.paths import find_files, require_folder
from wend.images.threads import map_in_threads
from wend.numerals import decimal_number
from wend.yaml_files import read_yaml

logger = logging.getLogger(__name__)
LINE = "<class> <cx> <cy> <w> <h>, fractions of the image, or a polygon <class> <x> <y> <x> <y> ..."
TOLERANCE = 1e-3  # of the image, by which rounding may leave it
CLASSES, DATA = "classes.txt", ("data.yaml", "dataset.yaml")


@dataclass(frozen=True, eq=False)
class YoloBoxes:
    """The boxes of a folder.

    Attributes:
        images: L paths below the folder without ``.txt``.
        names: N of them, the image of each box.
        boxes: (N, 4) xyxy in fractions of the image's width and height.
        class_ids: (N,) int64 classes from 0.
        scores: (N,) float64 confidence; NaN where a line has none.
    """

    images: Sequence[str]
    names: Sequence[str]
    boxes: np.ndarray
    class_ids: np.ndarray
    scores: np.ndarray


def _parse_line(line: str, where: str, scored_polygons: bool) -> tuple[float, ...]:
    """Class, x0, y0, x1, y1, confidence (or NaN), whether it was a polygon, and a triangle's last
    number (or NaN).
    """
    try:
        values = [decimal_number(text) for text in line.split()]
    except ValueError:
        values = []
    label, *numbers = values or [-1.0]
    is_polygon = len(numbers) >= 6
    score = numbers.pop() if len(numbers) % 2 else np.nan
    is_known = len(numbers) == 4 or (is_polygon and (scored_polygons or np.isnan(score)))
    if not 0 <= label < 2**31 or label % 1 or not is_known:
        raise InputError(f"{where}: expected {LINE}, got {shown(line)}")
    if score < 0 or score > 1:
        raise InputError(
            f"{where}: expected a confidence from 0 to 1 as the last number, got {shown(line)}; is "
            f"it a track's number, which yolo track writes there?"
        )
    if is_polygon:
        xs, ys = numbers[::2], numbers[1::2]
        box = (min(xs), min(ys), max(xs), max(ys))
        inside = box
    else:
        x, y, width, height = numbers[:4]
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        inside = (x, y, width, height)
    if not all(-TOLERANCE <= value <= 1 + TOLERANCE for value in inside):
        raise InputError(
            f"{where}: expected {LINE}; {shown(line)} leaves 0..1. Are these pixels, or corners?"
        )
    last = numbers[-1] if len(numbers) == 6 else np.nan
    return label, *box, score, is_polygon, last


def _read_file(path: Path, scored_polygons: bool) -> list[tuple[float, ...]]:
    return [
        _parse_line(line, f"{path}, line {number}", scored_polygons)
        for number, line in enumerate(read_lines(path, f"YOLO's lines {LINE}"), 1)
        if line.strip()
    ]


def find_yolo(folder: Path) -> list[str]:
    """The text files of images in and below a folder, as paths below it."""
    return [path for path in find_files(folder, ".txt") if path.rsplit("/", 1)[-1] != CLASSES]


def read_yolo(
    folder: str | Path, files: Sequence[str] | None = None, *, scored_polygons: bool = False
) -> YoloBoxes:
    """Read the text files in and below a folder.

    Args:
        files: those of :func:`find_yolo` that are meant; by default all.
        scored_polygons: whether polygons may have a confidence, which a number too much or too
            little looks like.

    Raises:
        MissingFileError, InputError: no folder, no file, or a line that is malformed or of a class
            that ``classes.txt`` or ``data.yaml`` does not have; file and line are named.
    """
    folder = require_folder(folder, "YOLO's text files (labels/), one for each image")
    files = find_yolo(folder) if files is None else files
    if not files:
        raise MissingFileError(f"{folder}: holds no *.txt; expected YOLO's text files there")
    task = f"{folder.name}: YOLO's files"
    paths = [folder / path for path in files]
    rows_of = list(map_in_threads(lambda path: _read_file(path, scored_polygons), paths, task))
    images = [path[: -len(".txt")] for path in files]
    rows = np.array([row for rows in rows_of for row in rows], dtype=np.float64).reshape(-1, 8)
    names = [image for image, rows in zip(images, rows_of, strict=True) for _ in rows]
    class_ids = rows[:, 0].astype(np.int64)
    _refuse_tracks(folder, names, rows[:, 7])
    source, number = _number_of_classes(folder)
    if source is not None and len(rows) and class_ids.max() >= number:
        first = int(np.argmax(class_ids >= number))
        raise InputError(
            f"{folder / names[first]}.txt: expected a class below {number}, as {source} has "
            f"{number}, got {class_ids[first]}"
        )
    logger.info(
        "%s: %d of YOLO's files, %d of them empty; %d boxes, %d of them of polygons, %d with a "
        "confidence",
        *(folder, len(files), sum(not rows for rows in rows_of), len(rows)),
        *(int(rows[:, 6].sum()), int(np.isfinite(rows[:, 5]).sum())),
    )
    return YoloBoxes(images, names, rows[:, 1:5], class_ids, rows[:, 5])


def _refuse_tracks(folder: Path, names: Sequence[str], last: np.ndarray) -> None:
    """Refuse triangles that all end in 1: boxes of a track, with confidence and the number 1.

    Args:
        names: N images.
        last: (N,) last number of each triangle, NaN of what is none.
    """
    triangles = np.flatnonzero(~np.isnan(last))
    if len(triangles) and (last[triangles] == 1).all():
        raise InputError(
            f"{folder / names[triangles[0]]}.txt: all {len(triangles)} lines of seven numbers end "
            f"in 1: expected {LINE}, got what yolo track writes with save_conf, a confidence and a "
            f"track's number? Leave that number out (of a triangle, write its first point again)"
        )


def _number_of_classes(folder: Path) -> tuple[Path | None, int]:
    """The file that names the classes, and how many; None where there is none.

    A ``data.yaml`` without ``names`` and ``nc`` is another program's.
    """
    if (path := folder / CLASSES).is_file():
        return path, sum(bool(line.strip()) for line in read_lines(path, "a class a line"))
    for parent in (folder, folder.parent, folder.parent.parent):
        for path in (parent / name for name in DATA):
            if path.is_file():
                content = read_yaml(path, "YOLO's data set")
                content = content if isinstance(content, dict) else {}
                if "kpt_shape" in content:
                    raise InputError(
                        f"{path}: names keypoints (kpt_shape), so that a line of {folder} is a box "
                        f"and its keypoints, which would be taken for a polygon; keep the first "
                        f"five numbers of each line, in a folder without this file"
                    )
                names, number = content.get("names"), content.get("nc")
                if isinstance(names, list | dict) and names:
                    return path, len(names)
                if names is None and type(number) is int and number > 0:
                    return path, number
                if names is not None or number is not None:
                    raise InputError(
                        f"{path}: expected names: a list or mapping, or nc: their number, got "
                        f"names {shown(names)} and nc {shown(number)}"
                    )
    return None, 0
