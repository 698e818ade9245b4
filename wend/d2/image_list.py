"""Images of Detectron2's inputs as its detectors want them, by one copy and one normalization."""

from __future__ import annotations

from typing import Any

from detectron2.structures import ImageList

from wend.d2.frames import Batch
from wend.modeling.layers.image_batch import image_batch


def image_list(detector: Any, batched_inputs: Batch) -> ImageList:
    """Normalized and padded images; what the detector's own ``preprocess_image`` makes.

    Args:
        detector: a ``DenseDetector`` or ``GeneralizedRCNN`` of Detectron2.
        batched_inputs: dicts with ``image``.
    """
    backbone = detector.backbone
    constraints = backbone.padding_constraints
    batch = image_batch(
        [entry["image"] for entry in batched_inputs],
        detector.pixel_mean,
        detector.pixel_std,
        unit=max(constraints.get("size_divisibility", backbone.size_divisibility), 1),
        least=constraints.get("square_size", 0),
    )
    return ImageList(batch.tensor, batch.sizes)
