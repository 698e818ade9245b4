"""Some of a source's boxes: those that score enough, the best few of an image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from wend.errors import InputError
from wend.files import is_number
from wend.pseudo_boxes.columns import PseudoBoxes
from wend.pseudo_boxes.merge import Count


def select_boxes(
    boxes: PseudoBoxes, min_score: float | None = None, max_boxes: int | None = None
) -> PseudoBoxes:
    """Leave out boxes, counted as "below_min_score" and "beyond_max_boxes".

    Args:
        min_score: lowest score that stays.
        max_boxes: boxes of an image that stay: the first, which are the best where there are
            scores.

    Raises:
        InputError: a value out of range, or min_score of boxes without scores.
    """
    if min_score is not None:
        if boxes.scores is None or not is_number(min_score):
            raise InputError(
                f"{boxes.source}: min_score needs a number and boxes with scores, got "
                f"{min_score!r} and {'none' if boxes.scores is None else 'scores'}"
            )
        boxes = _keep(boxes, boxes.scores >= min_score, "below_min_score")
    if max_boxes is not None:
        if type(max_boxes) is not int or max_boxes < 1:
            raise InputError(f"{boxes.source}: max_boxes must be a number from 1, got {max_boxes}")
        num = np.diff(boxes.offsets)
        rank = np.arange(len(boxes.boxes)) - np.repeat(boxes.offsets[:-1], num)
        boxes = _keep(boxes, rank < max_boxes, "beyond_max_boxes")
    return boxes


def _keep(boxes: PseudoBoxes, kept: np.ndarray, kind: str) -> PseudoBoxes:
    owner = np.repeat(np.arange(len(boxes)), np.diff(boxes.offsets))
    num = np.bincount(owner[kept], minlength=len(boxes))
    counts = {**boxes.counts, kind: Count.of(boxes.keys, owner[~kept])}
    return replace(
        boxes,
        keys=boxes.keys.take(num > 0),
        offsets=np.concatenate([[0], np.cumsum(num[num > 0])]).astype(np.int64),
        boxes=boxes.boxes[kept],
        scores=None if boxes.scores is None else boxes.scores[kept],
        sizes=None if boxes.sizes is None else boxes.sizes[num > 0],
        counts=counts,
    )
