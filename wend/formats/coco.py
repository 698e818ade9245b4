"""Records and detections as COCO's JSON, which pycocotools, FiftyOne and Detectron2 read.

One category, ``{"id": 1, "name": "foreground"}``; boxes ``[x, y, w, h]`` in original pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType

import numpy as np

from wend.errors import InputError, shown, some
from wend.files import is_number, read_json
from wend.structures.box_table import BoxTable
from wend.structures.boxes import xywh_to_xyxy, xyxy_to_xywh
from wend.structures.checks import as_boxes
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord, image_key

logger = logging.getLogger(__name__)
CATEGORY_ID = 1
CATEGORY_NAME = "foreground"
TRUTH = {"description": "ground truth, written by WEND"}  # some pycocotools want an "info"


def to_coco(data_set: DataSet, boxes: BoxTable, info: Mapping[str, object]) -> dict:
    """Images and their boxes as a COCO data set.

    Args:
        boxes: of the data set's images, in original pixels; with scores, if they have some.
        info: says what the boxes are.
    """
    images = [
        {"id": image_id, "file_name": key, "width": width, "height": height}
        # ours: an image's class, since all annotations are of the one category
        | ({} if class_id < 0 else {"class_id": class_id})
        for image_id, key, (width, height), class_id in zip(
            data_set.image_ids,
            data_set.keys,
            data_set.sizes.tolist(),
            data_set.class_ids.tolist(),
            strict=True,
        )
    ]
    columns = (boxes.owner, xyxy_to_xywh(boxes.boxes), boxes.areas(), boxes.scored().scores)
    annotations = [
        {
            "id": number,
            "image_id": data_set.image_ids[image],
            "category_id": CATEGORY_ID,
            "bbox": xywh,
            "area": area,
            "iscrowd": 0,
        }
        | ({} if boxes.scores is None else {"score": score})
        for number, (image, xywh, area, score) in enumerate(
            zip(*(column.tolist() for column in columns), strict=True), 1
        )
    ]
    categories = [{"id": CATEGORY_ID, "name": CATEGORY_NAME}]
    return {
        "info": dict(info),
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }


def records_to_coco(records: Iterable[ImageRecord]) -> dict:
    """Ground truth as a COCO data set (the records' true boxes)."""
    data_set = DataSet.from_records(records)
    return to_coco(data_set, data_set.truth, TRUTH)


def _entry(path: str | Path, name: str, number: int, problem: str, row: object) -> InputError:
    return InputError(f"{path}, entry {name}[{number}]: {problem}, got {shown(row)}")


def _read_images(path: str | Path, rows: list) -> dict:
    """Image id -> its entry."""
    images: dict = {}
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or type(row.get("id")) not in (int, str):
            raise _entry(path, "images", number, "expected an object with an id", row)
        sizes = [row.get("width"), row.get("height")]
        name = row.get("file_name")
        if not (isinstance(name, str) and name) or not all(
            type(size) is int and 0 < size < 2**31 for size in sizes
        ):
            raise _entry(path, "images", number, "expected file_name, width and height", row)
        if row["id"] in images:
            raise _entry(path, "images", number, "the id stands there twice", row)
        class_id = row.get("class_id")
        if class_id is not None and (type(class_id) is not int or not 0 <= class_id < 2**31):
            raise _entry(path, "images", number, "expected class_id as a number from 0", row)
        images[row["id"]] = row
    return images


def _read_annotations(path: str | Path, rows: list, images: dict) -> tuple[dict, dict]:
    """Image id -> boxes ``x, y, w, h``, and image id -> the categories of its boxes."""
    boxes: dict = {image_id: [] for image_id in images}
    categories: dict = {image_id: set() for image_id in images}
    crowds = 0
    for number, row in enumerate(rows):
        box = row.get("bbox") if isinstance(row, dict) else None
        numbers = isinstance(box, list) and len(box) == 4 and all(map(is_number, box))
        if not numbers or min(box[2:]) < 0:
            raise _entry(path, "annotations", number, 'expected "bbox": [x, y, w, h]', row)
        if type(row.get("image_id")) not in (int, str) or row["image_id"] not in images:
            raise _entry(path, "annotations", number, "its image_id is not among the images", row)
        if type(row.get("category_id")) not in (int, NoneType):
            raise _entry(path, "annotations", number, "expected category_id as a number", row)
        if row.get("iscrowd"):
            crowds += 1
            continue
        boxes[row["image_id"]].append(box)
        categories[row["image_id"]].add(row.get("category_id"))
    if crowds:
        logger.warning("%s: %d annotations are crowds and no true boxes", path, crowds)
    return boxes, categories


def load_coco(path: str | Path) -> DataSet:
    """Ground truth from a COCO JSON: every box is a true one, whatever its category.

    An image's class is its entry's ``class_id`` (which :func:`records_to_coco` writes); else, in
    a file of several categories, the place of the only category of its boxes among the sorted
    category ids; else it has none.

    Raises:
        InputError: not a COCO data set; the message names the entry.
    """
    what = 'a COCO data set {"images", "annotations", "categories"}'
    content = read_json(path, what)
    if not isinstance(content, dict) or not all(
        isinstance(content.get(name), list) for name in ("images", "annotations", "categories")
    ):
        kind = "a list (detections?)" if isinstance(content, list) else "something else"
        raise InputError(f"{path}: expected {what}, got {kind}")
    images = _read_images(path, content["images"])
    boxes, categories = _read_annotations(path, content["annotations"], images)
    ids = [row.get("id") if isinstance(row, dict) else None for row in content["categories"]]
    if not all(type(i) is int for i in ids) or len(set(ids)) < len(ids):
        raise InputError(
            f"{path}, entry categories: expected objects with different numbers as id, got "
            f"{shown(ids)}"
        )
    numbers = {category: place for place, category in enumerate(sorted(ids))}

    def class_of(image_id: object) -> int | None:
        if images[image_id].get("class_id") is not None or len(numbers) < 2:
            return images[image_id].get("class_id")
        (*found,) = categories[image_id]
        if not numbers.keys() >= categories[image_id]:
            raise InputError(
                f"{path}: image {shown(image_id)}: expected boxes with category_id of one of the "
                f"categories {some(numbers)}, got {some(map(shown, found))}"
            )
        return numbers.get(found[0]) if len(found) == 1 else None

    rows = np.array([box for each in boxes.values() for box in each], dtype=float).reshape(-1, 4)
    owner = np.repeat(np.arange(len(images)), [len(each) for each in boxes.values()])
    names = [row["file_name"] for row in images.values()]
    sizes = [(row["width"], row["height"]) for row in images.values()]
    classes = [class_of(image_id) for image_id in images]
    return DataSet(
        name=Path(path).name,
        image_ids=list(images),
        file_names=names,
        keys=[image_key(name) for name in names],
        sizes=np.array(sizes, dtype=np.int64).reshape(-1, 2),
        class_ids=np.array([-1 if c is None else c for c in classes], dtype=np.int64),
        truth=BoxTable.from_rows(owner, as_boxes(xywh_to_xyxy(rows), str(path)), None, len(images)),
        pseudo_boxes=BoxTable.empty(len(images)),
        files=(Path(path),),
    )
