"""Detections as COCO results, which pycocotools, FiftyOne and Detectron2 read.

One category, ``{"id": 1, "name": "foreground"}``; boxes ``[x, y, w, h]`` in original pixels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wend.errors import InputError, shown
from wend.evaluation.coco_fast import read_results_fast
from wend.evaluation.detection_rows import DetectionRows, to_table, unknown_image
from wend.files import is_number, read_json
from wend.formats.coco import CATEGORY_ID
from wend.structures.box_table import BoxTable
from wend.structures.boxes import xywh_to_xyxy, xyxy_to_xywh
from wend.structures.data_set import DataSet

RESULTS = 'a list of {"image_id", "category_id", "bbox": [x, y, w, h], "score"}'


def detections_to_coco(data_set: DataSet, detections: BoxTable) -> list[dict]:
    """Detections of a data set as COCO results, in its order; an image without boxes has no row."""
    ids = data_set.image_ids
    columns = (detections.owner, xyxy_to_xywh(detections.boxes), detections.scores)
    return [
        {"image_id": ids[image], "category_id": CATEGORY_ID, "bbox": xywh, "score": score}
        for image, xywh, score in zip(*(column.tolist() for column in columns), strict=True)
    ]


def _check_row(path: str | Path, number: int, row: object) -> None:
    box = row.get("bbox") if isinstance(row, dict) else None
    if isinstance(row, dict) and "score" not in row and isinstance(box, list):
        raise InputError(
            f"{path}, entry {number}: has no score; expected one of {RESULTS}, got "
            f"{shown(row)}. Is it a ground-truth file?"
        )
    if (
        not isinstance(box, list)
        or len(box) != 4
        or not all(map(is_number, box))
        or not is_number(row.get("score"))
        or min(box[2:]) < 0
    ):
        raise InputError(f"{path}, entry {number}: expected one of {RESULTS}, got {shown(row)}")
    if row.get("category_id") != CATEGORY_ID:
        raise InputError(
            f"{path}, entry {number}: category_id {row.get('category_id')!r}, expected "
            f"{CATEGORY_ID} (foreground); class-agnostic detections have one category"
        )
    if type(row.get("image_id")) not in (int, str):
        raise unknown_image(str(path), "entry", number, row.get("image_id"))


def _read_row_by_row(path: str | Path) -> DetectionRows:
    """The slow way, which names the entry that is wrong."""
    rows = read_json(path, RESULTS)
    if not isinstance(rows, list):
        raise InputError(f"{path}: expected {RESULTS}, got {type(rows).__name__}")
    codes: dict = {}
    for number, row in enumerate(rows):
        _check_row(path, number, row)
        codes.setdefault(row["image_id"], len(codes))
    xywh = np.array([row["bbox"] for row in rows], dtype=np.float64).reshape(-1, 4)
    return DetectionRows(
        source=str(path),
        entry="entry",
        ids=list(codes),
        codes=np.array([codes[row["image_id"]] for row in rows], dtype=np.int64),
        boxes=xywh_to_xyxy(xywh),
        scores=np.array([row["score"] for row in rows], dtype=np.float64),
    )


def read_results(path: str | Path) -> DetectionRows:
    """Read COCO results as arrays: through pyarrow where it is installed and all is well.

    Raises:
        InputError: not a list of COCO results, or a row that is not one.
    """
    rows = read_results_fast(path, CATEGORY_ID)
    return _read_row_by_row(path) if rows is None else rows


def read_detections(path: str | Path, data_set: DataSet) -> BoxTable:
    """Read COCO results of a data set.

    Returns:
        The table of its images; empty where the file has no row.

    Raises:
        InputError: not a list of COCO results, a row that is not one, or of an unknown image.
    """
    return to_table(read_results(path), data_set)[0]
