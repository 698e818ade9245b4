"""Which detections are right, and which score tells them best from the wrong ones.

Shape letters: B = detected boxes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wend.structures.box_table import BoxTable
from wend.structures.boxes import box_iou

# below these a threshold says more about its few photos than about the detector
FEWEST_IMAGES, LEAST_F1 = 10, 0.3
IOU = 0.5


def match(detections: BoxTable, reference: BoxTable, iou_threshold: float = IOU) -> np.ndarray:
    """Whether each detected box (B,) is right: best first, each takes a reference box of its own.

    A box takes, of the reference boxes of its image that none before it took, the one of the
    largest IoU, if that is at least the threshold. What a box is does not depend on those of lower
    scores, so that the same answer serves every score threshold.
    """
    right = np.zeros(len(detections.boxes), dtype=bool)
    for image in np.flatnonzero((detections.counts > 0) & (reference.counts > 0)).tolist():
        iou = box_iou(detections[image], reference[image])
        for rank in range(len(iou)):
            best = int(iou[rank].argmax())
            if iou[rank, best] >= iou_threshold:
                right[detections.offsets[image] + rank] = True
                iou[:, best] = -1.0
    return right


@dataclass(frozen=True)
class ScoreThreshold:
    """The score from which on boxes agree best with reference boxes.

    Attributes:
        min_score: boxes that score less are left out.
        f1: harmonic mean of precision and recall there, 0..1.
        boxes_per_image: how many boxes are left, on the average.
    """

    min_score: float
    f1: float
    boxes_per_image: float


def best_threshold(detections: BoxTable, reference: BoxTable) -> ScoreThreshold | None:
    """The threshold of the largest F1 at IoU 0.5; of equal ones the highest.

    Returns:
        None where no detection is right, so that no threshold is better than another.
    """
    right = match(detections, reference)
    if detections.scores is None or not right.any():
        return None
    order = np.argsort(-detections.scores, kind="stable")
    scores, hits = detections.scores[order], np.cumsum(right[order])
    kept = np.arange(1, len(order) + 1)
    f1 = 2 * hits / (kept + len(reference.boxes))
    last_of_equal = np.append(scores[1:] < scores[:-1], True)
    best = int(np.where(last_of_equal, f1, -1.0).argmax())
    return ScoreThreshold(float(scores[best]), float(f1[best]), float(kept[best] / len(detections)))


def doubt_of(threshold: ScoreThreshold | None, images: int) -> str:
    """Why a threshold that was chosen on so many images is not to be advised; empty where it is."""
    if threshold is None:
        return (
            f"no box of the detector has IoU {IOU:g} with a held-out pseudo box; it needs more "
            "minutes, or better pseudo boxes"
        )
    if images >= FEWEST_IMAGES and threshold.f1 >= LEAST_F1:
        return ""
    return (
        f"on {images} held-out photos the largest F1 with their pseudo boxes is "
        f"{threshold.f1:.2f}; it takes at least {FEWEST_IMAGES} photos and an F1 of {LEAST_F1:g}"
    )
