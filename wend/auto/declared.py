"""The data sets of ``wend auto``: files that the ordinary commands read, and the tables in them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from wend.auto.photos import Photos
from wend.files import atomic_write, write_json
from wend.formats.coco import to_coco
from wend.formats.folder import load_folder
from wend.images.sizes import SizeReader
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet


def as_data_set(photos: Photos) -> DataSet:
    """The readable photos, without boxes; ids and keys are their paths."""
    readable = photos.readable
    paths = [photo.path for photo in readable]
    return DataSet(
        name="photos",
        image_ids=paths,
        file_names=[str(photos.root / path) for path in paths],
        keys=paths,
        sizes=np.array([(photo.width, photo.height) for photo in readable], dtype=np.int64),
        class_ids=np.full(len(paths), -1, dtype=np.int64),
        truth=BoxTable.empty(len(paths)),
        pseudo_boxes=BoxTable.empty(len(paths)),
        exif=photos.exif,
    )


def read_truth(photos: Photos, data_set: DataSet, annotations: Path) -> BoxTable:
    """True boxes of the readable photos, in any layout that a folder's truth may have.

    Raises:
        InputError: what the reader says, or a truth of none of the photos.
    """
    paths = [photo.path for photo in photos.photos]
    reader = SizeReader(keep_unreadable=True, exif=photos.exif)
    loaded = load_folder(photos.root, annotations, "none", sizes=reader, paths=paths)
    index = loaded.index_of_key
    return loaded.truth.take([index[key] for key in data_set.keys])


def declare(
    path: Path,
    root: Path,
    data_set: DataSet,
    *,
    truth: BoxTable | None = None,
    boxes: BoxTable | None = None,
) -> None:
    """Write a data set's YAML and, beside it, the JSON of its images and that of its boxes.

    Args:
        path: of the YAML; its stem becomes the data set's name.
        root: the folder of the photos.
        truth: boxes to score against.
        boxes: boxes to learn from.
    """
    listed = path.with_suffix(".json")
    nothing = BoxTable.empty(len(data_set))
    write_json(listed, to_coco(data_set, truth or nothing, {"description": "photos"}))
    values: dict[str, Any] = {
        "name": path.stem,
        "format": "coco",
        "images": str(root),
        "annotations": f"./{listed.name}",
        "classes": "none",
        "exif": data_set.exif,
    }
    if boxes is not None:
        listed_boxes = path.with_name(f"{path.stem}_boxes.json")
        write_json(listed_boxes, to_coco(data_set, boxes, {"description": "boxes to learn from"}))
        values["pseudo_boxes"] = {"source": "coco", "path": f"./{listed_boxes.name}"}
    with atomic_write(path) as file:
        yaml.safe_dump(values, file, allow_unicode=True, sort_keys=False)


def with_truth(data_set: DataSet, truth: BoxTable) -> DataSet:
    """The photos that have a true box, with the truth."""
    return replace(data_set, truth=truth).take(truth.with_boxes)
