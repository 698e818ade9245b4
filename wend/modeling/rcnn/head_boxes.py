"""The boxes that an R-CNN's head predicts of a batch, as candidates that are chosen from.

With :func:`wend.modeling.layers.box_choice.chosen` they are those of Detectron2's
``fast_rcnn_inference`` and ``detector_postprocess``, and of torchvision's
``postprocess_detections``.

Shape letters: N = images, P = proposals of an image at most, B = proposals of all images, C =
foreground classes, K = P · C candidates of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from wend.modeling.layers.box_choice import cut_at
from wend.modeling.layers.box_selection import take


class HeadCandidates(NamedTuple):
    """The boxes of all proposals and classes, best first.

    Attributes:
        boxes: (N, K, 4) xyxy in pixels, cut at the borders of the images.
        scores: (N, K) in [0, 1]; 0 where there is none.
        classes: (N, K) int64; None: there is one class.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor | None


def head_candidates(
    decoded: Tensor,
    scores: Tensor,
    places: Tensor,
    shape: Sequence[int],
    borders: Tensor,
    min_side: float = 0.0,
) -> HeadCandidates:
    """The head's output of the B proposals of a batch as candidates of its images.

    A proposal of which a box or score is not finite has none.

    Args:
        decoded: (B, C, 4), or (B, 1, 4) of a regressor that knows no classes, xyxy in pixels.
        scores: (B, C), in [0, 1].
        places: (B,) index of each proposal among N·P.
        shape: N and P.
        borders: of the images, (N or 1, 1, 4).
        min_side: boxes with a shorter side, in pixels, are none.
    """
    per_class = scores.shape[1]
    finite = decoded.isfinite().flatten(1).all(1) & scores.isfinite().all(1)
    scores = torch.where(finite[:, None], scores, 0.0)
    decoded = torch.where(finite[:, None, None], decoded, 0.0)
    rows = shape[0] * shape[1]
    all_scores = scores.new_zeros(rows, per_class).index_put((places,), scores)
    all_boxes = decoded.new_zeros(rows, *decoded.shape[1:]).index_put((places,), decoded)
    boxes = cut_at(all_boxes.reshape(-1, shape[1] * decoded.shape[1], 4), borders)
    scores = all_scores.reshape(-1, shape[1] * per_class)
    if min_side > 0:
        whole = (boxes[..., 2:] - boxes[..., :2] >= min_side).all(-1)
        if decoded.shape[1] < per_class:
            whole = whole.repeat_interleave(per_class, 1)
        scores = torch.where(whole, scores, 0.0)
    scores, order = scores.sort(dim=1, descending=True, stable=True)
    if per_class == 1:
        return HeadCandidates(take(boxes, order), scores, None)
    owner = order // per_class if decoded.shape[1] < per_class else order
    return HeadCandidates(take(boxes, owner), scores, order % per_class)
