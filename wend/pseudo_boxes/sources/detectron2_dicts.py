"""Detectron2's standard dataset dicts as JSON, as LOST's tools and users' scripts write them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wend.errors import InputError, shown
from wend.files import is_number, read_json
from wend.formats.coco_json import is_crowd
from wend.formats.mask_boxes import Box
from wend.pseudo_boxes.registry import box_source
from wend.pseudo_boxes.report import Count
from wend.pseudo_boxes.source_boxes import PseudoBoxes
from wend.pseudo_boxes.sources.labelled import LabelledBoxes, stated_size

DICTS = (
    'Detectron2\'s dataset dicts, a list of {"file_name", "height", "width", "annotations": '
    '[{"bbox", "bbox_mode"}]}, or {"dataset": that list}'
)
XYXY_ABS, XYWH_ABS = 0, 1  # detectron2.structures.BoxMode


@box_source("detectron2")
def read_dataset_dicts(path: str | Path, category_id: int | str | None = None) -> PseudoBoxes:
    """Read Detectron2's dataset dicts in a JSON.

    Files: a list of dicts, or an object that has it as ``dataset``, as LOST's tools write it
    (fcedbec, tools/prepare_voc_LOST_CAD_pseudo_boxes_in_detectron2_format.py:81-107).

    Frame: pixels of ``width`` and ``height``, by which fractions are made; ``bbox_mode`` 0 is
    ``x0, y0, x1, y1``, 1 is ``x, y, w, h``. Boxes with ``iscrowd`` are left out. A ``score``, if an
    annotation has one, is the score.

    Args:
        path: the JSON.
        category_id: the category to take, or "all"; by default there may be only one.

    Raises:
        MissingFileError, InputError: not there, or a dict is malformed; the message names it.
    """
    dicts = read_json(path, DICTS)
    dicts = dicts.get("dataset") if isinstance(dicts, Mapping) else dicts
    if not isinstance(dicts, list):
        raise InputError(f"{path}: expected {DICTS}, got {shown(dicts, 100)}")
    collected, crowds = LabelledBoxes(path, category_id, "score", "category_id"), 0
    for number, image in enumerate(dicts):
        where = f"{path}, image {number}"
        rows = image.get("annotations", []) if isinstance(image, Mapping) else None
        if not isinstance(rows, list):
            raise InputError(f"{where}: expected {DICTS}, got {shown(image, 100)}")
        size = stated_size(where, image.get("width"), image.get("height"))
        collected.begin(f"{where}: file_name", image.get("file_name"), size)
        for index, row in enumerate(rows):
            here = f"{where}, annotation {index}"
            if not isinstance(row, Mapping):
                raise InputError(f"{here}: expected an object, got {shown(row)}")
            if is_crowd(row.get("iscrowd"), here):
                crowds += 1
            else:
                collected.add(here, row.get("category_id"), _box(here, row), row.get("score"))
    boxes = collected.finish("pixel")
    if crowds:
        boxes = boxes.with_table(boxes.table, {"crowd": Count(crowds)})
    return boxes


def _box(where: str, row: Mapping[str, Any]) -> Box:
    box, mode = row.get("bbox"), row.get("bbox_mode")
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        raise InputError(f'{where}: expected "bbox": four finite numbers, got {shown(box)}')
    if mode not in (XYXY_ABS, XYWH_ABS) or isinstance(mode, bool):
        raise InputError(
            f'{where}: expected "bbox_mode" 0 (x0, y0, x1, y1) or 1 (x, y, w, h), got {shown(mode)}'
        )
    x, y, third, fourth = map(float, box)
    if mode == XYXY_ABS:
        return x, y, third, fourth
    if min(third, fourth) < 0:
        raise InputError(f"{where}: expected w, h >= 0, got {shown(box)}")
    return x, y, x + third, y + fourth
