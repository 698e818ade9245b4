"""FCOS's candidates, for the heads of both engines.

Shape letters: N = images, R = locations of a level, K = candidates of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from wend.modeling.candidates.base import CandidateDetector, Candidates, Constants
from wend.modeling.layers.box_selection import best, best_first, clip_to, take


class Level(NamedTuple):
    """What the head says on one feature map.

    Attributes:
        logits: (N, R), log-odds of the foreground.
        distances: (N, R, 4), from the location to the box's sides, in strides.
        centreness: (N, R), log-odds.
    """

    logits: Tensor
    distances: Tensor
    centreness: Tensor


class FCOSCandidates(CandidateDetector):
    """FCOS with one foreground class; a subclass implements :meth:`levels`.

    Args:
        anchors: for each level (R, 4), around the locations, with the stride as their sides.
        most_per_level: candidates of a level at most, the best.
        clip_candidates: whether boxes are cut to the crop before the suppression.
        detector: arguments of :class:`CandidateDetector`.
    """

    def __init__(
        self,
        *,
        anchors: Sequence[Tensor],
        most_per_level: int,
        clip_candidates: bool,
        **detector: Any,
    ) -> None:
        super().__init__(**detector)
        self.anchors = Constants(anchors)
        self.most_per_level = most_per_level
        self.clip_candidates = clip_candidates

    def levels(self, images: Tensor) -> list[Level]:
        """The head's output on normalized images, finest level first."""
        raise NotImplementedError

    def candidates(self, images: Tensor) -> Candidates:
        """The best locations of each level, decoded, best first."""
        all_boxes, all_scores = [], []
        for level, anchors in zip(self.levels(images), self.anchors, strict=True):
            scores = torch.sqrt(level.logits.sigmoid() * level.centreness.sigmoid())
            scores, chosen = best(scores, self.most_per_level)
            all_boxes.append(decode(take(level.distances, chosen), anchors[chosen]))
            all_scores.append(scores)
        boxes, scores = torch.cat(all_boxes, 1), torch.cat(all_scores, 1)
        if len(all_boxes) > 1:
            scores, boxes = best_first(scores, boxes)
        return (clip_to(boxes, *self.size) if self.clip_candidates else boxes), scores


def decode(distances: Tensor, squares: Tensor) -> Tensor:
    """Boxes (..., 4) from distances (..., 4), cut at 0, in sides of the squares (..., 4)."""
    sides = squares[..., 2:] - squares[..., :2]
    centre = (squares[..., :2] + squares[..., 2:]) / 2
    reach = distances.relu() * torch.cat([sides, sides], -1)
    return torch.cat([centre - reach[..., :2], centre + reach[..., 2:]], -1)
