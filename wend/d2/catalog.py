"""The data sets of ``wend.data.catalog`` as Detectron2's ``DatasetCatalog`` expects them."""

from __future__ import annotations

from functools import partial

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from wend.data.catalog import (
    LoadRecords,
    get_records,
    register_records,
    registered_names,
    training_boxes,
)
from wend.data.coco import CATEGORY_NAME
from wend.errors import InputError


def dataset_dicts(name: str) -> list[dict]:
    """Records as Detectron2's standard dicts.

    ``annotations`` are the boxes to learn from: pseudo boxes in ``..._c2am``, else the truth.
    ``class_id`` (the image's class, or None) is ours.
    """
    return [
        {
            "file_name": record.file_name,
            "image_id": record.image_id,
            "height": record.height,
            "width": record.width,
            "class_id": record.class_id,
            "annotations": [
                {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0, "iscrowd": 0}
                for box in training_boxes(name, record).tolist()
            ],
        }
        for record in get_records(name)
    ]


def _announce(name: str) -> None:
    DatasetCatalog.register(name, partial(dataset_dicts, name))
    MetadataCatalog.get(name).set(thing_classes=[CATEGORY_NAME], evaluator_type="wsol")


def register_wsol_dataset(name: str, load: LoadRecords, train_on: str = "pseudo_boxes") -> None:
    """Register records under a name, for Detectron2 and for WEND's evaluation.

    Args:
        name: used in ``DATASETS.TRAIN`` and ``DATASETS.TEST``.
        load: returns a list of :class:`wend.records.ImageRecord`; called at first use.
        train_on: "pseudo_boxes", or "gt_boxes" for a fully supervised upper bound.

    Raises:
        InputError: the name is taken.
    """
    if name in DatasetCatalog.list():
        raise InputError(f"data set {name!r} is registered already; choose another name")
    register_records(name, load, train_on)
    _announce(name)


for _name in registered_names():
    if _name not in DatasetCatalog.list():
        _announce(_name)
