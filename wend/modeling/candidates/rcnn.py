"""Faster R-CNN's candidates, for the parts of both engines.

Shape letters: N = images, R = anchors of a level, P = proposals of an image, B = proposals of all
images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from wend.modeling.candidates.base import CandidateDetector, Candidates
from wend.modeling.layers.box_choice import borders
from wend.modeling.layers.box_selection import (
    best,
    best_first,
    clip_to,
    not_suppressed,
    packed,
    take,
)
from wend.modeling.rcnn.head_boxes import head_candidates
from wend.modeling.rcnn.pooling import regions_of


class ProposalLevel(NamedTuple):
    """What the region proposal network says on one feature map.

    Attributes:
        logits: (N, R), log-odds of the objectness.
        boxes: (N, R, 4), decoded, xyxy in pixels.
    """

    logits: Tensor
    boxes: Tensor


@dataclass(frozen=True)
class ProposalChoice:
    """How the region proposal network chooses its proposals.

    Attributes:
        most_per_level: considered of each level at most, the best.
        min_side: boxes with a shorter side are dropped; ``strictly``: also those of this side.
        max_iou: those that a better one of their level overlaps by more are suppressed.
        most: proposals of an image at most.
    """

    most_per_level: int
    min_side: float
    strictly: bool
    max_iou: float
    most: int


class RCNNCandidates(CandidateDetector):
    """Faster R-CNN with one foreground class.

    A subclass implements :meth:`features`, :meth:`proposal_levels`, and :meth:`head`.

    Args:
        proposal_choice: of the region proposal network.
        min_side: candidates with a shorter side are none.
        detector: arguments of :class:`CandidateDetector`.
    """

    def __init__(
        self, *, proposal_choice: ProposalChoice, min_side: float = 0.0, **detector: Any
    ) -> None:
        super().__init__(**detector)
        self.proposal_choice = proposal_choice
        self.min_side = min_side

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Feature maps of normalized images by name."""
        raise NotImplementedError

    def proposal_levels(self, features: dict[str, Tensor]) -> list[ProposalLevel]:
        """The region proposal network's output, finest level first."""
        raise NotImplementedError

    def head(
        self, features: dict[str, Tensor], regions: Tensor, objectness: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Decoded boxes (B, 1, 4) and foreground scores (B, 1) of proposals.

        Args:
            regions: (B, 5), the index of the image in the batch and the proposal's box.
            objectness: (B,), log-odds of the proposal.
        """
        raise NotImplementedError

    def candidates(self, images: Tensor) -> Candidates:
        """A box for each proposal, best first; where an image has fewer proposals, zeros.

        The head sees the proposals alone, as the detector's own does: their number depends on the
        images.
        """
        features = self.features(images)
        kept, boxes, objectness = self.proposals(self.proposal_levels(features))
        places, regions = regions_of(boxes, kept)
        decoded, scores = self.head(features, regions, objectness.flatten()[places])
        ends = borders([self.size], boxes)
        candidates = head_candidates(decoded, scores, places, kept.shape, ends, self.min_side)
        return candidates.boxes, candidates.scores

    def proposals(self, levels: Sequence[ProposalLevel]) -> tuple[Tensor, Tensor, Tensor]:
        """Which of the places (N, P) hold a proposal, boxes (N, P, 4), log-odds (N, P)."""
        choice = self.proposal_choice
        all_kept, all_boxes, all_logits = [], [], []
        for level in levels:
            logits, chosen = best(level.logits, choice.most_per_level)
            boxes = take(level.boxes, chosen)
            finite = boxes.isfinite().all(-1) & logits.isfinite()
            boxes = clip_to(boxes, *self.size)
            sides = boxes[..., 2:] - boxes[..., :2]
            large = sides > choice.min_side if choice.strictly else sides >= choice.min_side
            kept = not_suppressed(boxes, finite & large.all(-1), choice.max_iou)
            all_kept.append(kept)
            all_boxes.append(boxes)
            all_logits.append(logits)
        kept, boxes = torch.cat(all_kept, 1), torch.cat(all_boxes, 1)
        logits = torch.cat(all_logits, 1)
        if len(all_kept) > 1:
            logits, boxes, kept = best_first(logits, boxes, kept)
        boxes, logits, kept = packed(kept, min(choice.most, logits.shape[1]), boxes, logits, kept)
        return kept, boxes, logits
