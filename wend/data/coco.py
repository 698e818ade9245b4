"""Records and detections as COCO's JSON, which pycocotools, FiftyOne and Detectron2 read.

One category, ``{"id": 1, "name": "foreground"}``; boxes ``[x, y, w, h]`` in original pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from wend.boxes import box_area, xywh_to_xyxy, xyxy_to_xywh
from wend.errors import InputError
from wend.files import is_number, read_json
from wend.records import Detections, ImageRecord

CATEGORY_ID = 1
CATEGORY_NAME = "foreground"


def records_to_coco(records: Iterable[ImageRecord]) -> dict:
    """Ground truth as a COCO data set (the records' true boxes)."""
    images, annotations = [], []
    for record in records:
        images.append(
            {
                "id": record.image_id,
                "file_name": record.key,
                "width": record.width,
                "height": record.height,
            }
        )
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


def detections_to_coco(detections: Iterable[Detections]) -> list[dict]:
    """Detections as COCO results; an image without boxes has no row."""
    return [
        {"image_id": d.image_id, "category_id": CATEGORY_ID, "bbox": xywh, "score": score}
        for d in detections
        for xywh, score in zip(xyxy_to_xywh(d.boxes).tolist(), d.scores.tolist(), strict=True)
    ]


def read_detections(path: str | Path, records: Sequence[ImageRecord]) -> list[Detections]:
    """Read COCO results of a data set.

    Returns:
        One :class:`Detections` for each record, in their order; empty where the file has no row.

    Raises:
        InputError: not a list of COCO results, a row that is not one, or of an unknown image.
    """
    what = 'a list of {"image_id", "category_id", "bbox": [x, y, w, h], "score"}'
    rows = read_json(path, what)
    if not isinstance(rows, list):
        raise InputError(f"{path}: expected {what}, got {type(rows).__name__}")
    by_id: dict = {record.image_id: ([], []) for record in records}
    for number, row in enumerate(rows):
        box = row.get("bbox") if isinstance(row, dict) else None
        if (
            not isinstance(box, list)
            or len(box) != 4
            or not all(map(is_number, box))
            or not is_number(row.get("score"))
            or min(box[2:]) < 0
        ):
            raise InputError(f"{path}, entry {number}: expected one of {what}, got {row!r}")
        if row.get("category_id") != CATEGORY_ID:
            raise InputError(
                f"{path}, entry {number}: category_id {row.get('category_id')!r}, expected "
                f"{CATEGORY_ID} (foreground); class-agnostic detections have one category"
            )
        if type(row.get("image_id")) not in (int, str) or row["image_id"] not in by_id:
            raise InputError(
                f"{path}, entry {number}: image_id {row.get('image_id')!r} is not in the data set; "
                f"are the detections of another one?"
            )
        boxes, scores = by_id[row["image_id"]]
        boxes.append(box)
        scores.append(row["score"])
    return [
        Detections(image_id, xywh_to_xyxy(np.array(boxes, dtype=float).reshape(-1, 4)), scores)
        for image_id, (boxes, scores) in by_id.items()
    ]
