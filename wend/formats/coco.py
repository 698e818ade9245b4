"""Records and detections as COCO's JSON, which pycocotools, FiftyOne and Detectron2 read.

One category, ``{"id": 1, "name": "foreground"}``, or the images' classes; boxes ``[x, y, w, h]`` in
original pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
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
CLASSES = ("auto", "none")
ClassNumber = Annotated[int, Meta(ge=0, lt=2**31)]
TRUTH = {"description": "ground truth, written by WEND"}  # some pycocotools want an "info"


def to_coco(
    data_set: DataSet, boxes: BoxTable, info: Mapping[str, object], *, with_classes: bool = False
) -> dict:
    """Images and their boxes as a COCO data set.

    Args:
        boxes: of the data set's images, in original pixels; with scores, if they have some.
        info: says what the boxes are.
        with_classes: a box's category is its image's class, as the data set's own COCO file calls
            it, or from 0; each image has one. Else all boxes are of the one category.
    """
    categories = np.array([CATEGORY_ID])
    of_image = np.full(len(data_set), CATEGORY_ID)
    if with_classes:
        categories = np.arange(1 + int(data_set.class_ids.max()))
        if data_set.category_ids:
            categories = np.array(data_set.category_ids)
        of_image = categories[data_set.class_ids]
    states_class = not (with_classes and data_set.category_ids)  # else the categories say it
    images = [
        {"id": image_id, "file_name": key, "width": width, "height": height}
        # ours: an image's class, by which the file is read again
        | ({"class_id": class_id} if states_class and class_id >= 0 else {})
        for image_id, key, (width, height), class_id in zip(
            data_set.image_ids,
            data_set.keys,
            data_set.sizes.tolist(),
            data_set.class_ids.tolist(),
            strict=True,
        )
    ]
    columns = (boxes.owner, of_image[boxes.owner], xyxy_to_xywh(boxes.boxes), boxes.areas())
    annotations = [
        {
            "id": number,
            "image_id": data_set.image_ids[image],
            "category_id": category,
            "bbox": xywh,
            "area": area,
            "iscrowd": 0,
        }
        for number, (image, category, xywh, area) in enumerate(
            zip(*(column.tolist() for column in columns), strict=True), 1
        )
    ]
    if boxes.scores is not None:
        for annotation, score in zip(annotations, boxes.scores.tolist(), strict=True):
            annotation["score"] = score
    return {
        "info": dict(info),
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": i, "name": str(i) if with_classes else CATEGORY_NAME}
            for i in categories.tolist()
        ],
    }


def records_to_coco(records: Iterable[ImageRecord]) -> dict:
    """Ground truth as a COCO data set (the records' true boxes)."""
    data_set = DataSet.from_records(records)
    return to_coco(data_set, data_set.truth, TRUTH)


class TrueImage(Image, kw_only=True, gc=False):
    """A row of ``images`` of a ground truth."""

    class_id: ClassNumber | UnsetType | None = UNSET


class TrueBox(Box, kw_only=True, gc=False):
    """A row of ``annotations`` of a ground truth."""

    category_id: WholeNumber | UnsetType | None = UNSET


def load_coco(path: str | Path) -> DataSet:
    """Ground truth from a COCO JSON alone; as of :func:`read_coco_truth`, with all sizes.

    Raises:
        InputError: also where the JSON does not state the size of an image.
    """
    data_set = read_coco_truth(path)
    unknown = np.flatnonzero(data_set.sizes[:, 0] == 0).tolist()
    if unknown:
        raise InputError(
            f"{path}, entry images[{unknown[0]}]: expected width and height as whole numbers from "
            f"1, which {len(unknown)} of {len(data_set)} images do not state "
            f"({some(data_set.file_names[i] for i in unknown)}). Write them, or declare a data set "
            f"with format: coco and the images' folder, whose headers then tell them"
        )
    return data_set


def read_coco_truth(path: str | Path, classes: str = "auto") -> DataSet:
    """Ground truth from a COCO JSON: every box is a true one, whatever its category.

    With ``classes`` "auto" an image's class is its entry's ``class_id`` (which
    :func:`records_to_coco` writes); else, in a file of several categories, the index of the only
    category of its boxes among the sorted category ids; else it has none. A category without
    boxes that is the ``supercategory`` of another one (Roboflow writes such a parent with the id 0)
    is not counted among them. With "none" no image has a class. Boxes with ``iscrowd`` are no true
    boxes.

    Returns:
        The images in the file's order; the size is 0, 0 where the file does not state it in
        whole pixels.

    Raises:
        InputError: not a COCO data set; the message names the entry.
    """
    if classes not in CLASSES:
        raise InputError(f"classes must be one of {', '.join(CLASSES)}, got {classes!r}")
    file = CocoFile.open(path, DATA_SET)
    absent = [name for name in ("images", "annotations") if not file.has_list(name)]
    if absent:
        kind = f"an object without the list{'s' if len(absent) > 1 else ''} {', '.join(absent)}"
        kind = "a list (detections?)" if file.is_list else kind
        raise InputError(f"{path}: expected {DATA_SET}, got {kind}")
    images, index = file.images(TrueImage)
    boxes = file.boxes("annotations", TrueBox)
    owners = boxes.owners(index)
    rows = np.flatnonzero(~boxes.crowd)
    if len(rows) < len(owners):
        logger.warning(
            "%s: %d annotations are crowds and no true boxes", path, len(owners) - len(rows)
        )
    names = [image.path for image in images]
    sizes = np.array([image.size for image in images], dtype=np.float64).reshape(-1, 2)
    sizes[(sizes % 1 != 0).any(1)] = 0
    class_ids = np.full(len(images), -1, dtype=np.int64)
    category_ids: tuple[int, ...] = ()
    if classes != "none":
        class_ids, category_ids = _classes(file, images, owners, boxes)
    return DataSet(
        name=file.path.name,
        image_ids=[image.id for image in images],
        file_names=names,
        keys=[image_key(name) for name in names],
        sizes=sizes.astype(np.int64),
        class_ids=class_ids,
        category_ids=category_ids,
        truth=BoxTable.from_rows(owners[rows], xywh_to_xyxy(boxes.xywh[rows]), None, len(images)),
        pseudo_boxes=BoxTable.empty(len(images)),
        files=(file.path,),
    )


def _class_numbers(file: CocoFile, boxes: Boxes) -> dict[int, int]:
    """Category id -> its index among the sorted ids of those that are no empty parents."""
    if not file.has_list("categories"):
        return {}
    rows = list(chain.from_iterable(file.blocks("categories", Category)))
    ids = [row.id for row in rows]
    if len(set(ids)) < len(ids):
        raise InputError(
            f"{file.path}, entry categories: expected objects with different numbers as id, got "
            f"{shown(ids)}"
        )
    with_boxes = set(boxes.category_ids.values)
    parents = [row for row in rows if row.id not in with_boxes and _is_parent(row, rows)]
    if parents:
        logger.info(
            "%s: no classes, since they have no box and are the supercategory of others: %s",
            file.path,
            some(f"category {row.id} ({shown(row.name)})" for row in parents),
        )
    numbered = sorted(set(ids) - {row.id for row in parents})
    return {category: number for number, category in enumerate(numbered)}


def _is_parent(category: Category, categories: Sequence[Category]) -> bool:
    return category.name is not None and any(
        other.id != category.id and other.supercategory == category.name for other in categories
    )


def _classes(
    file: CocoFile, images: Sequence[TrueImage], owners: np.ndarray, boxes: Boxes
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Classes (I,) of the images, -1 where they have none, and the categories that classes are.

    Args:
        owners: (N,) index of each box's image.
    """
    stated = np.array(
        [-1 if image.class_id in (UNSET, None) else image.class_id for image in images],
        dtype=np.int64,
    )
    class_numbers = _class_numbers(file, boxes)
    if len(class_numbers) > 1:
        numbers = boxes.category_ids.look_up(class_numbers)
        rows = np.flatnonzero(~boxes.crowd & (stated[owners] < 0))
        if len(rows) and numbers[rows].min() < 0:
            first = int(rows[np.argmin(numbers[rows])])
            expected = (
                f'"category_id" of one of the categories {some(class_numbers)} (where images have '
                f"no class, declare the data set with classes: none)"
            )
            raise file.error("annotations", first, expected, boxes.category_ids[first])
        class_ids = np.maximum(stated, common_class(owners[rows], numbers[rows], len(images)))
        return class_ids, () if (stated >= 0).any() else tuple(class_numbers)
    return stated, ()


def common_class(owners: np.ndarray, class_ids: np.ndarray, num_images: int) -> np.ndarray:
    """The class (I,) that all boxes of an image are of; -1 where they are of none or several.

    Args:
        owners: (N,) index of each box's image.
        class_ids: (N,) class from 0 of each box.
    """
    least = np.full(num_images, np.iinfo(np.int64).max)
    most = np.full(num_images, -1, dtype=np.int64)
    np.minimum.at(least, owners, class_ids)
    np.maximum.at(most, owners, class_ids)
    return np.where(least == most, most, -1)
