"""Candidates of the detectors that know no engine."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from wend.errors import InputError
from wend.modeling.candidates.base import CandidateDetector, Candidates
from wend.modeling.detectors.base import Detector


class TensorCandidates(CandidateDetector):
    """A :class:`Detector`'s boxes, which nothing suppresses.

    Args:
        detector: in evaluation mode.
        arguments: of :class:`CandidateDetector`.

    Raises:
        InputError: the detector has :meth:`Detector.detections` instead of ``best_boxes``.
    """

    def __init__(self, *, detector: Detector, **arguments: Any) -> None:
        super().__init__(**arguments)
        kind = type(detector)
        if kind.best_boxes is Detector.best_boxes or kind.detections is not Detector.detections:
            raise InputError(
                f"detector {kind.__name__}: cannot be exported, since it chooses its boxes image "
                f"by image, in detections; implement best_boxes, which does it for a batch"
            )
        self.detector = detector

    def candidates(self, images: Tensor) -> Candidates:
        """The detector's own boxes and scores."""
        return self.detector.of_batch(images, self.size)
