"""Every number of a table as a pure function of the scores of each image.

Shape letters: I = images, T = the protocol's thresholds, K = boxes a multi-box metric may look at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wend.evaluation.metrics.per_image import NO_HIT, PerImage, passes


@dataclass(frozen=True)
class Metric:
    """What makes an image a hit.

    Attributes:
        classes: the true class must be among this many best; None where the class is known.
        multi: one of the K best boxes must be correct (True), or the best one (False).
        max_boxes: a limit to K.
    """

    classes: int | None
    multi: bool
    max_boxes: int | None = None


METRICS = {
    "gt_known_loc": Metric(None, multi=False),
    "gt_known_loc_multi": Metric(None, multi=True),
    "top1_loc": Metric(1, multi=False),
    "top5_loc": Metric(5, multi=False),
    "top5_loc_multi": Metric(5, multi=True, max_boxes=5),
}


def hits(
    per_image: PerImage, name: str, k: int | None = None, *, threshold: float | None = None
) -> np.ndarray:
    """Which images (I,) are hits of a metric, as booleans.

    Args:
        name: one of ``METRICS``.
        k: K >= 1 of a ``_multi`` metric; None for all boxes.
        threshold: one of the protocol's; needed if it has several.
    """
    metric, protocol = METRICS[name], per_image.protocol
    if threshold is None:
        if len(protocol.thresholds) > 1:
            raise ValueError(f"protocol {protocol.name} has several thresholds: say which")
        threshold = protocol.thresholds[0]
    strict = protocol.strictness(classified=metric.classes is not None)
    rank = per_image.hit_rank[protocol.criteria.index((threshold, strict))]
    right = rank < _box_limit(metric, k)
    if metric.classes is None:
        return right
    if per_image.class_rank is None:
        raise ValueError(f"{name} needs class predictions")
    return right & (per_image.class_rank < metric.classes)


def _box_limit(metric: Metric, k: int | None) -> int:
    if k is not None and k < 1:
        raise ValueError(f"K must be >= 1 or None (all), got {k}")
    if not metric.multi:
        return 1
    return min(limit for limit in (k, metric.max_boxes, NO_HIT) if limit is not None)


def values(per_image: PerImage, name: str, k: int | None = None) -> np.ndarray:
    """The metric's value of each image (I,) in [0, 1]: the mean of its hits over thresholds.

    With one threshold these are the hits as 0 and 1; a bootstrap resamples them.
    """
    thresholds = per_image.protocol.thresholds
    return np.mean([hits(per_image, name, k, threshold=t) for t in thresholds], axis=0)


def average(per_image: PerImage, of: np.ndarray) -> float:
    """Mean of values (I,) over images, or over classes if the protocol says so."""
    if per_image.protocol.average == "image":
        return float(np.mean(of))
    _, inverse = np.unique(per_image.class_ids, return_inverse=True)
    return float((np.bincount(inverse, weights=of) / np.bincount(inverse)).mean())


def accuracy(per_image: PerImage, name: str, k: int | None = None) -> float:
    """The metric in per cent; arguments as for :func:`hits`."""
    return 100.0 * average(per_image, values(per_image, name, k))


def mean_boxes(per_image: PerImage, k: int | None = None) -> float:
    """Boxes an image among its K best (None: all), on average over images."""
    count = per_image.num_boxes
    return float(np.mean(count if k is None else np.minimum(count, k)))


def recall_curve(per_image: PerImage, max_boxes: int) -> np.ndarray:
    """``gt_known_loc_multi`` in per cent at K = 1..max_boxes: (max_boxes,), never falling."""
    protocol = per_image.protocol
    weight = _weights(per_image) / len(protocol.thresholds)
    curve = np.zeros(max_boxes)
    for threshold in protocol.thresholds:
        rank = per_image.hit_rank[protocol.criteria.index((threshold, protocol.strict))]
        near = rank < max_boxes
        curve += np.bincount(rank[near], weights=weight[near], minlength=max_boxes)
    return 100.0 * np.cumsum(curve)


def _weights(per_image: PerImage) -> np.ndarray:
    """Each image's share (I,) of an average; they sum to 1."""
    if per_image.protocol.average == "image":
        return np.full(len(per_image), 1 / len(per_image))
    _, inverse, count = np.unique(per_image.class_ids, return_inverse=True, return_counts=True)
    return 1 / (len(count) * count[inverse])


def max_box_acc(
    per_image: PerImage, thresholds: Sequence[float] | None = None, *, any_box: bool = False
) -> np.ndarray:
    """Per cent of images (as many as thresholds,) whose box passes each IoU threshold.

    MaxBoxAcc takes the best over a score map's thresholds; detections have one set of boxes, so
    that there is nothing to choose.

    Args:
        thresholds: in (0, 1); the protocol's if None.
        any_box: the best of all boxes (as MaxBoxAccV2 with several contours) instead of the
            best-scoring one.
    """
    protocol = per_image.protocol
    iou = per_image.best_iou if any_box else per_image.top_iou
    return np.array(
        [
            100.0 * average(per_image, passes(iou, t, protocol.strict))
            for t in (protocol.thresholds if thresholds is None else thresholds)
        ]
    )


def mean_iou(per_image: PerImage, *, any_box: bool = False) -> float:
    """Mean IoU in [0, 1] of the best-scoring box (or of the best box) with its best true box."""
    return average(per_image, per_image.best_iou if any_box else per_image.top_iou)


def iou_histogram(
    per_image: PerImage, bins: int = 20, *, any_box: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of images (bins,) and edges (bins + 1,) of equal bins of IoU in [0, 1]."""
    iou = per_image.best_iou if any_box else per_image.top_iou
    return np.histogram(iou, bins=bins, range=(0.0, 1.0))


def summary(
    per_image: PerImage,
    ks: Sequence[int | None] = (1, 5, 10, None),
    *,
    curve: int = 100,
    thresholds: Sequence[float] = (0.3, 0.5, 0.7),
) -> dict:
    """All of the above as plain values, for ``metrics.json``.

    Args:
        ks: K of the multi-box metrics; None for all boxes.
        curve: the recall curve's last K.
        thresholds: of MaxBoxAcc.
    """
    known = [n for n, m in METRICS.items() if m.classes is None or per_image.class_rank is not None]
    multi = [n for n in known if METRICS[n].multi]
    return {
        "metrics": {n: accuracy(per_image, n) for n in known if n not in multi},
        "multi": {
            "all" if k is None else str(k): {
                **{n: accuracy(per_image, n, k) for n in multi},
                "mean_boxes": mean_boxes(per_image, k),
            }
            for k in ks
        },
        "recall_at_k": recall_curve(per_image, curve).tolist(),
        "max_box_acc": dict(
            zip(map(str, thresholds), max_box_acc(per_image, thresholds).tolist(), strict=True)
        ),
        "mean_top_iou": mean_iou(per_image),
        "mean_best_iou": mean_iou(per_image, any_box=True),
        "iou_histogram": iou_histogram(per_image)[0].tolist(),
        "num_images": len(per_image),
        "num_excluded": per_image.num_excluded,
        "protocol": per_image.protocol.to_dict(),
    }
