"""The numbers of ``wend boxes report``.

Shape letters: I = images, B = boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wend.evaluation.metrics import accuracy
from wend.evaluation.per_image import score
from wend.evaluation.protocols import get_protocol
from wend.images.orientation import UPRIGHT, read_orientations
from wend.pseudo_boxes import AttachReport
from wend.reports.boxes_baselines import baseline_tables
from wend.structures.box_table import BoxTable
from wend.structures.boxes import box_iou, paired_iou
from wend.structures.data_set import DataSet

QUANTILES = (5, 25, 50, 75, 95)
BINS = 20
MOST_HEADERS = 2000  # images whose EXIF is looked at
SHARES, ASPECTS = np.linspace(0, 1, BINS + 1), np.logspace(-3, 3, BINS + 1, base=2)


def shape_numbers(boxes: BoxTable, sizes: np.ndarray) -> dict[str, np.ndarray]:
    """Shapes of the boxes, each (B,): share of the image's area, and width by height.

    Args:
        sizes: (I, 2) width and height of the images.
    """
    sides = boxes.boxes[:, 2:] - boxes.boxes[:, :2]
    return {
        "area / image": boxes.areas() / sizes.prod(1).astype(np.float64)[boxes.owner],
        "width / height": sides[:, 0] / sides[:, 1],
    }


def shape_histograms(boxes: BoxTable, sizes: np.ndarray) -> dict[str, dict[str, list]]:
    """Histograms of :func:`shape_numbers`: title -> ``edges`` and ``numbers``."""
    shapes = shape_numbers(boxes, sizes)
    return {
        "area / image": _histogram(shapes["area / image"], SHARES),
        "width / height": _histogram(shapes["width / height"], ASPECTS),
    }


def agreement(a: BoxTable, b: BoxTable) -> dict[str, np.ndarray]:
    """IoU of two sources' first boxes, and of their nearest, on images where both have boxes."""
    both = np.flatnonzero((a.counts > 0) & (b.counts > 0))
    first = paired_iou(a.boxes[a.offsets[both]], b.boxes[b.offsets[both]])
    nearest = first
    several = np.flatnonzero((a.counts[both] > 1) | (b.counts[both] > 1))
    if len(several):
        nearest = first.copy()
        nearest[several] = [box_iou(a[i], b[i]).max() for i in both[several].tolist()]
    return {"first boxes": first, "nearest boxes": nearest}


def truth_scores(
    boxes: BoxTable, data_set: DataSet, protocols: Sequence[str]
) -> tuple[dict[str, dict], np.ndarray]:
    """GT-known Loc of the boxes under each protocol, on images whose truth is known.

    Returns:
        Protocol -> numbers in per cent, and the IoU (n,) of the first box with the truth under the
        first protocol; both empty where no truth is known.
    """
    known = data_set.truth.with_boxes
    if not len(known):
        return {}, np.zeros(0)
    data_set, boxes = data_set.take(known), boxes.take(known)
    scores = {name: score(data_set, boxes.scored(), get_protocol(name)) for name in protocols}
    numbers = {
        name: {
            "images": len(per_image),
            "gt_known_loc": accuracy(per_image, "gt_known_loc"),
            "gt_known_loc_any_box": accuracy(per_image, "gt_known_loc_multi"),
            "mean_iou": accuracy(per_image, "mean_iou"),
        }
        for name, per_image in scores.items()
    }
    return numbers, scores[protocols[0]].top_iou


def baseline_scores(
    boxes: BoxTable, data_set: DataSet, protocols: Sequence[str]
) -> dict[str, dict[str, dict]]:
    """Numbers of boxes that never look at the image, on the images whose truth is known.

    Args:
        boxes: the source's: fixed boxes are as many per image as it has on the average.

    Returns:
        Protocol -> name of the boxes -> numbers as of :func:`truth_scores`.
    """
    known = data_set.truth.with_boxes
    if not len(known):
        return {}
    data_set, counts = data_set.take(known), boxes.counts[known]
    k = max(1, round(float(counts[counts > 0].mean()))) if counts.any() else 1
    return {
        name: {
            title: truth_scores(table, data_set, [name])[0][name]
            for title, table in baseline_tables(data_set, get_protocol(name), k)
        }
        for name in protocols
    }


def exif_numbers(data_set: DataSet) -> dict[str, Any]:
    """How many images EXIF's orientation would turn, of some spread evenly over the data set."""
    every = len(data_set)
    picks = np.linspace(0, every - 1, min(every, MOST_HEADERS)).astype(np.int64)
    files = [data_set.file_names[i] for i in picks.tolist()]
    there = [file for file in files if Path(file).is_file()]
    turned = [int(value) for value in read_orientations(there) if value != UPRIGHT]
    kinds = {str(value): turned.count(value) for value in sorted(set(turned))}
    return {
        "policy": data_set.exif,
        "looked_at": len(there),
        "turned": len(turned),
        "orientations": kinds,
    }


def _quantiles(values: np.ndarray) -> dict[str, float]:
    marks = np.percentile(values, QUANTILES).tolist() if len(values) else []
    named = {f"p{q}": mark for q, mark in zip(QUANTILES, marks, strict=False)}
    return {"number": len(values), "mean": float(values.mean()) if len(values) else 0.0, **named}


def _histogram(values: np.ndarray, edges: np.ndarray) -> dict[str, list]:
    inside = values.clip(edges[0], edges[-1])
    return {"edges": edges.tolist(), "numbers": np.histogram(inside, edges)[0].tolist()}


def describe(
    data_set: DataSet,
    boxes: BoxTable,
    report: AttachReport,
    protocols: Sequence[str],
    other: tuple[BoxTable, AttachReport] | None = None,
) -> dict[str, Any]:
    """All numbers of the report as plain values.

    Args:
        boxes: a source's boxes of the data set's images, best first.
        report: the report of their join.
        protocols: names of the protocols of GT-known Loc.
        other: boxes and report of a source to compare with.
    """
    shapes = shape_numbers(boxes, data_set.sizes)
    scores, iou = truth_scores(boxes, data_set, protocols)
    numbers: dict[str, Any] = {
        "counts": report.to_dict(),
        "coverage": 100.0 * report.matched / len(data_set),
        "shapes": {name: _quantiles(values) for name, values in shapes.items()},
        "histograms": shape_histograms(boxes, data_set.sizes),
        "exif": exif_numbers(data_set),
        "baselines": baseline_scores(boxes, data_set, protocols),
        "truth": scores,
    }
    if len(iou):
        numbers["histograms"]["IoU with the truth"] = _histogram(iou, SHARES)
    if other is None:
        return numbers
    others, other_report = other
    ious = agreement(boxes, others)
    numbers["other"] = {
        "counts": other_report.to_dict(),
        "truth": truth_scores(others, data_set, protocols)[0],
        "only_first": int(((boxes.counts > 0) & (others.counts == 0)).sum()),
        "only_other": int(((boxes.counts == 0) & (others.counts > 0)).sum()),
        "agreement": {
            name: {**_quantiles(values), "share_above_half": 100.0 * float((values > 0.5).mean())}
            for name, values in ious.items()
            if len(values)
        },
    }
    numbers["histograms"]["IoU of both sources"] = _histogram(ious["first boxes"], SHARES)
    return numbers
