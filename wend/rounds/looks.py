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

from wend.structures.box_table import NO_BOXES, BoxTable
from wend.structures.boxes import box_iou, paired_iou

LARGER = 1.25  # times the sides of the look "plain"
CLOSER = 1.5  # WEND.CLOSER_LOOK of the look "closer"
SAME = 0.55  # IoU from which on boxes of two looks are of one object
MOST = 10  # boxes of an image that a look has a say with, the best


def _larger(cfg: CfgNode) -> dict[str, str]:
    sides = {"WEND.RESIZE": cfg.WEND.RESIZE, "WEND.CROP": cfg.WEND.CROP}
    return {entry: str(round(LARGER * side)) for entry, side in sides.items()}


# name -> the config entries that a detector is evaluated with
LOOKS: dict[str, Callable[[CfgNode], dict[str, str]]] = {
    "plain": lambda cfg: {},
    "mirror": lambda cfg: {"WEND.MIRROR": "True"},
    "larger": _larger,
    "closer": lambda cfg: {"WEND.CLOSER_LOOK": str(CLOSER)},
}
DEFAULT_LOOKS = ("plain", "mirror", "larger")


@dataclass(frozen=True)
class Fused:
    """Boxes that looks have in common.

    Attributes:
        boxes: best first; a box's score is the mean over looks, 0 of those that do not have it.
        agreement: (B,) mean over looks of the IoU of a look's box with the fused one, 0 where a
            look has none; in [0, 1].
    """

    boxes: BoxTable
    agreement: np.ndarray


def fuse(looks: Sequence[BoxTable]) -> Fused:
    """Fuse the boxes of several looks at the same images (weighted box fusion).

    From the highest score down, a box joins the fused box of the largest IoU, if that is at least
    :data:`SAME` and holds no box of the same look, and else begins one; a fused box is the mean of
    its boxes, weighted by score. (Solovyev, Wang, Gabruseva, arXiv:1910.13302.)

    Args:
        looks: detections with scores in (0, 1], in original pixels.
    """
    rows: list[np.ndarray] = []
    owners: list[int] = []
    firsts = [look.first(MOST) for look in looks]
    for image in range(len(firsts[0])):
        fused = _fuse_image(
            [look[image] for look in firsts],
            [_scores(look, image) for look in firsts],
        )
        rows.append(fused)
        owners += [image] * len(fused)
    table = np.concatenate([np.zeros((0, 6)), *rows])
    order = np.lexsort((-table[:, 4], np.array(owners, dtype=np.int64)))
    owner = np.array(owners, dtype=np.int64)[order]
    boxes = BoxTable.from_rows(owner, table[order, :4], table[order, 4], len(firsts[0]))
    return Fused(boxes, table[order, 5])


def _scores(table: BoxTable, image: int) -> np.ndarray:
    assert table.scores is not None
    return table.scores[table.offsets[image] : table.offsets[image + 1]]


def _fuse_image(boxes: Sequence[np.ndarray], scores: Sequence[np.ndarray]) -> np.ndarray:
    """Fused boxes (n, 6) of an image: four corners, score, agreement."""
    look = np.repeat(np.arange(len(boxes)), [len(each) for each in boxes])
    every, score = np.concatenate([NO_BOXES, *boxes]), np.concatenate([np.zeros(0), *scores])
    groups: list[list[int]] = []
    means = NO_BOXES
    for row in np.argsort(-score, kind="stable").tolist():
        iou = box_iou(every[row : row + 1], means)[0]
        taken = [look[row] in look[group] for group in groups]
        iou = np.where(taken, -1.0, iou)
        if len(iou) and iou.max() >= SAME:
            best = int(iou.argmax())
            groups[best].append(row)
            means[best] = np.average(every[groups[best]], axis=0, weights=score[groups[best]])
        else:
            groups.append([row])
            means = np.concatenate([means, every[row : row + 1]])
    fused = np.zeros((len(groups), 6))
    for i, group in enumerate(groups):
        fused[i, :4] = means[i]
        fused[i, 4] = score[group].sum() / len(boxes)
        same = np.repeat(means[i : i + 1], len(group), 0)
        fused[i, 5] = paired_iou(every[group], same).sum() / len(boxes)
    return fused
