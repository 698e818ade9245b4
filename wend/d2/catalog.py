"""The data sets of ``wend.datasets.catalog`` as Detectron2's ``DatasetCatalog`` expects them.

``DatasetCatalog.get`` gives what is asked for at that time, below ``DETECTRON2_DATASETS`` as it is
then: a list of standard dicts, in the images' original pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from torch.utils.data import Dataset

from wend.datasets.catalog import DataSets, LoadRecords, register_records
from wend.errors import InputError
from wend.formats.coco import CATEGORY_NAME
from wend.loading.selection import Selection
from wend.structures.records import ImageRecord


def dataset_dict(record: ImageRecord, boxes: np.ndarray) -> dict[str, Any]:
    """A record as Detectron2's standard dict.

    ``class_id`` (the image's class, or None) is ours.

    Args:
        boxes: (P, 4) to learn from: pseudo boxes in ``..._c2am``, else the truth.
    """
    return {
        "file_name": record.file_name,
        "image_id": record.image_id,
        "height": record.height,
        "width": record.width,
        "class_id": record.class_id,
        "annotations": [
            {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0, "iscrowd": 0}
            for box in boxes.tolist()
        ],
    }


def dataset_dicts(name: str) -> list[dict[str, Any]]:
    """A data set's images as Detectron2's standard dicts; see :func:`dataset_dict`."""
    data_set = DataSets().get(name)
    rows = zip(data_set, data_set.training_boxes, strict=True)
    return [dataset_dict(record, boxes) for record, boxes in rows]


class MappedImages(Dataset):
    """Images of data sets as a mapper makes them, for Detectron2's loaders (``mapper=None``).

    Detectron2's own ``DatasetFromList`` and ``MapDataset`` would make a list of dicts and a set of
    numbers as long as the data sets in each process.

    Args:
        names: data sets of WEND's catalog.
        mapper: takes a dict of :func:`dataset_dict`.
        with_boxes: only images that have a box to learn from.
        leave_out: data set -> places of images to leave out.
    """

    def __init__(
        self,
        names: Sequence[str],
        mapper: Callable[[dict[str, Any]], Any],
        *,
        with_boxes: bool,
        leave_out: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self._images = Selection(names, with_boxes=with_boxes, leave_out=leave_out)
        self._mapper = mapper

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Any:
        return self._mapper(dataset_dict(*self._images[index]))


def _announce(name: str) -> None:
    DatasetCatalog.register(name, partial(dataset_dicts, name))
    MetadataCatalog.get(name).set(thing_classes=[CATEGORY_NAME], evaluator_type="wsol")


def register_wsol_dataset(
    name: str,
    load: LoadRecords,
    train_on: str = "pseudo_boxes",
    sources: Callable[[], Iterable[Path]] = tuple,
) -> None:
    """Register records under a name, for Detectron2 and for WEND's evaluation.

    Args:
        name: used in ``DATASETS.TRAIN`` and ``DATASETS.TEST``.
        load: returns a list of :class:`wend.structures.records.ImageRecord`, or a
            :class:`wend.structures.data_set.DataSet`; called at first use.
        train_on: "pseudo_boxes", or "gt_boxes" for a fully supervised upper bound.
        sources: returns the files and folders that ``load`` reads, so that an import of it
            (``wend data import``) can be used.

    Raises:
        InputError: the name is taken.
    """
    if name in DatasetCatalog.list():
        raise InputError(f"data set {name!r} is registered already; choose another name")
    register_records(name, load, train_on, sources)
    _announce(name)


for _name in DataSets().names():
    if _name not in DatasetCatalog.list():
        _announce(_name)
