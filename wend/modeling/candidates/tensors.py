"""Candidates of the detectors that know no engine."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from wend.modeling.candidates.base import CandidateDetector, Candidates
from wend.modeling.detectors.base import Detector


class TensorCandidates(CandidateDetector):
    """A :class:`Detector`'s boxes, which nothing suppresses.

    Args:
        detector: in evaluation mode, with :meth:`Detector.best_boxes`.
        arguments: of :class:`CandidateDetector`.
    """

    def __init__(self, *, detector: Detector, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.detector = detector

    def candidates(self, images: Tensor) -> Candidates:
        """The detector's own boxes and scores."""
        return self.detector.of_batch(images, self.size)
