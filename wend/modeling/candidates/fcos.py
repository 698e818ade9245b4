"""FCOS's candidates, for the heads of both engines.

Shape letters: N = images, R = locations of a level.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from wend.modeling.candidates.base import CandidateDetector, Candidates, Constants
from wend.modeling.fcos.boxes import candidates
from wend.modeling.fcos.locations import Locations
from wend.modeling.fcos.output import HeadOutput
from wend.modeling.layers.box_selection import clip_to


class FCOSCandidates(CandidateDetector):
    """FCOS with one foreground class; a subclass implements :meth:`output`.

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

    def output(self, images: Tensor) -> HeadOutput:
        """The head's output on normalized images."""
        raise NotImplementedError

    def candidates(self, images: Tensor) -> Candidates:
        """The best locations of each level, decoded, best first."""
        locations = Locations.of_anchors(list(self.anchors))
        boxes, scores, _ = candidates(
            self.output(images), locations, most_per_level=self.most_per_level
        )
        return (clip_to(boxes, *self.size) if self.clip_candidates else boxes), scores
