"""From a crop back to original pixels, for every detector and every evaluator of Detectron2.

Detectron2's contract is that a model's boxes are in pixels of the input's ``height`` and ``width``,
and its own way there only rescales. Inputs of :class:`wend.d2.mapper.WSOLDatasetMapper` are crops:
they carry the original size as any input does, and the ``frame`` that leads back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from detectron2.structures import Boxes, Instances

Batch = list[dict[str, Any]]


def _as_crop(one: dict[str, Any]) -> dict[str, Any]:
    """The input with the size of its image tensor, to which Detectron2 then rescales nothing."""
    height, width = one["image"].shape[-2:]
    return {**one, "height": height, "width": width}


def _in_original_pixels(one: dict[str, Any], output: dict[str, Any]) -> dict[str, Any]:
    instances = output["instances"]
    boxes = one["frame"].to_original(instances.pred_boxes.tensor.double())
    fields = {**instances.get_fields(), "pred_boxes": Boxes(boxes)}
    return {
        **output,
        "instances": Instances((one["height"], one["width"]), **fields),
        "boxes": boxes,
    }


def predict(forward: Callable[[Batch], Batch], batch: Batch) -> Batch:
    """What a detector predicts on a batch, in original pixels.

    Args:
        forward: the detector's, in evaluation mode.
        batch: inputs of any mapper; those without ``frame`` are no crops and are left alone.

    Returns:
        For each input ``instances``, as of any detector of Detectron2; of a crop also ``boxes``,
        (N, 4) float64, which ``instances`` hold in float32.
    """
    outputs = forward([_as_crop(one) if "frame" in one else one for one in batch])
    return [
        _in_original_pixels(one, output) if "frame" in one else output
        for one, output in zip(batch, outputs, strict=True)
    ]


class PredictsOnCrops:
    """Mixed into a detector, before Detectron2's class: see :func:`predict`."""

    def forward(self, batched_inputs: Batch) -> Any:
        """Loss terms in training, else what it predicts in original pixels."""
        if self.training:
            return super().forward(batched_inputs)
        return predict(super().forward, batched_inputs)
