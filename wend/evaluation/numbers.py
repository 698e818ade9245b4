"""Curves and distributions that follow from the scores of each image.

Shape letters: I = images.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wend.evaluation.per_image import PerImage, passes
from wend.evaluation.statistics import mean


def mean_boxes(per_image: PerImage, num_boxes: int | None = None) -> float:
    """Boxes per image among its ``num_boxes`` best (None: all), on average over images."""
    count = per_image.num_boxes
    return float(np.mean(count if num_boxes is None else np.minimum(count, num_boxes)))


def averaged_classes(per_image: PerImage) -> np.ndarray | None:
    """Classes (I,) over which the protocol averages; None where it averages over images."""
    return per_image.class_ids if per_image.protocol.average == "class" else None


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
    class_ids = averaged_classes(per_image)
    if class_ids is None:
        return np.full(len(per_image), 1 / len(per_image))
    _, inverse, count = np.unique(class_ids, return_inverse=True, return_counts=True)
    return 1 / (len(count) * count[inverse])


def max_box_acc(per_image: PerImage, thresholds: Sequence[float] | None = None) -> np.ndarray:
    """Per cent of images whose best-scoring box passes each IoU threshold: (thresholds,).

    MaxBoxAcc takes the best over a score map's thresholds; detections have one set of boxes, so
    that there is nothing to choose.

    Args:
        thresholds: in (0, 1); the protocol's if None.
    """
    protocol = per_image.protocol
    return np.array(
        [
            100.0 * mean(passes(per_image.top_iou, t, protocol.strict), averaged_classes(per_image))
            for t in (protocol.thresholds if thresholds is None else thresholds)
        ]
    )


def iou_histogram(per_image: PerImage, bins: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of images (bins,) and edges (bins + 1,) of equal bins of the best box's IoU, 0..1."""
    return np.histogram(per_image.top_iou, bins=bins, range=(0.0, 1.0))
