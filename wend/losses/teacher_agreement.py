"""Images whose pseudo boxes the teacher disagrees with teach less or nothing.

Shape letters: N = images, P = boxes of an image, T = the teacher's boxes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wend.losses.box_iou import paired_iou
from wend.losses.context import ImagesContext
from wend.losses.padded_boxes import PaddedBoxes
from wend.losses.selection import kept, selected_share
from wend.losses.weights import image_weights


@image_weights("teacher_agreement", node="TEACHER_AGREEMENT")
def teacher_agreement(
    images: ImagesContext,
    *,
    iou: float = 0.5,
    drop: float = 0.0,
    floor: float = 0.0,
    start: float = 0.1,
    ramp: float = 0.2,
) -> Tensor:
    """1 for images where the teacher's best box is near a pseudo box, ``floor`` for the others.

    Near is an IoU of at least ``iou``; or, with a ``drop`` above 0, the others are the share of
    the batch that agrees least. The weight of the others goes from 1 to ``floor``, or the share
    from 0 to ``drop``, as :func:`wend.losses.selection.selected_share` says. Images without pseudo
    boxes, and all of a batch without a teacher, have weight 1; where the teacher sees no object it
    disagrees.

    Args:
        images: boxes of the batch, and the teacher's (``WEND.EMA`` and ``WEND.REFINE``).
        iou: in [0, 1].
        drop: in [0, 1); 0: ``iou`` decides.
        floor: weight of those that disagree, in [0, 1].
        start: share of the training before which all have weight 1, in [0, 1).
        ramp: share of the training in which the end is reached, in [0, 1].

    Returns:
        Weights (N,).
    """
    agreed, ranked = agreements(images)
    if drop:
        share = selected_share(images.progress, drop=drop, start=start, ramp=ramp)
        agree, down = kept(-agreed, ranked, share), 1 - floor
    else:
        agree = (agreed >= iou) | ~ranked
        down = selected_share(images.progress, drop=1 - floor, start=start, ramp=ramp)
    return 1 - down * (~agree).float()


def agreements(images: ImagesContext) -> tuple[Tensor, Tensor]:
    """IoU of the teacher's best box and the nearest pseudo box, and whether there are both, (N,).

    0 where the teacher has no box; where there is no pseudo box, or no teacher, nothing to rank.
    """
    own = images.padded
    none = own.boxes.new_zeros(len(images))
    if images.teacher is None:
        return none, none.bool()
    ranked = own.is_box.any(1)
    if not own.boxes.shape[1]:
        return none, ranked
    theirs = PaddedBoxes.of([boxes for boxes, _ in images.teacher])
    if not theirs.boxes.shape[1]:
        return none, ranked
    scores = theirs.padded([scores for _, scores in images.teacher])
    best = scores.where(theirs.is_box, -torch.inf).argmax(1, keepdim=True)
    box = theirs.boxes.take_along_dim(best[..., None], 1)  # (N, 1, 4), 0 of a teacher without any
    shared = paired_iou(box, own.boxes).where(own.is_box & theirs.is_box[:, :1], 0.0)
    return shared.amax(1), ranked
