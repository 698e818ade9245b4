"""Faster R-CNN's candidates, for the parts of both engines.

Shape letters: N = images, B = proposals of all images.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from wend.modeling.candidates.base import CandidateDetector, Candidates
from wend.modeling.layers.box_choice import borders
from wend.modeling.rcnn.head_boxes import head_candidates
from wend.modeling.rcnn.pooling import regions_of
from wend.modeling.rcnn.proposals import ProposalChoice, ProposalLevel, choose_proposals


class RCNNCandidates(CandidateDetector):
    """Faster R-CNN with one foreground class.

    A subclass implements :meth:`features`, :meth:`proposal_levels`, :meth:`decode` and
    :meth:`head`.

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

    def decode(self, deltas: Tensor, anchors: Tensor) -> Tensor:
        """Boxes (B, 4) of anchors (B, 4), moved by deltas (B, 4)."""
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
        proposals = choose_proposals(
            self.proposal_levels(features), self.decode, self.proposal_choice, [self.size]
        )
        boxes, is_proposal = proposals.boxes, proposals.is_proposal
        places, regions = regions_of(boxes, is_proposal)
        decoded, scores = self.head(features, regions, proposals.logits.flatten()[places])
        ends = borders([self.size], boxes)
        candidates = head_candidates(
            decoded, scores, places, is_proposal.shape, ends, self.min_side
        )
        return candidates.boxes, candidates.scores
