"""The numbers of ``wend boxes report``.

Shape letters: I = images, B = boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wend.evaluation.metrics import accuracy
from wend.evaluation.per_image import score
from wend.evaluation.protocols import get_protocol
from wend.pseudo_boxes import JoinedBoxes
from wend.structures.box_table import BoxTable
from wend.structures.boxes import box_area, box_iou, paired_iou
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

QUANTILES = (5, 25, 50, 75, 95)
BINS = 20
SHARES, ASPECTS = np.linspace(0, 1, BINS + 1), np.logspace(-3, 3, BINS + 1, base=2)


@dataclass(frozen=True, eq=False)
class Boxes:
    """A source's boxes of a data set.

    Attributes:
        name: the source as it was given.
        joined: its boxes by image.
    """

    name: str
    joined: JoinedBoxes

    def of(self, place: int) -> np.ndarray:
        """Boxes (P, 4) of one image, best first."""
        start, end = self.joined.offsets[place : place + 2]
        return self.joined.boxes[start:end]

    @property
    def num(self) -> np.ndarray:
        """Boxes of each image (I,)."""
        return np.diff(self.joined.offsets)

    def detections(self) -> BoxTable:
        """As if a detector had predicted them; all with score 1 where the source has none."""
        joined = self.joined
        return BoxTable(joined.offsets, joined.boxes, joined.scores).scored()


def shape_numbers(boxes: Boxes, records: Sequence[ImageRecord]) -> dict[str, np.ndarray]:
    """Of each box (B,): its share of the image's area, its width by its height."""
    sizes = np.array([(r.width, r.height) for r in records], dtype=np.float64)
    areas = np.repeat(sizes.prod(1), boxes.num)
    sides = boxes.joined.boxes[:, 2:] - boxes.joined.boxes[:, :2]
    return {
        "area / image": box_area(boxes.joined.boxes) / areas,
        "width / height": sides[:, 0] / sides[:, 1],
    }


def agreement(a: Boxes, b: Boxes) -> dict[str, np.ndarray]:
    """IoU of two sources on the images where both have a box: of the first, of the nearest two."""
    both = np.flatnonzero((a.num > 0) & (b.num > 0))
    first = paired_iou(
        a.joined.boxes[a.joined.offsets[both]], b.joined.boxes[b.joined.offsets[both]]
    )
    best = first
    several = np.flatnonzero((a.num[both] > 1) | (b.num[both] > 1))
    if len(several):
        best = first.copy()
        best[several] = [box_iou(a.of(i), b.of(i)).max() for i in both[several]]
    return {"first boxes": first, "nearest boxes": best}


def truth_scores(
    boxes: Boxes, records: Sequence[ImageRecord], protocols: Sequence[str]
) -> tuple[dict[str, dict], np.ndarray]:
    """GT-known Loc of the boxes under each protocol, on images whose truth is known.

    Returns:
        Protocol -> numbers in per cent, and the IoU (n,) of the first box with the truth under the
        first protocol; nothing where no truth is known.
    """
    data_set = DataSet.from_records(records)
    known = data_set.truth.with_boxes
    if not len(known):
        return {}, np.zeros(0)
    data_set, detections = data_set.take(known), boxes.detections().take(known)
    scores, iou = {}, None
    for name in protocols:
        per_image = score(data_set, detections, get_protocol(name))
        iou = per_image.top_iou if iou is None else iou
        scores[name] = {
            "images": len(per_image),
            "gt_known_loc": accuracy(per_image, "gt_known_loc"),
            "gt_known_loc_any_box": accuracy(per_image, "gt_known_loc_multi"),
            "mean_iou": accuracy(per_image, "mean_iou"),
        }
    return scores, iou


def _quantiles(values: np.ndarray) -> dict[str, float]:
    marks = np.percentile(values, QUANTILES).tolist() if len(values) else []
    named = {f"p{q}": mark for q, mark in zip(QUANTILES, marks, strict=False)}
    return {"number": len(values), "mean": float(values.mean()) if len(values) else 0.0, **named}


def _histogram(values: np.ndarray, edges: np.ndarray) -> dict[str, list]:
    inside = values.clip(edges[0], edges[-1])
    return {"edges": edges.tolist(), "numbers": np.histogram(inside, edges)[0].tolist()}


def describe(
    boxes: Boxes, records: Sequence[ImageRecord], protocols: Sequence[str], other: Boxes | None
) -> dict:
    """All numbers of the report as plain values."""
    shapes = shape_numbers(boxes, records)
    scores, iou = truth_scores(boxes, records, protocols)
    found = {
        "counts": boxes.joined.report.to_dict(),
        "coverage": 100.0 * boxes.joined.report.matched / len(records),
        "shapes": {name: _quantiles(values) for name, values in shapes.items()},
        "histograms": {
            "area / image": _histogram(shapes["area / image"], SHARES),
            "width / height": _histogram(shapes["width / height"], ASPECTS),
        },
        "truth": scores,
    }
    if len(iou):
        found["histograms"]["IoU with the truth"] = _histogram(iou, SHARES)
    if other is None:
        return found
    both = agreement(boxes, other)
    found["other"] = {
        "counts": other.joined.report.to_dict(),
        "truth": truth_scores(other, records, protocols)[0],
        "only_first": int(((boxes.num > 0) & (other.num == 0)).sum()),
        "only_other": int(((boxes.num == 0) & (other.num > 0)).sum()),
        "agreement": {
            name: {**_quantiles(values), "share_above_half": 100.0 * float((values > 0.5).mean())}
            for name, values in both.items()
            if len(values)
        },
    }
    found["histograms"]["IoU of both sources"] = _histogram(both["first boxes"], SHARES)
    return found
