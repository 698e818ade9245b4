"""Records and detections as COCO's JSON, which pycocotools, FiftyOne and Detectron2 read.

One category, ``{"id": 1, "name": "foreground"}``; boxes ``[x, y, w, h]`` in original pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import UNSET, Meta, UnsetType

from wend.errors import InputError, shown, some
from wend.formats.coco_json import DATA_SET, Box, Boxes, Category, CocoFile, Image, WholeNumber
from wend.structures.box_table import BoxTable
from wend.structures.boxes import xywh_to_xyxy, xyxy_to_xywh
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord, image_key

logger = logging.getLogger(__name__)
CATEGORY_ID = 1
CATEGORY_NAME = "foreground"
PixelCount = Annotated[int, Meta(ge=1, lt=2**31)]
ClassNumber = Annotated[int, Meta(ge=0, lt=2**31)]
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
    columns = (boxes.owner, xyxy_to_xywh(boxes.boxes), boxes.areas())
    annotations = [
        {
            "id": number,
            "image_id": data_set.image_ids[image],
            "category_id": CATEGORY_ID,
            "bbox": xywh,
            "area": area,
            "iscrowd": 0,
        }
        for number, (image, xywh, area) in enumerate(
            zip(*(column.tolist() for column in columns), strict=True), 1
        )
    ]
    if boxes.scores is not None:
        for annotation, score in zip(annotations, boxes.scores.tolist(), strict=True):
            annotation["score"] = score
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


class TrueImage(Image, kw_only=True, gc=False):
    """A row of ``images`` of a ground truth: the size is stated, in whole pixels."""

    width: PixelCount
    height: PixelCount
    class_id: ClassNumber | UnsetType | None = UNSET


class TrueBox(Box, kw_only=True, gc=False):
    """A row of ``annotations`` of a ground truth."""

    category_id: WholeNumber | UnsetType | None = UNSET


def load_coco(path: str | Path) -> DataSet:
    """Ground truth from a COCO JSON: every box is a true one, whatever its category.

    An image's class is its entry's ``class_id`` (which :func:`records_to_coco` writes); else, in
    a file of several categories, the index of the only category of its boxes among the sorted
    category ids; else it has none. Boxes with ``iscrowd`` are no true boxes.

    Raises:
        InputError: not a COCO data set; the message names the entry.
    """
    file = CocoFile.open(path, DATA_SET)
    if not all(file.has_list(name) for name in ("images", "annotations", "categories")):
        kind = "a list (detections?)" if file.is_list else "something else"
        raise InputError(f"{path}: expected {DATA_SET}, got {kind}")
    images, index = file.images(TrueImage)
    boxes = file.boxes("annotations", TrueBox)
    owners = boxes.owners(index)
    rows = np.flatnonzero(~boxes.crowd)
    if len(rows) < len(owners):
        logger.warning(
            "%s: %d annotations are crowds and no true boxes", path, len(owners) - len(rows)
        )
    names = [image.file_name for image in images]
    return DataSet(
        name=file.path.name,
        image_ids=[image.id for image in images],
        file_names=names,
        keys=[image_key(name) for name in names],
        sizes=np.array([(i.width, i.height) for i in images], dtype=np.int64).reshape(-1, 2),
        class_ids=_class_ids(file, images, owners, boxes),
        truth=BoxTable.from_rows(owners[rows], xywh_to_xyxy(boxes.xywh[rows]), None, len(images)),
        pseudo_boxes=BoxTable.empty(len(images)),
        files=(file.path,),
    )


def _class_numbers(file: CocoFile) -> dict[int, int]:
    """Category id -> its index among the sorted ids."""
    ids = [row.id for rows in file.blocks("categories", Category) for row in rows]
    if len(set(ids)) < len(ids):
        raise InputError(
            f"{file.path}, entry categories: expected objects with different numbers as id, got "
            f"{shown(ids)}"
        )
    return {category: number for number, category in enumerate(sorted(ids))}


def _class_ids(
    file: CocoFile, images: Sequence[TrueImage], owners: np.ndarray, boxes: Boxes
) -> np.ndarray:
    """Classes (I,) of the images, -1 where they have none; ``owners`` (N,): each box's image."""
    class_numbers = _class_numbers(file)
    categories: list[set] = [set() for _ in images]
    if len(class_numbers) > 1:
        for row in np.flatnonzero(~boxes.crowd).tolist():
            categories[owners[row]].add(boxes.category_ids[row])
    class_ids = []
    for image, of_boxes in zip(images, categories, strict=True):
        if image.class_id is not UNSET and image.class_id is not None:
            class_ids.append(image.class_id)
        elif not class_numbers.keys() >= of_boxes:
            raise InputError(
                f"{file.path}: image {shown(image.id)}: expected boxes with category_id of one of "
                f"the categories {some(class_numbers)}, got {some(map(shown, of_boxes))}"
            )
        else:
            class_ids.append(class_numbers[of_boxes.pop()] if len(of_boxes) == 1 else -1)
    return np.array(class_ids, dtype=np.int64)
