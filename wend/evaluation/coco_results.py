"""Detections as COCO results, which pycocotools, FiftyOne and Detectron2 read.

Boxes are ``[x, y, w, h]`` in original pixels. Class-agnostic ones are of one category, ``{"id": 1,
"name": "foreground"}``; else ``category_id`` is the category of the ground truth's COCO file, or
where that has none the class from 0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from msgspec import UNSET, UnsetType

from wend.errors import InputError
from wend.evaluation.box_classes import row_classes
from wend.evaluation.detection_rows import DetectionRows, to_table
from wend.evaluation.per_image import box_scores
from wend.formats.coco import CATEGORY_ID
from wend.formats.coco_json import RESULTS, Box, CocoFile, Number, WholeNumber
from wend.structures.box_table import BoxTable
from wend.structures.boxes import xyxy_to_xywh
from wend.structures.data_set import DataSet


def detections_to_coco(data_set: DataSet, detections: BoxTable) -> list[dict]:
    """Detections of a data set as COCO results, in its order; an image without boxes has no row."""
    ids, class_ids = data_set.image_ids, detections.class_ids
    if class_ids is None:
        categories = np.full(len(detections.boxes), CATEGORY_ID)
    elif data_set.category_ids:
        categories = np.array(data_set.category_ids)[class_ids]
    else:
        categories = class_ids
    columns = (detections.owner, categories, xyxy_to_xywh(detections.boxes), box_scores(detections))
    return [
        {"image_id": ids[image], "category_id": category, "bbox": xywh, "score": score}
        for image, category, xywh, score in zip(*(c.tolist() for c in columns), strict=True)
    ]


class DetectionRow(Box, kw_only=True, gc=False):
    """A row of results: a score, and perhaps a category."""

    category_id: WholeNumber | UnsetType | None = UNSET
    score: Number

    @classmethod
    def expected(cls, field: str | None) -> str:
        """What a field should hold, with what may have gone wrong."""
        more = {
            "score": " (is it a ground-truth file?)",
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
    corners = boxes.xywh  # nobody else's: boxes are many
    corners[:, 2:] += corners[:, :2]
    return DetectionRows(
        source=str(path),
        entry="entry",
        ids=boxes.image_ids.values,
        codes=boxes.image_ids.codes,
        boxes=corners,
        scores=boxes.scores,
        classes=boxes.category_ids,
        class_name="category_id",
    )


def read_detections(
    path: str | Path, data_set: DataSet, box_classes: str | None = None
) -> BoxTable:
    """Read COCO results of a data set; ``box_classes`` as of :func:`.box_classes.row_classes`.

    Returns:
        The table of its images; empty where the file has no row.

    Raises:
        InputError: not a list of COCO results, a row that is not one, or of an unknown image.
    """
    rows = read_results(path)
    class_ids = row_classes(rows, data_set, box_classes)
    return to_table(rows, data_set, class_ids=class_ids)[0]
