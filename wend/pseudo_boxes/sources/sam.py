"""Masks of Segment Anything's automatic mask generator, and of what is built on it."""

from __future__ import annotations

import csv
import posixpath
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wend.errors import InputError, MissingFileError, shown, some
from wend.files import is_number, read_json, read_lines
from wend.formats.mask_boxes import Box, mask_box, mask_size
from wend.images.opening import open_image
from wend.images.paths import find_files, require_folder
from wend.images.threads import map_in_threads
from wend.numerals import decimal_number
from wend.pseudo_boxes.keys import path_key
from wend.pseudo_boxes.registry import box_source
from wend.pseudo_boxes.source_boxes import PseudoBoxes
from wend.pseudo_boxes.sources.labelled import Size, stated_size

MASKS = (
    'the masks of an image, a list of {"segmentation", "bbox", "predicted_iou", '
    '"stability_score", ...}, SA-1B\'s {"image": {...}, "annotations": [...]} or Grounded SAM 2\'s '
    '{"image_path", "annotations": [...], "box_format"}'
)
SCORES = ("predicted_iou", "stability_score", "score")
BY_DEFAULT = ("predicted_iou", "score")
TABLE = "metadata.csv"
COLUMNS = {name: f"bbox_{name}" for name in ("x0", "y0", "w", "h")}


class Entry(NamedTuple):
    """The masks of an image.

    Attributes:
        key: of the image.
        boxes, scores: in pixels; the scores are empty where the masks have none.
        size: the image's width and height, if it is stated.
        score: what the scores are called, or None.
    """

    key: str
    boxes: list[Box]
    scores: list[float]
    size: Size | None
    score: str | None


@box_source("sam")
def read_sam(
    path: str | Path, score: str | None = None, min_area: float = 0.0, max_area: float = 1.0
) -> PseudoBoxes:
    """Read the masks that Segment Anything's automatic mask generator finds: a file for each image.

    Files: what ``scripts/amg.py`` writes (segment-anything dca509f, :151-232), with
    ``--convert-to-rle`` ``<image's name>.json`` without the image's ending, else a folder of that
    name with ``metadata.csv`` and a PNG for each mask; SA-1B's (README.md:120-144) and UnSAM's
    (de201b8, divide_and_conquer/coco_annotator.py), which name their image; and what Grounded SAM
    2's demos write (2c0178f, grounded_sam2_local_demo.py:152-169). SAM 2's generator makes the same
    lists (2b90b9f, sam2/automatic_mask_generator.py).

    Frame: pixels of the image that the generator saw, which OpenCV turned by its EXIF orientation
    in ``amg.py``; fractions are made by the size that run-length codes, or the PNGs, state. Boxes
    are of the masks: to the end of the last pixel. The files' own ``bbox`` ends at the *index* of
    the last pixel (utils/amg.py:303-346), one pixel less; it is taken, with that pixel, where a
    mask has no ``segmentation``, and of the PNGs, which are not opened but for the size of one.

    Args:
        path: the folder, or one file.
        score: "predicted_iou", "stability_score" (either may exceed 1 a little) or "score"; by
            default the first or the last of them, if the files have it.
        min_area: smallest share of the image that a box may have, from 0; smaller ones are left
            out.
        max_area: largest share, to 1; larger ones, such as the background's, are left out.

    Raises:
        MissingFileError, InputError: no files, or an entry is malformed; the message names both.
    """
    path = Path(path)
    if score not in (None, *SCORES):
        raise InputError(f"{path}: score: expected {' or '.join(SCORES)}, got {shown(score)}")
    shares = (min_area, max_area)  # of boxes, not of masks
    if not all(map(is_number, shares)) or not 0 <= min_area < max_area <= 1:
        raise InputError(
            f"{path}: expected 0 <= min_area < max_area <= 1, shares of the image, got {shares}"
        )
    if path.is_file():
        folder, names = path.parent, [path.name]
    else:
        folder = require_folder(path, "Segment Anything's files, one for each image")
        names = find_files(folder, ".json")
        names += [name for name in find_files(folder, ".csv") if Path(name).name == TABLE]
    if not names:
        raise MissingFileError(
            f"{folder}: holds no *.json and no folders with {TABLE}; expected Segment Anything's "
            f"masks, as amg.py writes them"
        )
    task = f"{folder.name}: Segment Anything's files"
    entries = list(map_in_threads(lambda name: _read_file(folder, name, score), names, task))
    held = [entry for entry in entries if entry.boxes]
    keys = [entry.key for entry in held]
    other = next((entry for entry in held if entry.score != held[0].score), None)
    if other is not None:
        raise InputError(
            f"{folder}: {other.key}: expected masks with {held[0].score or 'no score'}, as "
            f"{held[0].key} has them, got {other.score or 'no score'}"
        )
    boxes = np.array([box for entry in held for box in entry.boxes], np.float64).reshape(-1, 4)
    scores = None
    if held and held[0].score is not None:
        scores = np.array([mark for entry in held for mark in entry.scores], np.float64)
    num = np.array([len(entry.boxes) for entry in held], dtype=np.int64)
    stated = [entry.size for entry in held if entry.size is not None]
    if stated and len(stated) < len(held):
        first = next(entry.key for entry in held if entry.size is None)
        raise InputError(
            f"{folder}: {first}: expected masks with the size of the image, as other files have"
        )
    if not stated:
        if shares != (0, 1):
            raise InputError(f"{folder}: min_area and max_area need files that state sizes")
        return PseudoBoxes.from_entries(str(path), "pixel", keys, num, boxes, scores)
    sizes = np.array(stated, dtype=np.float64)
    owners = np.repeat(np.arange(len(held)), num)
    boxes /= np.tile(sizes, 2)[owners]
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    kept = (min_area <= area) & (area <= max_area)
    num = np.bincount(owners[kept], minlength=len(held))
    scores = None if scores is None else scores[kept]
    return PseudoBoxes.from_entries(str(path), "fraction", keys, num, boxes[kept], scores, sizes)


def _read_file(folder: Path, name: str, score: str | None) -> Entry:
    file = folder / name
    if Path(name).name == TABLE:
        key, size, masks = _table(folder, name)
        corners = False
    else:
        content = read_json(file, MASKS)
        key, size, masks, corners = name[: -len(".json")], None, content, False
        if isinstance(content, Mapping) and "image_path" in content:
            key, size, masks, corners = _grounded_sam(file, content)
        elif isinstance(content, Mapping):
            key, size, masks = _sa1b(file, content)
    if not isinstance(masks, list):
        raise InputError(f"{file}: expected {MASKS}, got {shown(content)}")
    boxes: list[Box] = []
    scores: list[float] = []
    for where, mask in _objects(file, masks):
        if score is None and not boxes:
            score = next((each for each in BY_DEFAULT if mask.get(each) is not None), None)
        box = _box(where, mask, corners)
        mark = None if score is None else _score(where, mask, score)
        stated = mask_size(mask.get("segmentation"))
        if stated is not None and size not in (None, stated):
            raise InputError(
                f"{where}: expected a mask of the image's size {size} (width, height), got {stated}"
            )
        size = stated or size
        if box is not None:
            boxes.append(box)
            scores += [] if mark is None else [mark]
    return Entry(path_key(key, str(file)), boxes, scores, size, score)


def _score(where: str, mask: Mapping[str, Any], score: str) -> float:
    mark = mask.get(score)
    if isinstance(mark, list) and len(mark) == 1:  # Grounded SAM 2's, of one mask for each box
        (mark,) = mark
    if not is_number(mark):
        raise InputError(f'{where}: expected "{score}": a finite number, got {shown(mark)}')
    return float(mark)  # type: ignore[arg-type]


def _table(folder: Path, name: str) -> tuple[str, Size | None, list[dict[str, Any]]]:
    """The image's path, its size if a PNG is there, and the masks, of a folder of amg.py's."""
    file = folder / name
    lines = list(csv.reader(read_lines(file, "amg.py's table of masks")))
    rows = [row for row in lines[1:] if row]
    header = lines[0]
    absent = [column for column in COLUMNS.values() if column not in header]
    if absent:
        raise InputError(
            f"{file}: expected the columns {', '.join(absent)}, got {some(header, 20)}"
        )
    masks: list[dict[str, Any]] = []
    for number, row in enumerate(rows):
        where = f"{file}, mask {number}"
        if len(row) != len(header):
            raise InputError(f"{where}: expected {len(header)} values, got {len(row)}")
        try:
            values = {n: decimal_number(v) for n, v in zip(header, row, strict=True) if n != "id"}
        except ValueError as error:
            raise InputError(f"{where}: {error}") from error
        masks.append({**values, "bbox": [values[column] for column in COLUMNS.values()]})
    first = file.parent / f"{rows[0][0]}.png" if rows else None
    size = None
    if first is not None and first.is_file():
        with open_image(first) as image:
            size = (float(image.width), float(image.height))
    return posixpath.dirname(name) or folder.name, size, masks


def _sa1b(file: Path, content: Mapping[str, Any]) -> tuple[str, Size | None, Any]:
    """The image's path and size, and the masks, of one of SA-1B's files."""
    image = content.get("image")
    if not isinstance(image, Mapping) or not isinstance(image.get("file_name"), str):
        raise InputError(
            f'{file}: expected "image": {{"file_name", "width", "height"}} and "annotations", got '
            f"{shown(content, 100)}"
        )
    size = stated_size(str(file), image.get("width"), image.get("height"))
    return image["file_name"], size, content.get("annotations")


def _grounded_sam(file: Path, content: Mapping[str, Any]) -> tuple[str, Size | None, Any, bool]:
    """The image's path and size, the masks, and whether ``bbox`` has corners, of such a file."""
    if content.get("box_format") != "xyxy":
        raise InputError(
            f'{file}: expected "box_format": "xyxy", got {shown(content.get("box_format"))}'
        )
    size = stated_size(str(file), content.get("img_width"), content.get("img_height"))
    return content["image_path"], size, content.get("annotations"), True


def _objects(file: Path, masks: list) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, mask in enumerate(masks):
        where = f"{file}, mask {number}"
        if not isinstance(mask, Mapping):
            raise InputError(f"{where}: expected an object, got {shown(mask)}")
        yield where, mask


def _box(where: str, mask: Mapping[str, Any], corners: bool) -> Box | None:
    """The box of a mask in pixels; None of an empty one.

    Args:
        corners: whether ``bbox`` is a detector's ``x0, y0, x1, y1``, not the pixels of a mask.
    """
    if mask.get("segmentation") is not None:
        return mask_box(mask["segmentation"], f"{where}: segmentation")
    bbox = mask.get("bbox")
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(is_number, bbox)):
        raise InputError(
            f'{where}: expected "segmentation" or "bbox": [x, y, w, h], got '
            f"{shown(dict(mask), 100)}"
        )
    x, y, width, height = map(float, bbox)
    return (x, y, width, height) if corners else (x, y, x + width + 1, y + height + 1)
