"""FCOS's candidates: the best locations of each level with their boxes, for a whole batch.

Shape letters: N = images, R = locations of all levels, K = classes, C = candidates of an image.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from wend.modeling.fcos.locations import Locations
from wend.modeling.fcos.output import HeadOutput
from wend.modeling.layers.box_selection import best, best_first, take


class Candidates(NamedTuple):
    """Candidates of a batch, best first.

    Attributes:
        boxes: (N, C, 4), xyxy in pixels.
        scores: (N, C), in [0, 1]; 0 where an image has fewer.
        classes: (N, C) int64; None where there is one class.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor | None


def candidates(
    output: HeadOutput, locations: Locations, *, most_per_level: int, above: float = 0.0
) -> Candidates:
    """The best of each level, decoded.

    Args:
        output: the head's.
        locations: of the batch.
        most_per_level: candidates of a level at most, the best.
        above: scores up to this, and what is no number, are no candidates.
    """
    num_classes = output.logits.shape[-1]
    # eq. 4 of arXiv:2006.09214
    likely, central = output.logits.float().sigmoid(), output.centreness.float().sigmoid()
    scores = torch.sqrt(likely * central[..., None])  # (N, R, K)
    scores = torch.where(scores > above, scores, 0.0)
    each, start = [], 0
    for level in scores.split(locations.counts, 1):
        values, index = best(level.flatten(1), most_per_level)
        each.append((values, index + start))
        start += level.shape[1] * num_classes
    if len(each) == 1:
        (values, index) = each[0]
    else:
        values, index = best_first(*(torch.cat(part, 1) for part in zip(*each, strict=True)))
    classes = None
    if num_classes > 1:
        classes = index % num_classes
        index = torch.div(index, num_classes, rounding_mode="floor")
    return Candidates(take(locations.boxes(output.distances), index), values, classes)
