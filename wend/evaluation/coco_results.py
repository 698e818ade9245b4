"""Detections as COCO results, which pycocotools, FiftyOne and Detectron2 read.

One category, ``{"id": 1, "name": "foreground"}``; boxes ``[x, y, w, h]`` in original pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from wend.errors import InputError
from wend.evaluation.detection_rows import DetectionRows, to_table
from wend.evaluation.per_image import box_scores
from wend.formats.coco import CATEGORY_ID
from wend.formats.coco_json import RESULTS, Box, CocoFile, Number
from wend.structures.box_table import BoxTable
from wend.structures.boxes import xywh_to_xyxy, xyxy_to_xywh
from wend.structures.data_set import DataSet


def detections_to_coco(data_set: DataSet, detections: BoxTable) -> list[dict]:
    """Detections of a data set as COCO results, in its order; an image without boxes has no row."""
    ids = data_set.image_ids
    columns = (detections.owner, xyxy_to_xywh(detections.boxes), box_scores(detections))
    return [
        {"image_id": ids[image], "category_id": CATEGORY_ID, "bbox": xywh, "score": score}
        for image, xywh, score in zip(*(column.tolist() for column in columns), strict=True)
    ]


class DetectionRow(Box, kw_only=True, gc=False):
    """A row of results: one category, and a score."""

    category_id: Annotated[int, Meta(ge=CATEGORY_ID, le=CATEGORY_ID)]
    score: Number

    @classmethod
    def expected(cls, field: str | None) -> str:
        """What a field should hold, with what may have gone wrong."""
        more = {
            "score": " (is it a ground-truth file?)",
            "category_id": f": {CATEGORY_ID} (foreground); class-agnostic detections have one "
            f"category",
        }
        return f"{super().expected(field)}{more.get(field or '', '')} in {RESULTS}"


def read_results(path: str | Path) -> DetectionRows:
    """Read COCO results as columns.

    Raises:
        InputError: not a list of COCO results, or a row that is not one.
    """
    file = CocoFile.open(path, RESULTS)
    if not file.is_list:
        raise InputError(f"{path}: expected {RESULTS}, got an object")
    boxes = file.boxes("", DetectionRow)
    return DetectionRows(
        source=str(path),
        entry="entry",
        ids=boxes.image_ids.values,
        codes=boxes.image_ids.codes,
        boxes=xywh_to_xyxy(boxes.xywh),
        scores=boxes.scores,
    )


def read_detections(path: str | Path, data_set: DataSet) -> BoxTable:
    """Read COCO results of a data set.

    Returns:
        The table of its images; empty where the file has no row.

    Raises:
        InputError: not a list of COCO results, a row that is not one, or of an unknown image.
    """
    return to_table(read_results(path), data_set)[0]
