"""Records and detections as COCO's JSON, which pycocotools, FiftyOne and Detectron2 read.

One category, ``{"id": 1, "name": "foreground"}``; boxes ``[x, y, w, h]`` in original pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import UNSET, Meta, UnsetType

from wend.errors import InputError, shown, some
from wend.formats.coco_json import DATA_SET, Box, Category, CocoFile, Image, WholeNumber
from wend.structures.boxes import box_area, xywh_to_xyxy, xyxy_to_xywh
from wend.structures.records import ImageRecord

logger = logging.getLogger(__name__)
CATEGORY_ID = 1
CATEGORY_NAME = "foreground"
PixelCount = Annotated[int, Meta(ge=1, lt=2**31)]
ClassNumber = Annotated[int, Meta(ge=0, lt=2**31)]


def records_to_coco(records: Iterable[ImageRecord]) -> dict:
    """Ground truth as a COCO data set (the records' true boxes)."""
    images, annotations = [], []
    for record in records:
        image = {
            "id": record.image_id,
            "file_name": record.key,
            "width": record.width,
            "height": record.height,
        }
        if record.class_id is not None:
            image["class_id"] = int(record.class_id)  # ours; the annotations have one category
        images.append(image)
        for xywh, area in zip(
            xyxy_to_xywh(record.gt_boxes).tolist(), box_area(record.gt_boxes).tolist(), strict=True
        ):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": record.image_id,
                    "category_id": CATEGORY_ID,
                    "bbox": xywh,
                    "area": area,
                    "iscrowd": 0,
                }
            )
    categories = [{"id": CATEGORY_ID, "name": CATEGORY_NAME}]
    info = {"description": "ground truth, written by WEND"}  # some pycocotools want an "info"
    return {"info": info, "images": images, "annotations": annotations, "categories": categories}


class TrueImage(Image, kw_only=True, gc=False):
    """A row of ``images`` of a ground truth: the size is stated, in whole pixels."""

    width: PixelCount
    height: PixelCount
    class_id: ClassNumber | UnsetType | None = UNSET


class TrueBox(Box, kw_only=True, gc=False):
    """A row of ``annotations`` of a ground truth."""

    category_id: WholeNumber | UnsetType | None = UNSET


def load_coco(path: str | Path) -> list[ImageRecord]:
    """Ground truth from a COCO JSON: every box is a true one, whatever its category.

    An image's class is its entry's ``class_id`` (which :func:`records_to_coco` writes); else, in
    a file of several categories, the index of the only category of its boxes among the sorted
    category ids; else it has none. Boxes with ``iscrowd`` are no true boxes.

    Raises:
        InputError: not a COCO data set; the message names the entry.
    """
    file = CocoFile.open(path, DATA_SET)
    if not all(file.has_list(name) for name in ("images", "annotations", "categories")):
        kind = "a list (detections?)" if isinstance(file.content, list) else "something else"
        raise InputError(f"{path}: expected {DATA_SET}, got {kind}")
    images, index = file.images(TrueImage)
    boxes = file.boxes("annotations", TrueBox)
    owners = boxes.owners(index)
    rows = np.flatnonzero(~boxes.crowd)
    if len(rows) < len(owners):
        logger.warning(
            "%s: %d annotations are crowds and no true boxes", path, len(owners) - len(rows)
        )
    rows = rows[np.argsort(owners[rows], kind="stable")]
    corners = xywh_to_xyxy(boxes.xywh[rows])
    ends = np.cumsum(np.bincount(owners[rows], minlength=len(images))).tolist()
    class_numbers = _class_numbers(file)
    records = []
    for image, start, end in zip(images, [0, *ends], ends, strict=False):
        class_id = image.class_id if image.class_id is not UNSET else None
        if class_id is None and len(class_numbers) > 1:
            categories = {boxes.category_ids[row] for row in rows[start:end]}
            class_id = _class_of(file, image, categories, class_numbers)
        records.append(
            ImageRecord(
                image_id=image.id,
                file_name=image.file_name,
                width=image.width,
                height=image.height,
                class_id=class_id,
                gt_boxes=corners[start:end],
            )
        )
    return records


def _class_numbers(file: CocoFile) -> dict[int, int]:
    """Category id -> its index among the sorted ids."""
    ids = [row.id for rows in file.blocks("categories", Category) for row in rows]
    if len(set(ids)) < len(ids):
        raise InputError(
            f"{file.path}, entry categories: expected objects with different numbers as id, got "
            f"{shown(ids)}"
        )
    return {category: number for number, category in enumerate(sorted(ids))}


def _class_of(
    file: CocoFile, image: TrueImage, categories: set, class_numbers: dict[int, int]
) -> int | None:
    """The class of an image whose boxes are of these categories."""
    if not class_numbers.keys() >= categories:
        raise InputError(
            f"{file.path}: image {shown(image.id)}: expected boxes with category_id of one of the "
            f"categories {some(class_numbers)}, got {some(map(shown, categories))}"
        )
    return class_numbers[categories.pop()] if len(categories) == 1 else None
