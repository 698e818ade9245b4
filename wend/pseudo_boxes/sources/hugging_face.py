"""Objects of Hugging Face's ``imagefolder`` data sets: a ``metadata.jsonl`` beside the images."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wend.errors import InputError, MissingFileError, shown, some
from wend.files import is_number, parse_json, read_lines
from wend.formats.mask_boxes import Box
from wend.images.paths import find_files, require_folder
from wend.pseudo_boxes.registry import box_source
from wend.pseudo_boxes.source_boxes import PseudoBoxes
from wend.pseudo_boxes.sources.labelled import LabelledBoxes, check_option, stated_size

FILE = "metadata.jsonl"
LINES = (
    'a line for each image, {"file_name": path, "objects": {"bbox": [[x, y, w, h], ...], '
    '"categories": [...]}}'
)
FORMATS = ("xywh", "xyxy")
LABELS = ("categories", "category", "labels", "label", "category_id")  # what writers call them
SCORES = ("scores", "score")


@box_source("hugging_face")
def read_hugging_face(
    path: str | Path,
    objects: str = "objects",
    bbox: str = "xywh",
    label: str | int | None = None,
) -> PseudoBoxes:
    """Read ``metadata.jsonl`` of Hugging Face's ``imagefolder``, in and below a folder.

    Files: a JSON object on each line with ``file_name``, from the file's own folder, and
    ``objects``: lists of equal length by name, or a list of objects
    (huggingface.co/docs/datasets/image_dataset, "Object detection").

    Frame: pixels of the image; ``bbox`` is ``x, y, w, h``, as COCO's, unless ``bbox: xyxy`` says
    corners. Where the lines state ``width`` and ``height``, they become fractions by them.
    ``score`` or ``scores`` of the objects, if they have some, are the scores.

    Args:
        path: the folder, or one file.
        objects: the key of a line that holds the objects.
        bbox: "xywh" or "xyxy".
        label: the label to take, as the file has it, or "all"; by default there may be only one.

    Raises:
        MissingFileError, InputError: no file, or a line is malformed; the message names it.
    """
    path = Path(path)
    check_option(path, "objects", objects, str)
    if bbox not in FORMATS:
        raise InputError(f"{path}: bbox: expected {' or '.join(FORMATS)}, got {shown(bbox)}")
    if path.is_file():
        folder, names = path.parent, [path.name]
    else:
        folder = require_folder(path, f"the folder of Hugging Face's {FILE}")
        names = [name for name in find_files(folder, ".jsonl") if Path(name).name == FILE]
    if not names:
        raise MissingFileError(
            f"{folder}: holds no {FILE}; expected {LINES}. Of a data set in Parquet, write one by "
            f"its own library"
        )
    collected = LabelledBoxes(path, label, "score")
    for name in names:
        for number, line in enumerate(read_lines(folder / name, LINES), 1):
            if not line.strip():
                continue
            where = f"{folder / name}, line {number}"
            row = parse_json(line.encode(), where, LINES)
            if not isinstance(row, Mapping) or not isinstance(row.get("file_name"), str):
                raise InputError(f"{where}: expected {LINES}, got {shown(row, 100)}")
            image = posixpath.join(posixpath.dirname(name), row["file_name"].replace("\\", "/"))
            size = stated_size(where, row.get("width"), row.get("height"))
            collected.begin(where, posixpath.normpath(image), size)
            if objects not in row:
                raise InputError(
                    f"{where}: expected the objects under {objects!r}, which has {some(row, 12)}; "
                    f"name the key with objects"
                )
            for here, box, value, mark in _objects(where, row[objects]):
                collected.add(here, value, _box(here, box, bbox), mark)
    return collected.finish("pixel")


def _objects(where: str, objects: object) -> Iterator[tuple[str, object, object, object]]:
    """Where each object of an image stands, its box, its label and its score, None if absent."""
    if isinstance(objects, list) and all(isinstance(row, Mapping) for row in objects):
        rows = objects
    elif isinstance(objects, Mapping):
        rows = _rows(where, objects)
    elif objects is None:
        rows = []
    else:
        raise InputError(f"{where}: expected {LINES}, got {shown(objects, 100)}")
    for number, row in enumerate(rows):
        yield f"{where}, object {number}", row.get("bbox"), _first(LABELS, row), _first(SCORES, row)


def _rows(where: str, columns: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The objects that lists by name hold, one mapping each."""
    read = {name: columns[name] for name in ("bbox", *LABELS, *SCORES) if columns.get(name)}
    if not columns or (not read and "bbox" in columns):
        return []
    lengths = {len(values) if isinstance(values, list) else -1 for values in read.values()}
    if "bbox" not in read or len(lengths) > 1 or min(lengths) < 0:
        raise InputError(
            f'{where}: expected "bbox" and lists that are as long, got {shown(dict(columns), 100)}'
        )
    return [dict(zip(read, values, strict=True)) for values in zip(*read.values(), strict=True)]


def _first(names: tuple[str, ...], row: Mapping[str, Any]) -> object:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _box(where: str, box: object, form: str) -> Box:
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        raise InputError(f'{where}: expected "bbox": four finite numbers, got {shown(box)}')
    x, y, third, fourth = map(float, box)
    if form == "xyxy":
        return x, y, third, fourth
    if min(third, fourth) < 0:
        raise InputError(f"{where}: expected w, h >= 0, got {shown(box)}")
    return x, y, x + third, y + fourth
