"""Ways of looking at an image with a detector, and what the boxes of several looks have in common.

Looks differ in the image that is shown (as it is, mirrored, larger) or in the detector (another
seed): where they err differently, they agree where they are right.

Shape letters: I = images, B = fused boxes of all images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from fvcore.common.config import CfgNode

from wend.pseudo_boxes.fusion import fuse_boxes
from wend.structures.box_table import BoxTable

LARGER = 1.25  # times the sides of the look "plain"
CLOSER = 1.5  # WEND.CLOSER_LOOK of the look "closer"
MOST = 10  # boxes of an image that a look has a say with, at least


def _larger(cfg: CfgNode) -> dict[str, str]:
    sides = {"WEND.RESIZE": cfg.WEND.RESIZE, "WEND.CROP": cfg.WEND.CROP}
    return {entry: str(round(LARGER * side)) for entry, side in sides.items()}


# name -> the config entries that a detector is evaluated with
LOOKS: dict[str, Callable[[CfgNode], dict[str, str]]] = {
    "plain": lambda cfg: {},
    "mirror": lambda cfg: {"WEND.MIRROR": str(not cfg.WEND.MIRROR)},
    "larger": _larger,
    "closer": lambda cfg: {"WEND.CLOSER_LOOK": str(CLOSER)},
}
DEFAULT_LOOKS = ("plain", "mirror")


@dataclass(frozen=True)
class Fused:
    """Boxes that looks have in common.

    Attributes:
        boxes: best first; the score is the sum of those that a box is made of, per look.
        agreement: (B,) mean over the pairs of looks of their IoU, in [0, 1], as
            :func:`wend.pseudo_boxes.fusion.fuse_boxes` has it; 1 of a single look.
    """

    boxes: BoxTable
    agreement: np.ndarray


def fuse(looks: Sequence[BoxTable], most: int = MOST) -> Fused:
    """Fuse the boxes of several looks at the same images (weighted box fusion).

    The best box is that of the largest score, not that of the largest agreement: looks agree on
    many of a detector's boxes of low score, too.

    Args:
        looks: detections with scores in [0, 1], in original pixels.
        most: boxes of an image that each look has a say with, the best.
    """
    firsts = [look.first(most) for look in looks]
    if len(firsts) == 1:
        return Fused(firsts[0], np.ones(len(firsts[0].boxes)))
    fused = fuse_boxes(firsts)
    agreement, owner = fused.table.scores, fused.table.owner
    assert agreement is not None
    order = np.lexsort((-fused.support, owner))
    boxes = BoxTable.from_rows(
        owner[order], fused.table.boxes[order], fused.support[order] / len(looks), len(firsts[0])
    )
    return Fused(boxes, agreement[order])
