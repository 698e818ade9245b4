"""Masks of Segment Anything's automatic mask generator, and SA-1B's files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wend.errors import InputError, MissingFileError, shown
from wend.files import is_number, read_json
from wend.formats.mask_boxes import Box, mask_box, mask_size
from wend.images.paths import find_files, require_folder
from wend.images.threads import map_in_threads
from wend.pseudo_boxes.keys import path_key
from wend.pseudo_boxes.registry import box_source
from wend.pseudo_boxes.source_boxes import PseudoBoxes

MASKS = (
    'the masks of an image, a list of {"segmentation", "bbox", "predicted_iou", '
    '"stability_score", ...}, or SA-1B\'s {"image": {...}, "annotations": [...]}'
)
SCORES = ("predicted_iou", "stability_score")
Entry = tuple[str, list[Box], list[float], tuple[float, float] | None]


@box_source("sam")
def read_sam(
    path: str | Path, score: str = "predicted_iou", min_area: float = 0.0, max_area: float = 1.0
) -> PseudoBoxes:
    """Read the masks that Segment Anything's automatic mask generator finds: a JSON for each image.

    Files: what ``scripts/amg.py --convert-to-rle`` writes, ``<image's name>.json`` without the
    image's ending (segment-anything dca509f, scripts/amg.py:222-232), or SA-1B's, which name their
    image (README.md:120-144). SAM 2's generator makes the same lists.

    Frame: pixels of the image that the generator saw, whose size its run-length codes state;
    fractions are made by it. Boxes are of the masks: to the end of the last pixel. The files' own
    ``bbox`` ends at the *index* of the last pixel (utils/amg.py:303-346), one pixel less; it is
    taken, with that pixel, where a mask has no ``segmentation``.

    Args:
        path: the folder, or one file.
        score: "predicted_iou" or "stability_score"; either may exceed 1 a little.
        min_area: smallest share of the image that a box may have, from 0; smaller ones are left
            out.
        max_area: largest share, to 1; larger ones, such as the background's, are left out.

    Raises:
        MissingFileError, InputError: no files, or an entry is malformed; the message names both.
    """
    path = Path(path)
    if score not in SCORES:
        raise InputError(f"{path}: score: expected {' or '.join(SCORES)}, got {shown(score)}")
    shares = (min_area, max_area)  # of boxes, not of masks
    if not all(map(is_number, shares)) or not 0 <= min_area < max_area <= 1:
        raise InputError(
            f"{path}: expected 0 <= min_area < max_area <= 1, shares of the image, got {shares}"
        )
    if path.is_file():
        folder, names = path.parent, [path.name]
    else:
        folder = require_folder(path, "Segment Anything's JSON files, one for each image")
        names = find_files(folder, ".json")
    if not names:
        raise MissingFileError(
            f"{folder}: holds no *.json; expected Segment Anything's masks (amg.py writes them "
            f"with --convert-to-rle)"
        )
    task = f"{folder.name}: Segment Anything's files"
    entries = list(map_in_threads(lambda name: _read_file(folder, name, score), names, task))
    held = [entry for entry in entries if entry[1]]
    keys = [key for key, *_ in held]
    boxes = np.array([box for entry in held for box in entry[1]], np.float64).reshape(-1, 4)
    scores = np.array([mark for entry in held for mark in entry[2]], np.float64)
    num = np.array([len(entry[1]) for entry in held], dtype=np.int64)
    stated = [entry[3] for entry in held if entry[3] is not None]
    if stated and len(stated) < len(held):
        first = next(key for key, _, _, size in held if size is None)
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
    return PseudoBoxes.from_entries(
        str(path), "fraction", keys, num, boxes[kept], scores[kept], sizes
    )


def _read_file(folder: Path, name: str, score: str) -> Entry:
    """The image's key, its boxes in pixels, their scores, and its width and height if stated."""
    file = folder / name
    content = read_json(file, MASKS)
    key, size, masks = name[: -len(".json")], None, content
    if isinstance(content, Mapping):
        key, size, masks = _sa1b(file, content)
    if not isinstance(masks, list):
        raise InputError(f"{file}: expected {MASKS}, got {shown(content)}")
    boxes, scores = [], []
    for where, mask in _objects(file, masks):
        box = _box(where, mask)
        if not is_number(mask.get(score)):
            raise InputError(
                f'{where}: expected "{score}": a finite number, got {shown(mask.get(score))}'
            )
        stated = mask_size(mask.get("segmentation"))
        if stated is not None and size not in (None, stated):
            raise InputError(
                f"{where}: expected a mask of the image's size {size} (width, height), got {stated}"
            )
        size = stated or size
        if box is not None:
            boxes.append(box)
            scores.append(float(mask[score]))
    return path_key(key, str(file)), boxes, scores, size


def _sa1b(file: Path, content: Mapping[str, Any]) -> tuple[str, tuple[float, float] | None, Any]:
    """The image's path and size, and the masks, of one of SA-1B's files."""
    image = content.get("image")
    if not isinstance(image, Mapping) or not isinstance(image.get("file_name"), str):
        raise InputError(
            f'{file}: expected "image": {{"file_name", "width", "height"}} and "annotations", got '
            f"{shown(content, 100)}"
        )
    size = mask_size({"size": [image.get("height"), image.get("width")]})
    return image["file_name"], size, content.get("annotations")


def _objects(file: Path, masks: list) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, mask in enumerate(masks):
        where = f"{file}, mask {number}"
        if not isinstance(mask, Mapping):
            raise InputError(f"{where}: expected an object, got {shown(mask)}")
        yield where, mask


def _box(where: str, mask: Mapping[str, Any]) -> Box | None:
    if mask.get("segmentation") is not None:
        return mask_box(mask["segmentation"], f"{where}: segmentation")
    bbox = mask.get("bbox")
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(is_number, bbox)):
        raise InputError(f'{where}: expected "segmentation" or "bbox": [x, y, w, h], got {mask}')
    x, y, width, height = map(float, bbox)
    return x, y, x + width + 1, y + height + 1
