"""Boxes in a crop back to original pixels, for every detector and evaluator of Detectron2.

Detectron2's contract is that a model's boxes are in pixels of the input's ``height`` and ``width``,
and its own way there only rescales. Inputs of :class:`wend.d2.mapper.WSOLDatasetMapper` are crops:
they carry the original size as any input does, and the ``frame`` that leads back. Other inputs, of
Detectron2's ``DefaultPredictor`` or its own mapper, are whole images at any size: a detector makes
the crop that it was trained on of them itself, unless WEND.CROP_IN_MODEL is False.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import Boxes, Instances
from PIL import Image
from torch import nn

from wend.config import crop_arguments
from wend.loading.closer_look import average_best, closer_view
from wend.loading.crop import CropMapper, Sample

Batch = list[dict[str, Any]]


def _as_crop(entry: dict[str, Any]) -> dict[str, Any]:
    """The input with the size of its image tensor, to which Detectron2 then rescales nothing."""
    height, width = entry["image"].shape[-2:]
    return {**entry, "height": height, "width": width}


def _in_original_pixels(entry: dict[str, Any], output: dict[str, Any]) -> dict[str, Any]:
    instances, frame = output["instances"], entry["frame"]
    boxes = frame.to_original(instances.pred_boxes.tensor.double())
    if frame.image is not None:  # boxes that lie in the padding are none
        whole = (boxes[:, 2:] > boxes[:, :2]).all(1)
        instances, boxes = instances[whole], boxes[whole]
    fields = {**instances.get_fields(), "pred_boxes": Boxes(boxes)}
    return {
        **output,
        "instances": Instances((entry["height"], entry["width"]), **fields),
        "boxes": boxes,
    }


def predict(forward: Callable[[Batch], Batch], batch: Batch, closer_look: float = 0.0) -> Batch:
    """Predict on a batch, in original pixels.

    Args:
        forward: the ``forward`` of a detector in evaluation mode.
        batch: inputs of any mapper; those without ``frame`` are no crops and stay as they are.
        closer_look: ``WEND.CLOSER_LOOK``, for crops.

    Returns:
        For each input ``instances``, as of any detector of Detectron2; of a crop also ``boxes``,
        (N, 4) float64, which ``instances`` hold in float32.
    """
    outputs = _predict_once(forward, batch)
    seen = [
        (entry, output)
        for entry, output in zip(batch, outputs, strict=True)
        if closer_look and "frame" in entry and len(output["instances"])
    ]
    if seen:
        close = _predict_once(forward, [_closer(*pair, closer_look) for pair in seen])
        for (_, output), other in zip(seen, close, strict=True):
            _average_best(output, other)
    return outputs


def _predict_once(forward: Callable[[Batch], Batch], batch: Batch) -> Batch:
    outputs = forward([_as_crop(entry) if "frame" in entry else entry for entry in batch])
    return [
        _in_original_pixels(entry, output) if "frame" in entry else output
        for entry, output in zip(batch, outputs, strict=True)
    ]


def _closer(entry: dict[str, Any], output: dict[str, Any], factor: float) -> dict[str, Any]:
    """The input of the closer look at an output's best box."""
    boxes, scores = boxes_and_scores(output)
    image, frame = closer_view(entry["image"], entry["frame"], boxes[scores.argmax()], factor)
    return {**entry, "image": image, "frame": frame}


def _average_best(output: dict[str, Any], close: dict[str, Any]) -> None:
    boxes = average_best(boxes_and_scores(output), boxes_and_scores(close))
    output["boxes"] = torch.from_numpy(boxes).to(output["boxes"].device)
    output["instances"].pred_boxes = Boxes(output["boxes"])


def model_input(sample: Sample, image_format: str) -> dict[str, Any]:
    """A sample as an input of Detectron2's models.

    Args:
        sample: the crop.
        image_format: "RGB" or "BGR", the order of the channels.

    Returns:
        ``image`` (3, crop, crop) uint8, the original ``height`` and ``width``, and ``frame``.
    """
    pixels = sample.image if image_format == "RGB" else sample.image[:, :, ::-1]
    width, height = sample.size
    return {
        "image": torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))),
        "height": height,
        "width": width,
        "frame": sample.frame,
    }


def boxes_and_scores(output: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (P, 4) in original pixels and scores (P,) of any model's output for an input.

    They are float64 to the last bit where the output has the ``boxes`` of :func:`predict`.
    """
    instances = output["instances"]
    boxes = output.get("boxes", instances.pred_boxes.tensor)
    return boxes.cpu().numpy(), instances.scores.float().cpu().numpy()


@dataclass(frozen=True)
class OwnCrops:
    """Makes the crops that a detector is tested on of whole images.

    Attributes:
        mapper: makes crops of RGB images.
        image_format: "RGB" or "BGR", the order of the inputs' channels.
    """

    mapper: CropMapper
    image_format: str

    @classmethod
    def of_config(cls, cfg: CfgNode) -> OwnCrops | None:
        """Those of a config's view; None where WEND.CROP_IN_MODEL is False."""
        if not cfg.WEND.CROP_IN_MODEL:
            return None
        return cls(CropMapper(**crop_arguments(cfg), train=False), cfg.INPUT.FORMAT)

    def __call__(self, entry: dict[str, Any]) -> dict[str, Any]:
        """An input as its crop, with the ``frame`` from its ``height`` and ``width``.

        An input that has a frame, and one of the crop's size, stay as they are.
        """
        image = entry["image"]
        if "frame" in entry or tuple(image.shape[-2:]) == (self.mapper.side, self.mapper.side):
            return entry
        size = entry.get("width", image.shape[-1]), entry.get("height", image.shape[-2])
        pixels = image.clamp(0, 255).round().byte() if image.is_floating_point() else image
        pixels = pixels.permute(1, 2, 0).cpu().numpy()
        rgb = pixels if self.image_format == "RGB" else pixels[:, :, ::-1]
        sample = self.mapper.of_image(Image.fromarray(np.ascontiguousarray(rgb)), size)
        return {**entry, **model_input(sample, self.image_format)}


class PredictsOnCrops(nn.Module):
    """Mixed into a detector, before Detectron2's class: see :func:`predict`.

    Attributes:
        own_crops, closer_look: of its config (``WEND.CLOSER_LOOK``); the detector sets them.
    """

    own_crops: OwnCrops | None = None
    closer_look: float = 0.0

    def forward(self, batched_inputs: Batch) -> Any:
        """Loss terms in training, else predictions in original pixels."""
        if self.training:
            return super().forward(batched_inputs)
        if self.own_crops is not None:
            batched_inputs = list(map(self.own_crops, batched_inputs))
        return predict(super().forward, batched_inputs, self.closer_look)

    def predict_as_given(self, batched_inputs: Batch) -> Batch:
        """Predictions on the very inputs: no crop is made of them, and there is no second look."""
        return super().forward(batched_inputs)
