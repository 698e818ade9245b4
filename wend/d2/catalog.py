"""The data sets of ``wend.datasets.catalog`` as Detectron2's ``DatasetCatalog`` expects them.

``DatasetCatalog.get`` reads a data set when it is called, below ``DETECTRON2_DATASETS`` as it is
then, and returns standard dicts in the images' original pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from os import fspath
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from torch.utils.data import Dataset

from wend.datasets.catalog import DataSets, LoadRecords, register_records
from wend.datasets.plausible_truth import check_plausible
from wend.errors import BadImageError, InputError, some
from wend.formats.coco import CATEGORY_NAME
from wend.formats.coco_json import MAX_SIDE, is_crowd
from wend.images.sizes import SizeReader
from wend.loading.selection import Selection
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.structures.records import MAX_MEGAPIXELS, ImageRecord, image_key

logger = logging.getLogger(__name__)


def dataset_dict(
    record: ImageRecord, boxes: np.ndarray, scores: np.ndarray | None = None
) -> dict[str, Any]:
    """A record as Detectron2's standard dict.

    ``class_id`` (the image's class, or None), ``exif`` (the data set's policy) and each
    annotation's ``score`` are ours.

    Args:
        boxes: (P, 4) to learn from: pseudo boxes in ``..._c2am``, else the truth.
        scores: (P,) in [0, 1]; None: the annotations have no ``score``, and count 1.
    """
    annotations: list[dict[str, Any]] = [
        {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0, "iscrowd": 0}
        for box in boxes.tolist()
    ]
    if scores is not None:
        for annotation, score in zip(annotations, scores.tolist(), strict=True):
            annotation["score"] = score
    return {
        "file_name": record.file_name,
        "image_id": record.image_id,
        "height": record.height,
        "width": record.width,
        "class_id": record.class_id,
        "exif": record.exif,
        "annotations": annotations,
    }


def dataset_dicts(name: str) -> list[dict[str, Any]]:
    """A data set's images as Detectron2's standard dicts; see :func:`dataset_dict`."""
    data_set = DataSets().get(name)
    check_plausible(data_set)
    if not len(data_set):
        return []
    return [dataset_dict(*image) for image in Selection([data_set], with_boxes=False)]


class MappedImages(Dataset):
    """Images as a mapper makes them, for Detectron2's loaders (``mapper=None``).

    Detectron2's own ``DatasetFromList`` and ``MapDataset`` would make a list of dicts and a set of
    numbers as long as the data sets in each process.

    Args:
        images: the images, with the boxes of their dicts.
        mapper: takes a dict of :func:`dataset_dict`.
    """

    def __init__(self, images: Selection, mapper: Callable[[dict[str, Any]], Any]) -> None:
        self.images, self._mapper = images, mapper

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        return self._mapper(dataset_dict(*self.images[index]))


def _require(entry: Mapping[str, Any], keys: Sequence[str], where: str) -> None:
    absent = [key for key in keys if key not in entry]
    if absent:
        raise InputError(
            f"{where} has no {', '.join(absent)}; see Detectron2's standard dataset dict"
        )


def data_set_of_dicts(
    name: str, dicts: Sequence[Mapping[str, Any]], exif: str = "apply"
) -> DataSet:
    """Detectron2's standard dicts as a data set: every annotated box is truth, and learned from.

    An image's class is the only category of its boxes; -1 where there are several or none. Crowds
    are no boxes. An annotation's ``score`` is the box's (1 where only others have one).

    Args:
        name: name of the data set.
        dicts: have ``file_name``, ``image_id``, ``height``, ``width`` and ``annotations``.
        exif: "apply", as Detectron2 reads images, whose sizes and boxes are then upright; "ignore"
            for those of the files as stored.

    Raises:
        InputError: names the image whose dict lacks one of these, whose box, ``score`` or
            ``iscrowd`` is none, or that another dict is of, too.
    """
    file_names, boxes, scores, classes = [], [], [], []
    scored = False
    for index, entry in enumerate(dicts):
        where = f"data set {name}: dict {index} ({entry.get('file_name', 'without file_name')})"
        _require(entry, ("file_name", "image_id", "height", "width"), where)
        file_names.append(fspath(entry["file_name"]))
        kept = [
            row
            for row in entry.get("annotations", ())
            if not is_crowd(row.get("iscrowd"), f"{where}: an annotation")
        ]
        for row in kept:
            _require(row, ("bbox", "bbox_mode", "category_id"), f"{where}: an annotation")
            if not isinstance(row["category_id"], int | np.integer):
                raise InputError(
                    f"{where}: an annotation's category_id: expected a whole number, got "
                    f"{row['category_id']!r}"
                )
        boxes.append(
            [BoxMode.convert(row["bbox"], row["bbox_mode"], BoxMode.XYXY_ABS) for row in kept]
        )
        scores.append([row.get("score", 1.0) for row in kept])
        scored = scored or any("score" in row for row in kept)
        categories = {row["category_id"] for row in kept}
        classes.append(categories.pop() if len(categories) == 1 else -1)
    _refuse_files_twice(name, file_names)
    sizes, unreadable = _sizes(name, dicts, file_names, exif)
    return DataSet(
        name=name,
        image_ids=[entry["image_id"] for entry in dicts],
        file_names=file_names,
        keys=[image_key(file_name) for file_name in file_names],
        sizes=sizes,
        class_ids=np.array(classes, dtype=np.int64),
        truth=BoxTable.from_lists(
            boxes, scores if scored else None, lambda i: f"{name}: {file_names[i]}"
        ),
        pseudo_boxes=BoxTable.empty(len(dicts)),
        train_on="gt_boxes",
        exif=exif,
        unreadable=unreadable,
    )


def _refuse_files_twice(name: str, file_names: Sequence[str]) -> None:
    index_of: dict[str, int] = {}
    for index, file_name in enumerate(file_names):
        if (first := index_of.setdefault(file_name, index)) != index:
            raise InputError(
                f"data set {name}: dicts {first} and {index} are both of {file_name}; expected all "
                f"boxes of an image in one dict"
            )


def _sizes(
    name: str, dicts: Sequence[Mapping[str, Any]], file_names: Sequence[str], exif: str
) -> tuple[np.ndarray, dict[int, BadImageError]]:
    """Widths and heights (I, 2): as stated, or where they are not, as the images' headers say."""
    stated = [(entry["width"], entry["height"]) for entry in dicts]
    unknown = [i for i, size in enumerate(stated) if not all(map(_is_side, size))]
    sizes = np.array(
        [(int(w), int(h)) if _is_side(w) and _is_side(h) else (0, 0) for w, h in stated],
        dtype=np.int64,
    ).reshape(-1, 2)
    if not unknown:
        return sizes, {}
    logger.info(
        "data set %s: sizes of %d of %d images are not stated (%s); read from their headers",
        *(name, len(unknown), len(dicts), some(file_names[i] for i in unknown)),
    )
    reader = SizeReader(keep_unreadable=True, exif=exif)
    sizes[unknown], bad = reader.read([file_names[i] for i in unknown])
    return sizes, {unknown[i]: error for i, error in bad.items()}


def _is_side(value: object) -> bool:
    """Whether a stated width or height is a whole number of pixels from 1."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    return bool(1 <= value < MAX_SIDE and value % 1 == 0)


def of_detectron2(name: str) -> DataSet | None:
    """A data set that was registered with Detectron2 itself, not by :func:`_announce`.

    ``MetadataCatalog.get(name).exif`` may be "ignore", see :func:`data_set_of_dicts`.
    """
    load = DatasetCatalog.data.get(name)
    if load is None or getattr(load, "func", None) is dataset_dicts:
        return None
    exif = MetadataCatalog.get(name).get("exif", "apply")
    return data_set_of_dicts(name, DatasetCatalog.get(name), exif)


def detectron2_data_sets(
    root: str | Path | None = None, max_megapixels: float = MAX_MEGAPIXELS
) -> DataSets:
    """WEND's data sets, and those registered with Detectron2 alone, by name."""
    return DataSets(root, others=of_detectron2, max_megapixels=max_megapixels)


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

    Arguments and errors as of :func:`wend.datasets.catalog.register_records`.
    """
    if name in DatasetCatalog.list():
        raise InputError(f"data set {name!r} is registered already; choose another name")
    register_records(name, load, train_on, sources)
    _announce(name)


for _name in DataSets().names():
    if _name not in DatasetCatalog.list():
        _announce(_name)
