"""Content-blind boxes scored beside detections: what K boxes alone are worth."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from wend.errors import InputError, some
from wend.evaluation.metrics import PerImage, pack, score_arrays
from wend.evaluation.protocols import EvalProtocol
from wend.structures.records import ImageRecord

SIDE_NAMES = {"pseudo_boxes": "pseudo boxes", "gt_boxes": "true boxes"}


@dataclass(frozen=True, eq=False)
class FixedBoxes:
    """Content-blind boxes to score beside the detections.

    Attributes:
        records: images that are scored.
        fractions: boxes (N, 4) as fractions of their images, to choose from or, with ``given``, to
            take as they stand.
        image_index: (N,) the image of each box.
        given: the boxes are the fixed ones, in their order.
        name: where they come from.
    """

    records: Sequence[ImageRecord]
    fractions: np.ndarray
    image_index: np.ndarray | None
    given: bool
    name: str
    _chosen: dict = field(default_factory=dict)

    def choose(self, protocol: EvalProtocol, k: int) -> np.ndarray:
        """K boxes in fractions of the image; in a cropping protocol, chosen in its crop."""
        if self.given:
            return self.fractions[:k]
        from wend.evaluation.baselines import choose_fixed_boxes, crop_fractions, uncrop_fractions

        cropped = protocol.resize is not None and protocol.crop != protocol.resize
        key = ((protocol.resize, protocol.crop) if cropped else None, k)
        if key not in self._chosen:
            boxes = self.fractions
            if cropped:
                boxes = crop_fractions(boxes, protocol.resize, protocol.crop)
            boxes = choose_fixed_boxes(boxes, k, self.image_index)
            if cropped:
                boxes = uncrop_fractions(boxes, protocol.resize, protocol.crop).clip(0, 1)
            self._chosen[key] = boxes
        return self._chosen[key]

    def score(self, protocol: EvalProtocol, k: int) -> PerImage:
        """The scores of K fixed boxes an image."""
        from wend.evaluation.baselines import fixed_box_detections

        fixed = fixed_box_detections(self.records, self.choose(protocol, k))
        return score_arrays(pack(self.records, fixed), protocol)

    def sha256(self) -> str:
        """Of the boxes that are chosen from, or given."""
        digest = hashlib.sha256(np.ascontiguousarray(self.fractions, dtype="<f8").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Images that fixed boxes may be chosen on.

    Attributes:
        name: of the data set.
        records: its images.
        side: the records' field, "pseudo_boxes" or "gt_boxes".
    """

    name: str
    records: Sequence[ImageRecord]
    side: str


def choose_from(records: Sequence[ImageRecord], training: Sequence[TrainingSet]) -> FixedBoxes:
    """Boxes of training images to choose content-blind boxes from.

    Args:
        records: images that are scored.
        training: one or more sets of other images.

    Raises:
        InputError: a training image is scored, or the training images have no box.
    """
    from wend.evaluation.baselines import box_fractions

    scored = {r.key for r in records}
    parts, places, start = [], [], 0
    for one in training:
        both = [r.key for r in one.records if r.key in scored]
        if both:
            raise InputError(
                f"{one.name}: {len(both)} of its images are scored ({some(both)}); content-blind "
                f"boxes must not know the test images, name the training split"
            )
        fractions, place = box_fractions(one.records, one.side)
        parts.append(fractions)
        places.append(place + start)
        start += len(one.records)
    names = ", ".join(f"the {SIDE_NAMES[one.side]} of {one.name}" for one in training)
    chosen = f"chosen on {names}"
    return FixedBoxes(records, np.concatenate(parts), np.concatenate(places), False, chosen)
