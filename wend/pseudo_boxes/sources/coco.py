"""Boxes in COCO's JSON: CutLER's and MaskCut's data sets, detectors' results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from wend.errors import InputError, shown, some
from wend.files import is_number, read_json
from wend.pseudo_boxes.columns import PseudoBoxes, path_key
from wend.pseudo_boxes.merge import Count
from wend.pseudo_boxes.registry import box_source

FIELDS = (
    *("images", "annotations", "id", "file_name", "width", "height"),
    *("image_id", "category_id", "bbox", "score", "iscrowd"),
)
DATA_SET = '{"images": [{"id", "file_name", "width", "height"}], "annotations": [...]}'
RESULTS = 'a list of {"image_id", "bbox": [x, y, w, h], "score"}'


def _entry(path: Path, place: str, expected: str, row: object) -> InputError:
    return InputError(f"{path}, entry {place}: expected {expected}, got {shown(row, 200)}")


def _load(path: Path, what: str) -> object:
    """The file's JSON value; orjson reads it, the standard reader names what is wrong."""
    import orjson

    try:
        data = path.read_bytes()
        value = orjson.loads(data)
    except (OSError, ValueError):
        return read_json(path, what)
    return value if _keys_are_unique(data, value) else read_json(path, what)


def _keys_are_unique(data: bytes, value: object) -> bool:
    """Whether no row has a field twice: orjson would keep the last of them without a word.

    False also where a field's name stands elsewhere in the file.
    """
    held = list(value.values()) if isinstance(value, dict) else [value]
    rows = [value, *held, *chain.from_iterable(one for one in held if isinstance(one, list))]
    rows = [row for row in rows if isinstance(row, dict)]
    return all(
        data.count(f'"{field}"'.encode()) == sum(1 for row in rows if field in row)
        for field in FIELDS
    )


def _read_images(path: Path, rows: object) -> tuple[dict, list[str], np.ndarray]:
    """Image id -> place, keys and stated sizes (E, 2); sizes are NaN where none is stated."""
    if not isinstance(rows, list):
        raise _entry(path, "images", "a list", rows)
    places, keys, sizes = {}, [], np.full((len(rows), 2), np.nan)
    for number, row in enumerate(rows):
        place = f"images[{number}]"
        if not isinstance(row, dict) or type(row.get("id")) not in (int, str):
            raise _entry(path, place, "an object with an id", row)
        if row["id"] in places:
            raise _entry(path, place, "an id that no other image has", row)
        size = (row.get("width"), row.get("height"))
        if size != (None, None):
            if not (is_number(size[0]) and is_number(size[1]) and min(size) > 0):
                raise _entry(path, place, "width and height > 0", row)
            sizes[number] = size
        places[row["id"]] = number
        keys.append(path_key(row.get("file_name"), f"{path}, entry {place}: file_name"))
    stated = np.isfinite(sizes[:, 0])
    if stated.any() and not stated.all():
        first = int(np.argmin(stated))
        raise _entry(
            path, f"images[{first}]", "width and height, as other images have", rows[first]
        )
    return places, keys, sizes


def _read_rows(
    path: Path, rows: Sequence[object], name: str, category_id: object, places: dict | None
) -> tuple[list, np.ndarray, np.ndarray | None]:
    """Image of each box (B,), boxes xywh (B, 4), scores (B,) or None."""
    owners, boxes, scores, categories = [], [], [], {}
    for number, row in enumerate(rows):
        place = f"{name}[{number}]"
        box = row.get("bbox") if isinstance(row, dict) else None
        if not (isinstance(box, list) and len(box) == 4 and all(map(is_number, box))):
            raise _entry(path, place, "an object with bbox: four finite numbers", row)
        if min(box[2:]) < 0:
            raise _entry(path, place, "bbox [x, y, w, h] with w, h >= 0", row)
        image_id = row.get("image_id")
        if type(image_id) not in (int, str) or (places is not None and image_id not in places):
            raise _entry(path, place, "image_id of one of the images", row)
        category = row.get("category_id")
        if category_id not in (None, "all", category):
            continue
        categories.setdefault(shown(category), number)
        owners.append(image_id if places is None else places[image_id])
        boxes.append(box)
        scores.append(row.get("score"))
    if category_id is None and len(categories) > 1:
        raise InputError(
            f"{path}: holds boxes of {len(categories)} categories ({some(categories)}), expected "
            f"one; choose one with category_id, or category_id: all"
        )
    array = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    if all(score is None for score in scores):
        return owners, array, None
    for number, score in enumerate(scores):
        if not is_number(score):
            raise InputError(
                f"{path}: box {number} in order has the score {shown(score)}, others one"
            )
    return owners, array, np.array(scores, dtype=np.float64)


@box_source("coco")
def read_coco(
    path: str | Path, images: str | Path | None = None, category_id: int | str | None = None
) -> PseudoBoxes:
    """Read boxes in COCO's JSON: a data set (CutLER's, MaskCut's), or a detector's results.

    Frame: pixels of the size that the JSON states for the image, which may differ from the file's
    (MaskCut's boxes may be of a resized copy), so they become fractions by that size. Images
    without stated sizes: pixels of the original image. Several boxes an image; ``score`` is kept,
    best first. Images come by ``file_name``; ``segmentation`` is not read.

    Args:
        path: a data set ``{"images", "annotations"}``, or a list of results.
        images: of results whose ``image_id`` are numbers: the COCO JSON that has their images.
            Text ids are taken as paths.
        category_id: the category to take, or "all"; by default there may be only one.

    Raises:
        MissingFileError, InputError: not there, or an entry is malformed; the message names it.
    """
    path = Path(path)
    value = _load(path, f"{DATA_SET} or {RESULTS}")
    if isinstance(value, list):
        rows, name = value, "results"
        if images is not None:
            held = _load(Path(images), DATA_SET)
            places, keys, sizes = _read_images(
                Path(images), held.get("images") if isinstance(held, Mapping) else held
            )
        elif all(isinstance(row, dict) and type(row.get("image_id")) is str for row in rows):
            places = keys = sizes = None
        else:
            raise InputError(
                f"{path}: its image_id are numbers; name the COCO JSON that has the images: "
                f"images: <file>"
            )
    elif isinstance(value, Mapping) and isinstance(value.get("annotations"), list):
        rows, name = value["annotations"], "annotations"
        places, keys, sizes = _read_images(path, value.get("images"))
    else:
        raise InputError(f"{path}: expected {DATA_SET} or {RESULTS}, got another JSON value")
    crowd = [row for row in rows if isinstance(row, dict) and row.get("iscrowd") in (1, True)]
    if crowd:
        rows = [row for row in rows if not (isinstance(row, dict) and row.get("iscrowd"))]
    owners, boxes, scores = _read_rows(path, rows, name, category_id, places)
    if keys is None:
        names = list(dict.fromkeys(owners))
        keys = [path_key(name, f"{path}: image_id") for name in names]
        places = {name: i for i, name in enumerate(names)}
        owners, sizes = [places[name] for name in owners], np.full((len(keys), 2), np.nan)
    counts = {"crowd": Count(len(crowd))} if crowd else {}
    return _assemble(
        str(path), keys, sizes, np.array(owners, dtype=np.int64), boxes, scores, counts
    )


def _assemble(
    source: str,
    keys: list[str],
    sizes: np.ndarray,
    owner: np.ndarray,
    boxes: np.ndarray,
    scores: np.ndarray | None,
    counts: dict[str, Count],
) -> PseudoBoxes:
    """Boxes xywh of any order to entries, in fractions where sizes are stated."""
    order = np.argsort(owner, kind="stable")
    owner, boxes = owner[order], boxes[order]
    boxes[:, 2:] += boxes[:, :2]
    stated = bool(len(sizes)) and bool(np.isfinite(sizes).all())
    if stated:
        with np.errstate(over="ignore"):  # from_entries refuses what is infinite
            boxes /= np.tile(sizes, 2)[owner]
    return PseudoBoxes.from_entries(
        source,
        "fraction" if stated else "pixel",
        keys,
        np.bincount(owner, minlength=len(keys)),
        boxes,
        None if scores is None else scores[order],
        sizes if stated else None,
        counts,
    )
