"""Which boxes an image is learned from next: ``--keep``.

An image keeps its number of boxes. The score of each, in [0, 1], says how far the looks agree on
it, so that losses may weigh by it.

Shape letters: I = images, B = fused boxes, P = boxes of an image.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from wend.pseudo_boxes.fusion import IOU_THRESHOLD
from wend.rounds.looks import Fused
from wend.structures.box_table import BoxTable
from wend.structures.boxes import box_iou

AGREED = 0.75  # least agreement of the looks on a box that takes the place of another


def keep_all(present: BoxTable, fused: Fused) -> BoxTable:
    """The best fused boxes, whatever they are; an image of which there is none keeps its own."""
    return _replace(present, fused, least=0.0)


def keep_agreed(present: BoxTable, fused: Fused) -> BoxTable:
    """The best fused boxes that the looks agree on, and present ones in the place of the others."""
    return _replace(present, fused, least=AGREED)


def keep_only_agreed(present: BoxTable, fused: Fused) -> BoxTable:
    """The best fused boxes that the looks agree on; images without any are left out.

    Where that is every image, all keep their own.
    """
    kept = keep_agreed(present, fused)
    assert kept.scores is not None
    agreed = np.asarray(kept.scores >= AGREED)
    return kept.keep(agreed) if agreed.any() else kept


# --keep -> present boxes of I images and fused ones -> boxes with scores
KEEP: dict[str, Callable[[BoxTable, Fused], BoxTable]] = {
    "agreed": keep_agreed,
    "only-agreed": keep_only_agreed,
    "all": keep_all,
}


def _replace(present: BoxTable, fused: Fused, least: float) -> BoxTable:
    """For each image the first fused boxes of at least that agreement, then its own elsewhere."""
    boxes, scores = [], []
    for image in range(len(present)):
        old, new = present[image], fused.boxes[image]
        agreement = fused.agreement[fused.boxes.offsets[image] : fused.boxes.offsets[image + 1]]
        chosen = np.flatnonzero(agreement[: len(old)] >= least)
        iou = box_iou(old, new)
        elsewhere = (iou[:, chosen] <= IOU_THRESHOLD).all(1)
        rows = np.flatnonzero(elsewhere)[: len(old) - len(chosen)]
        boxes.append(np.concatenate([new[chosen], old[rows]]))
        seen = (iou[rows] * agreement).max(1, initial=0.0)
        scores.append(np.concatenate([agreement[chosen], seen]))
    return BoxTable.from_lists(boxes, scores)
