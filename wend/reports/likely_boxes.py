"""The boxes that a picture shows of a detector's: distinct ones, and a score from which on."""

from __future__ import annotations

import numpy as np

from wend.evaluation.score_split import split_score
from wend.structures.box_table import BoxTable
from wend.structures.boxes import box_iou

LIKELY, MOST_SHOWN = 0.5, 5  # score of boxes beside the best, where none is chosen; how many
MAX_IOU = 0.1  # with a better box: more is the same object once more, as a rule


def number_shown(scores: np.ndarray, min_score: float = LIKELY, max_boxes: int = MOST_SHOWN) -> int:
    """How many of an image's boxes are shown: the best one, and further ones from a score on.

    Args:
        scores: of its boxes (N,), best first.
        min_score: of further boxes than the best.
        max_boxes: the best one included.
    """
    return max(int((scores[:max_boxes] >= min_score).sum()), min(len(scores), 1))


def distinct_boxes(detections: BoxTable) -> BoxTable:
    """The boxes, best first, that overlap no better one that stays by more than ``MAX_IOU``."""
    kept = np.ones(len(detections.boxes), dtype=bool)
    for image in np.flatnonzero(detections.counts > 1).tolist():
        boxes = detections[image]
        overlaps = box_iou(boxes, boxes) > MAX_IOU
        stays = kept[detections.offsets[image] : detections.offsets[image + 1]]
        for rank in range(1, len(boxes)):
            stays[rank] = not overlaps[rank, :rank][stays[:rank]].any()
    return detections.keep(kept)


def likely_score(distinct: BoxTable) -> float:
    """The score from which on further boxes than the best of an image are likely objects.

    It needs no truth (:func:`.split_score` of their scores); 0 for boxes without scores.
    """
    return 0.0 if distinct.scores is None else split_score(distinct.scores[distinct.rank > 0])
