"""Precision-aware metrics: COCO's class-agnostic AP and AR, through pycocotools in memory.

"Any of K boxes" rewards every further box; AP does not: a wrong box with a high score costs. All
boxes are of one category, in original pixels, of all sizes (COCO's area range "all"); IoU is
continuous and ``>=`` 0.5, 0.55, ..., 0.95; each true box is matched once. Recall is read at 101
points. That is COCO's definition, whatever the protocol of the hits beside it.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from wend.errors import InputError
from wend.evaluation.coco_results import detections_to_coco
from wend.evaluation.per_image import check_aligned
from wend.formats.coco import records_to_coco
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet

MAX_BOXES = (1, 10, 100)  # boxes per image; AP counts the last
IMAGES_AT_ONCE = 1000  # matched by pycocotools; its dicts of 100 boxes are 0.15 MB per image
# pycocotools has no types: its COCO objects are Any here, its two classes Callable.
Classes = tuple[Callable[..., Any], Callable[..., Any]]
BACKENDS = {  # name -> module and class of the data set, module and class of the evaluation
    "pycocotools": ("pycocotools.coco", "COCO", "pycocotools.cocoeval", "COCOeval"),
    "faster-coco-eval": ("faster_coco_eval", "COCO", "faster_coco_eval", "COCOeval_faster"),
}


def _backend(name: str) -> Classes:
    """The class of the data set and that of the evaluation."""
    if name not in BACKENDS:
        raise InputError(f"unknown COCO evaluation {name!r}; there are: {', '.join(BACKENDS)}")
    data_module, data, eval_module, evaluation = BACKENDS[name]
    try:
        return (
            getattr(importlib.import_module(data_module), data),
            getattr(importlib.import_module(eval_module), evaluation),
        )
    except ImportError as error:
        raise InputError(f"{name} is not installed: pip install {name}") from error


def _numbered(data_set: DataSet, detections: BoxTable) -> tuple[DataSet, BoxTable]:
    """The same data set and detections with image ids 1..I and at most 100 boxes each, no classes.

    Numbers are in the order of the ids, as COCOeval sorts images, because the order of images
    decides between boxes of equal score: the values are those of the exported files.
    """
    ids: Sequence[Any] = data_set.image_ids
    order = list(range(len(data_set)))
    with contextlib.suppress(TypeError):  # ids that cannot be compared keep their order
        order = sorted(order, key=lambda i: ids[i])
    numbered = replace(data_set.take(order), image_ids=range(1, len(order) + 1))
    best = replace(detections.first(MAX_BOXES[-1]).take(order), class_ids=None)
    return numbered, best


def _coco_objects(
    data_set: DataSet, detections: BoxTable, make: Callable[..., Any]
) -> tuple[Any, Any]:
    """Truth and detections as COCO objects, made without a file."""
    truth = make()
    truth.dataset = records_to_coco(data_set)
    rows = detections_to_coco(data_set, detections)
    for number, row in enumerate(rows, start=1):  # 0 would read as "not matched"
        row.update(id=number, area=row["bbox"][2] * row["bbox"][3], iscrowd=0)
    results = make()
    results.dataset = {**truth.dataset, "annotations": rows}
    truth.createIndex()
    results.createIndex()
    return truth, results


def _matched(data_set: DataSet, detections: BoxTable, make: Classes) -> Any:
    """The evaluation of some images after COCO's matching."""
    evaluation = make[1](*_coco_objects(data_set, detections, make[0]), "bbox")
    evaluation.params.maxDets = list(MAX_BOXES)
    evaluation.params.areaRng = evaluation.params.areaRng[:1]  # "all"
    evaluation.params.areaRngLbl = evaluation.params.areaRngLbl[:1]
    evaluation.evaluate()
    return evaluation


def _compact(row: dict | None) -> dict | None:
    """The parts of an image's matches that COCOeval.accumulate reads, in a tenth of the memory."""
    if row is None:  # neither truth nor boxes
        return None
    compact = {name: np.asarray(row[name], dtype=bool) for name in ("dtMatches", "dtIgnore")}
    return {**compact, "dtScores": np.array(row["dtScores"]), "gtIgnore": row["gtIgnore"]}


def _matched_in_parts(data_set: DataSet, detections: BoxTable, make: Classes) -> Any:
    """The same as :func:`_matched` in less memory: images are matched independently."""
    rows: list[dict | None] = []
    for i in range(0, len(data_set), IMAGES_AT_ONCE):
        part = np.arange(i, min(i + IMAGES_AT_ONCE, len(data_set)))
        evaluation = _matched(data_set.take(part), detections.take(part), make)
        rows += map(_compact, evaluation.evalImgs)
    evaluation.evalImgs = rows
    evaluation.params.imgIds = list(data_set.image_ids)
    evaluation._paramsEval = copy.deepcopy(evaluation.params)  # as evaluate() leaves it
    return evaluation


def coco_metrics(
    data_set: DataSet, detections: BoxTable, *, backend: str = "pycocotools"
) -> dict[str, float]:
    """AP and AR of boxes without classes.

    Args:
        data_set: images with their true boxes; one without adds only false positives.
        detections: their detections, by the same index.
        backend: "pycocotools", or "faster-coco-eval" where installed (the same
            numbers in half the time, but all boxes in memory at once).

    Returns:
        Per cents: ``ap`` (mean over IoU 0.5, 0.55, ..., 0.95), ``ap50``, ``ap75``, and ``ar1``,
        ``ar10``, ``ar100`` (recall of the 1, 10, 100 best boxes of each image, the same mean).

    Raises:
        InputError: the table has other images, there is no true box, or no such backend.
    """
    check_aligned(data_set, detections)
    if not len(data_set.truth.boxes):
        raise InputError(f"AP needs truth, and none of the {len(data_set)} images has a true box")
    make = _backend(backend)
    match = _matched_in_parts if backend == "pycocotools" else _matched
    with contextlib.redirect_stdout(io.StringIO()):  # they print their progress
        evaluation = match(*_numbered(data_set, detections), make)
        evaluation.accumulate()
    precision = 100 * evaluation.eval["precision"][:, :, 0, 0, -1]  # (10 thresholds, 101 recalls)
    recall = 100 * evaluation.eval["recall"][:, 0, 0, :].mean(0)  # one for each of MAX_BOXES
    ap = precision.mean(1)
    thresholds = np.round(100 * evaluation.params.iouThrs).astype(int).tolist()
    result = {"ap": ap.mean(), "ap50": ap[thresholds.index(50)], "ap75": ap[thresholds.index(75)]}
    result |= {f"ar{k}": value for k, value in zip(MAX_BOXES, recall, strict=True)}
    return {name: float(value) for name, value in result.items()}
