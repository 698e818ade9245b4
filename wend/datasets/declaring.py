"""Data sets as files that the ordinary commands read: what ``declared`` reads is written here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from wend.files import atomic_write, write_json
from wend.formats.coco import to_coco
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet


def declare(
    path: Path,
    root: Path,
    data_set: DataSet,
    *,
    truth: BoxTable | None = None,
    boxes: BoxTable | None = None,
    source: Mapping[str, Any] | None = None,
) -> None:
    """Write a data set's YAML and, beside it, the JSON of its images and that of its boxes.

    Args:
        path: of the YAML; its stem becomes the data set's name.
        root: the folder that the images lie below; their keys are the paths from there.
        truth: boxes to score against.
        boxes: boxes to learn from.
        source: of boxes to learn from that a file holds already, as the YAML's ``pseudo_boxes``.
    """
    listed = path.with_suffix(".json")
    nothing = BoxTable.empty(len(data_set))
    write_json(listed, to_coco(data_set, truth or nothing, {"description": "images"}))
    values: dict[str, Any] = {
        "name": path.stem,
        "format": "coco",
        "images": str(root),
        "annotations": f"./{listed.name}",
        "classes": "auto" if (data_set.class_ids >= 0).any() else "none",
        "exif": data_set.exif,
    }
    if boxes is not None:
        listed_boxes = path.with_name(f"{path.stem}_boxes.json")
        write_json(listed_boxes, to_coco(data_set, boxes, {"description": "boxes to learn from"}))
        values["pseudo_boxes"] = {"source": "coco", "path": f"./{listed_boxes.name}"}
    elif source is not None:
        values["pseudo_boxes"] = dict(source)
    with atomic_write(path) as file:
        yaml.safe_dump(values, file, allow_unicode=True, sort_keys=False)
