"""Ground truth from a metadata folder of the wsolevaluation repository (Choe et al.).

``image_ids.txt`` (``<id>``), ``class_labels.txt`` (``<id>,<class from 0>``), ``image_sizes.txt``
(``<id>,<width>,<height>``) and ``localization.txt`` (``<id>,<x0>,<y0>,<x1>,<y1>``, one line a box).
The id is the image's listed file name; boxes are original pixels, taken as they stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wend.errors import InputError, MissingFileError, some
from wend.files import MAX_NUMBER, read_lines
from wend.structures.records import ImageRecord

IDS, LABELS, SIZES, BOXES = (
    "image_ids.txt",
    "class_labels.txt",
    "image_sizes.txt",
    "localization.txt",
)


def is_wsoleval(folder: str | Path) -> bool:
    """Whether a folder holds such lists."""
    return (Path(folder) / IDS).is_file()


def read_list(path: Path, columns: Sequence[str], kind: type) -> tuple[list[str], np.ndarray]:
    """The ids and the numbers (lines, columns) of a list; a bad line is named."""
    names, values = [], []
    most = 2**31 if kind is int else MAX_NUMBER
    what = ",".join(["<image id>", *(f"<{column}>" for column in columns)])
    for number, line in enumerate(read_lines(path, f"lines '{what}'"), 1):
        if not line.strip():
            continue
        parts = line.strip().rsplit(",", len(columns)) if columns else [line.strip()]
        try:
            row = [kind(part) for part in parts[1:]]
        except ValueError:
            row = []
        if len(row) != len(columns) or not all(-most < value < most for value in row):
            raise InputError(f"{path}, line {number}: expected '{what}', got {line!r}")
        names.append(parts[0])
        values.append(row)
    if not names:
        raise InputError(f"{path}: is empty; expected lines '{what}'")
    return names, np.array(values, dtype=kind if kind is not str else float)


def place_lines(path: Path, names: Sequence[str], place: dict[str, int], once: bool) -> np.ndarray:
    """Index of each line's image; once: each image has exactly one line."""
    unknown = [name for name in names if name not in place]
    if unknown:
        raise InputError(
            f"{path}: {len(unknown)} lines are of images that {IDS} does not list ({some(unknown)})"
        )
    places = np.array([place[name] for name in names])
    if once:
        count = np.bincount(places, minlength=len(place))
        for problem, wrong in (("no line", count == 0), ("several lines", count > 1)):
            if wrong.any():
                images = [name for name, bad in zip(place, wrong, strict=True) if bad]
                raise InputError(f"{path}: {problem} for {len(images)} images ({some(images)})")
    return places


def _boxes_by_image(path: Path, place: dict[str, int]) -> list[np.ndarray]:
    names, boxes = read_list(path, ("x0", "y0", "x1", "y1"), float)
    places = place_lines(path, names, place, once=False)
    turned = (boxes[:, 2:] < boxes[:, :2]).any(1)
    if turned.any():
        first = int(np.argmax(turned))
        raise InputError(
            f"{path}: image {names[first]}: box {boxes[first].tolist()} ends before it starts"
        )
    order = np.argsort(places, kind="stable")
    ends = np.cumsum(np.bincount(places, minlength=len(place)))
    return np.split(boxes[order], ends[:-1])


def load_wsoleval(folder: str | Path) -> list[ImageRecord]:
    """Read a metadata folder.

    Args:
        folder: such as ``metadata/ILSVRC/test``; without ``class_labels.txt`` the images have no
            class.

    Returns:
        Records in the order of ``image_ids.txt``; ``image_id`` and ``file_name`` are the listed
        name.

    Raises:
        MissingFileError, InputError: a list is missing, malformed, or of other images.
    """
    folder = Path(folder)
    if not is_wsoleval(folder):
        raise MissingFileError(
            f"{folder}: there is no {IDS}; expected a metadata folder of wsolevaluation ({IDS}, "
            f"{LABELS}, {SIZES}, {BOXES})"
        )
    names, _ = read_list(folder / IDS, (), str)
    place = {name: i for i, name in enumerate(dict.fromkeys(names))}
    place_lines(folder / IDS, names, place, once=True)
    size_names, size_rows = read_list(folder / SIZES, ("width", "height"), int)
    if size_rows.min() < 1:
        first = size_names[int(size_rows.min(1).argmin())]
        raise InputError(f"{folder / SIZES}: image {first}: expected width and height from 1")
    sizes = np.empty((len(names), 2), dtype=int)
    sizes[place_lines(folder / SIZES, size_names, place, once=True)] = size_rows
    classes: list[int | None] = [None] * len(names)
    if (folder / LABELS).is_file():
        label_names, labels = read_list(folder / LABELS, ("class",), int)
        if labels.min() < 0:
            first = label_names[int(labels[:, 0].argmin())]
            raise InputError(f"{folder / LABELS}: image {first}: classes are numbered from 0")
        order = np.argsort(place_lines(folder / LABELS, label_names, place, once=True))
        classes = labels[order, 0].tolist()
    boxes = _boxes_by_image(folder / BOXES, place)
    return [
        ImageRecord(name, name, int(w), int(h), class_id=class_id, gt_boxes=gt)
        for name, (w, h), class_id, gt in zip(names, sizes, classes, boxes, strict=True)
    ]
