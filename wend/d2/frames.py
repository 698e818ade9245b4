"""Boxes in a crop back to original pixels, for every detector and evaluator of Detectron2.

Detectron2's contract is that a model's boxes are in pixels of the input's ``height`` and ``width``,
and its own way there only rescales. Inputs of :class:`wend.d2.mapper.WSOLDatasetMapper` are crops:
they carry the original size as any input does, and the ``frame`` that leads back. Other inputs, of
Detectron2's ``DefaultPredictor`` or its own mapper, are whole images at any size: a detector makes
the crop that it was trained on of them itself, unless WEND.CROP_IN_MODEL is False.

A detector of ours predicts a :class:`BoxBatch`, which comes to the host in one copy and goes back
to original pixels there, all boxes at once. What the model's callers get is :class:`Predictions`.

Shape letters: N = inputs of a batch, P = boxes of an input, B = boxes of all inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, Instances
from PIL import Image
from torch import Tensor, nn

from wend.config import crop_arguments
from wend.errors import InputError
from wend.loading.closer_look import average_best, best_rows, closer_views
from wend.loading.crop import CropMapper, Sample
from wend.modeling.feature_cache import views_seen_once
from wend.modeling.layers.box_batch import BoxBatch
from wend.modeling.layers.image_batch import Size, stacked
from wend.structures.box_table import BoxTable
from wend.structures.checks import check_predicted
from wend.structures.frames import Frames
from wend.structures.late_list import LateList

Batch = list[dict[str, Any]]
Outputs = Sequence[dict[str, Any]]  # of each input, with ``instances``
# a detector on inputs whose ``height`` and ``width`` are those of their images, where they have a
# ``frame``: boxes of all inputs in pixels of their images, or Detectron2's dict of each
Look = Callable[[Batch], BoxBatch | Outputs]


class Predictions(LateList[dict[str, Any]]):
    """What a detector predicts of a batch: for each of N inputs a dict as of any of Detectron2's.

    The dicts are made when one is read, on the detector's device, and stay as their readers leave
    them: ``instances`` in pixels of the input's ``height`` and ``width``; of a crop also their
    ``boxes`` (P, 4) as they are in float64. :attr:`table` has all boxes at once, on the host.

    Args:
        table: boxes, scores and perhaps classes of the N inputs, in pixels of ``way.sizes``.
        way: how they got there.
        device: the detector's.

    Attributes:
        unread: the table as it was before anybody read a dict.
    """

    def __init__(self, table: BoxTable, way: WayBack, device: torch.device) -> None:
        super().__init__(len(table))
        self.unread, self.way, self._device = table, way, device

    def make(self) -> Iterable[dict[str, Any]]:
        """The dict of each input."""
        return map(self._entry, range(len(self.unread)))

    def _entry(self, index: int) -> dict[str, Any]:
        rows = slice(self.unread.offsets[index], self.unread.offsets[index + 1])
        boxes, scores, classes = (column[rows] for column in self._on_device)
        fields = {"pred_boxes": Boxes(boxes), "scores": scores, "pred_classes": classes}
        instances = Instances(self.way.sizes[index], **fields)
        if not self.way.has_frame[index]:
            return {"instances": instances}
        return {"instances": instances, "boxes": boxes}

    @cached_property
    def _on_device(self) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (B, 4) float64, scores (B,) float32 and classes (B,) of all inputs."""
        table = self.unread.scored()
        boxes, scores = (
            torch.tensor(each).to(self._device) for each in (table.boxes, table.scores)
        )
        if table.class_ids is None:
            return boxes, scores.float(), scores.new_zeros(len(scores), dtype=torch.int64)
        return boxes, scores.float(), torch.tensor(table.class_ids).to(self._device)

    @property
    def table(self) -> BoxTable:
        """Boxes (B, 4) and scores (B,) of all inputs, as they stand in the dicts that were read."""
        return _table_of_dicts(self) if self.is_made else self.unread


@dataclass(frozen=True, eq=False)
class WayBack:
    """From the images of a batch to the pixels that its users expect.

    Attributes:
        frames: of the inputs that have one; others' boxes are only rescaled.
        has_frame: (N,) bool.
        scale: (N, 2) float32, what the boxes of inputs without a frame are multiplied by, else 1.
        border: (N, 2) float32, width and height that rescaled boxes are cut at.
        sizes: height and width of each input.
    """

    frames: Frames
    has_frame: np.ndarray
    scale: np.ndarray
    border: np.ndarray
    sizes: list[Size]

    @classmethod
    def of(cls, batch: Batch) -> WayBack:
        """Of inputs of any mapper."""
        frames = [entry.get("frame") for entry in batch]
        has_frame = np.array([frame is not None for frame in frames])
        images = [tuple(entry["image"].shape[-2:]) for entry in batch]
        sizes = [
            (entry.get("height", height), entry.get("width", width))
            for entry, (height, width) in zip(batch, images, strict=True)
        ]
        of_images, expected = (np.array(each, np.float64)[:, ::-1] for each in (images, sizes))
        border = np.where(has_frame[:, None], of_images, expected)
        scale = (border / of_images).astype(np.float32)
        return cls(Frames.of(frames), has_frame, scale, border.astype(np.float32), sizes)

    def rescaled(self, table: BoxTable, *, cuts: bool) -> BoxTable:
        """Boxes in pixels of their images where there is a frame, else in those of ``sizes``.

        The arithmetic of Detectron2's ``detector_postprocess``.

        Args:
            table: boxes in pixels of their images.
            cuts: whether they are cut at the border, and dropped if they have no area then.
        """
        owner = table.owner
        boxes = table.boxes * np.tile(self.scale, 2)[owner]
        if not cuts:
            return replace(table, boxes=boxes)
        boxes = boxes.clip(0, np.tile(self.border, 2)[owner])
        return replace(table, boxes=boxes).keep(~_is_empty(boxes))

    def to_original(self, table: BoxTable) -> tuple[BoxTable, np.ndarray]:
        """Rescaled boxes in original pixels, and which (B,) stay: not those that lie in padding."""
        owner = table.owner
        boxes = self.frames.to_original(table.boxes, owner)
        stays = ~(_is_empty(boxes) & self.frames.pads[owner])
        return replace(table, boxes=boxes).keep(stays), stays


def _is_empty(boxes: np.ndarray) -> np.ndarray:
    """Whether boxes (B, 4) have no area; false where they are not numbers."""
    return np.any(boxes[:, 2:] <= boxes[:, :2], axis=1)


def _traced(predicted: BoxBatch | Outputs, batch: Batch, *, cuts: bool) -> Outputs:
    """The dicts of inputs without ``frame``, by operations that a trace records."""
    if not isinstance(predicted, BoxBatch):
        return predicted
    outputs = []
    for index, entry in enumerate(batch):
        kept, (height, width) = predicted.kept[index], entry["image"].shape[-2:]
        boxes, scores = predicted.boxes[index][kept], predicted.scores[index][kept]
        classes = predicted.classes
        instances = Instances(
            (height, width),
            pred_boxes=Boxes(boxes),
            scores=scores,
            pred_classes=torch.zeros_like(scores, dtype=torch.int64)
            if classes is None
            else classes[index][kept],
        )
        size = entry.get("height", height), entry.get("width", width)
        if cuts:
            instances = detector_postprocess(instances, *size)
        else:
            instances.pred_boxes.scale(size[1] / width, size[0] / height)
            instances = Instances(size, **instances.get_fields())
        outputs.append({"instances": instances})
    return outputs


def _as_crop(entry: dict[str, Any]) -> dict[str, Any]:
    """The input with the size of its image tensor, to which Detectron2 then rescales nothing."""
    if "frame" not in entry:
        return entry
    height, width = entry["image"].shape[-2:]
    return {**entry, "height": height, "width": width}


def predict(look: Look, batch: Batch, closer_look: float = 0.0, *, cuts: bool = True) -> Outputs:
    """Predict on a batch, in original pixels.

    Args:
        look: a detector in evaluation mode.
        batch: inputs of any mapper; those without ``frame`` are no crops.
        closer_look: ``WEND.CLOSER_LOOK``, for crops.
        cuts: whether the boxes of a :class:`BoxBatch` are cut at the border of their image, as
            Detectron2's detectors do.

    Returns:
        For each input ``instances``, as of any detector of Detectron2, and ``boxes``, (P, 4)
        float64, which ``instances`` hold in float32. Dicts of the look's own for inputs without
        ``frame`` stay as they are.

    Raises:
        InputError: a box is not finite.
    """
    predictions = _predict_once(look, batch, cuts)
    if not closer_look or not isinstance(predictions, Predictions):
        return predictions
    table = predictions.unread
    seen = [index for index in table.with_boxes.tolist() if "frame" in batch[index]]
    if not seen:
        return predictions
    with views_seen_once():
        close = _predict_once(look, _closer(batch, seen, table, closer_look), cuts)
    assert isinstance(close, Predictions)
    predictions.unread = average_best(table, close.unread, seen)
    return predictions


def _predict_once(look: Look, batch: Batch, cuts: bool) -> Outputs:
    predicted = look([_as_crop(entry) for entry in batch])
    way = WayBack.of(batch)
    if isinstance(predicted, BoxBatch):
        given = predicted.on_host()
    elif way.has_frame.any():
        each = [output["instances"] for output in predicted]
        given = _table([(instances.pred_boxes.tensor, instances.scores) for instances in each])
    else:
        return predicted
    check_predicted(given.boxes, given.owner, partial(_name, batch))
    if isinstance(predicted, BoxBatch):
        table, _ = way.to_original(way.rescaled(given, cuts=cuts))
        return Predictions(table, way, predicted.boxes.device)
    table, stays = way.to_original(given)
    return _PredictionsOfOthers(table, way, predicted, stays)


def _name(batch: Batch, index: int) -> object:
    """What an input is called in messages."""
    entry = batch[index]
    return entry.get("file_name", f"image {entry.get('image_id', index)!r}")


def _closer(batch: Batch, seen: Sequence[int], table: BoxTable, factor: float) -> Batch:
    """The inputs of a closer look at the best boxes of those that are seen."""
    entries, best = [batch[index] for index in seen], table.boxes[best_rows(table, seen)]
    images = [entry["image"] for entry in entries]
    frames = [entry["frame"] for entry in entries]
    if len({image.shape for image in images}) == 1:
        parts = [closer_views(stacked(images), frames, best, factor)]
    else:
        parts = [
            closer_views(image[None], [frame], box[None], factor)
            for image, frame, box in zip(images, frames, best, strict=True)
        ]
    views = [view for part in parts for view in zip(*part, strict=True)]
    return [
        {**entry, "image": image, "frame": frame}
        for entry, (image, frame) in zip(entries, views, strict=True)
    ]


class _PredictionsOfOthers(Predictions):
    """Of a detector that is not ours: what its dicts have beside boxes stays in them.

    Args:
        table, way: see :class:`Predictions`.
        outputs: the detector's dicts.
        stays: (B,), which of their boxes the table has.
    """

    def __init__(self, table: BoxTable, way: WayBack, outputs: Outputs, stays: np.ndarray) -> None:
        super().__init__(table, way, outputs[0]["instances"].scores.device)
        self._outputs = outputs
        counts = [len(output["instances"]) for output in outputs]
        self._stays = np.split(stays, np.cumsum(counts)[:-1])

    def _entry(self, index: int) -> dict[str, Any]:
        output = self._outputs[index]
        if not self.way.has_frame[index]:
            return output
        own, instances = super()._entry(index), output["instances"]
        if not self._stays[index].all():
            instances = instances[torch.from_numpy(self._stays[index]).to(self._device)]
        fields = {**instances.get_fields(), "pred_boxes": own["instances"].pred_boxes}
        return {**output, **own, "instances": Instances(self.way.sizes[index], **fields)}


def table_of(outputs: Outputs) -> BoxTable:
    """Boxes in original pixels and scores of what any detector of Detectron2 returns of a batch.

    They are float64 to the last bit where the outputs have the ``boxes`` of :class:`Predictions`,
    unless ``instances`` have other ones by now: those of somebody who changed them count.
    """
    return outputs.table if isinstance(outputs, Predictions) else _table_of_dicts(outputs)


def _table_of_dicts(outputs: Outputs) -> BoxTable:
    each = [output["instances"] for output in outputs]
    table = _table([(instances.pred_boxes.tensor, instances.scores) for instances in each])
    exact = [output.get("boxes") for output in outputs]
    if all(boxes is None for boxes in exact):
        return table
    rounded = [instances.pred_boxes.tensor for instances in each]
    boxes = _joined(
        [
            own if isinstance(own, Tensor) and own.shape == other.shape else other
            for own, other in zip(exact, rounded, strict=True)
        ]
    ).astype(np.float64)
    is_same = (boxes.astype(np.float32) == table.boxes.astype(np.float32)).all(1)
    return replace(table, boxes=np.where(is_same[:, None], boxes, table.boxes))


def _table(pairs: Sequence[tuple[Tensor, Tensor]]) -> BoxTable:
    """Boxes (P, 4) and scores (P,) of inputs on the host, in their own order."""
    boxes, scores = zip(*pairs, strict=True)
    offsets = np.cumsum([0, *map(len, boxes)])
    return BoxTable(offsets, _joined(boxes), _joined(scores).astype(np.float64))


def _joined(parts: Sequence[Tensor]) -> np.ndarray:
    """Numbers of inputs on the host; those of half precision as float32."""
    device = parts[0].device  # of others where somebody has moved some of them
    return _not_half(torch.cat([part.detach().to(device) for part in parts])).cpu().numpy()


def _not_half(numbers: Tensor) -> Tensor:
    """Numbers of any type, those of half precision as float32."""
    return numbers.to(torch.promote_types(numbers.dtype, torch.float32))


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
        if "frame" in entry or self._is_crop(image):
            return entry
        size = entry.get("width", image.shape[-1]), entry.get("height", image.shape[-2])
        pixels = image.clamp(0, 255).round().byte() if image.is_floating_point() else image
        pixels = pixels.permute(1, 2, 0).cpu().numpy()
        rgb = pixels if self.image_format == "RGB" else pixels[:, :, ::-1]
        sample = self.mapper.of_image(Image.fromarray(np.ascontiguousarray(rgb)), size)
        return {**entry, **model_input(sample, self.image_format)}

    def _is_crop(self, image: Tensor) -> bool:
        return tuple(image.shape[-2:]) == (self.mapper.side, self.mapper.side)

    def check_traced(self, batch: Batch) -> None:
        """Refuse images to trace with whose crops are still to be made: no trace records that.

        Raises:
            InputError: one is not of the crop's size.
        """
        for entry in batch:
            if not self._is_crop(entry["image"]):
                side = self.mapper.side
                size = "x".join(str(int(number)) for number in reversed(entry["image"].shape[-2:]))
                raise InputError(
                    f"a trace records no crop that a detector makes itself: expected an image of "
                    f"{side}x{side} to trace with, got {size}; give it crops, or let it take "
                    f"images of any size (WEND.CROP_IN_MODEL False)"
                )


class PredictsOnCrops(nn.Module):
    """Mixed into a detector, before Detectron2's class: see :func:`predict`.

    Attributes:
        own_crops, closer_look: of its config (``WEND.CLOSER_LOOK``); the detector sets them.
        cuts_boxes: whether the boxes of :meth:`predicted` are still to be cut at the border of
            their image, as Detectron2 cuts those of its detectors.
    """

    own_crops: OwnCrops | None = None
    closer_look: float = 0.0
    cuts_boxes = True

    def forward(self, batched_inputs: Batch) -> Any:
        """Loss terms in training, else predictions in original pixels."""
        if self.training:
            return super().forward(batched_inputs)
        if torch.jit.is_tracing():  # Detectron2's TracingAdapter, which hands in no frames
            if self.own_crops is not None:
                self.own_crops.check_traced(batched_inputs)
            return _traced(self.predicted(batched_inputs), batched_inputs, cuts=self.cuts_boxes)
        if self.own_crops is not None:
            batched_inputs = list(map(self.own_crops, batched_inputs))
        return predict(self.predicted, batched_inputs, self.closer_look, cuts=self.cuts_boxes)

    def predicted(self, batched_inputs: Batch) -> BoxBatch | Outputs:
        """The boxes of a batch, in pixels of its images; a detector of ours implements it.

        By default what Detectron2's class in evaluation mode makes of them.

        Args:
            batched_inputs: dicts with ``image``; where they have a ``frame``, ``height`` and
                ``width`` are those of the image.
        """
        return super().forward(batched_inputs)

    def predict_as_given(self, batched_inputs: Batch) -> Outputs:
        """Predictions on the very inputs: no crop is made of them, and there is no second look."""
        return predict(self.predicted, batched_inputs, cuts=self.cuts_boxes)
