"""The contexts of a loss: a batch as the functions that users write see it.

Shape letters: S = samples (locations, sampled proposals or queries) of all images of a batch, N =
images, P = pseudo boxes of an image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from wend.errors import InputError
from wend.losses.padded_boxes import PaddedBoxes
from wend.losses.process_counts import counts_per_process
from wend.schedules import Progress

BoxesAndScores = tuple[Tensor, Tensor]  # (P, 4) and (P,)
Value = TypeVar("Value")


@dataclass(frozen=True, eq=False)
class ImagesContext:
    """The images of a batch with their pseudo boxes, as the loader gives them.

    Attributes:
        image_ids: the id of each image, None for one without; one for each of ``boxes`` in any
            case.
        boxes: pseudo boxes of each image (P, 4), xyxy in pixels of the crop; P may be 0.
        scores: their scores (P,) in [0, 1]; 1 where the source has none.
        teacher: a teacher's boxes and scores of each image, as ``boxes`` and ``scores``; None where
            there is no teacher.
        progress: how far the training is.
    """

    image_ids: Sequence[object] = ()
    boxes: Sequence[Tensor] = ()
    scores: Sequence[Tensor] = ()
    teacher: Sequence[BoxesAndScores] | None = None
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        if len(self.image_ids) == 0:
            object.__setattr__(self, "image_ids", [None] * len(self.boxes))
        if len(self.scores) == 0:
            object.__setattr__(self, "scores", _ones(self.boxes))

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def num_boxes(self) -> int:
        """Pseudo boxes of all images."""
        return sum(map(len, self.boxes))

    @cached_property
    def padded(self) -> PaddedBoxes:
        """The boxes as one tensor, made when it is first asked for."""
        return PaddedBoxes.of(self.boxes) if len(self.boxes) else PaddedBoxes.none(len(self))

    @cached_property
    def padded_scores(self) -> Tensor:
        """Their scores (N, P), 0 where an image has fewer boxes."""
        return self.padded.padded(self.scores)

    @property
    def device(self) -> torch.device:
        """Where the boxes are."""
        return self.boxes[0].device if len(self.boxes) else torch.device("cpu")

    @classmethod
    def on(
        cls,
        device: torch.device,
        *,
        image_ids: Sequence[object],
        boxes: Sequence[Tensor],
        scores: Sequence[Tensor | None],
        teacher: Sequence[BoxesAndScores | None],
        progress: Progress,
    ) -> ImagesContext:
        """A batch on a device.

        Args:
            device: where its tensors are to be.
            image_ids, boxes, progress: see the class.
            scores: None for an image whose boxes have none.
            teacher: None for an image without a teacher; a batch has one for all images or none.
        """
        known = [score for score in scores if score is not None]
        if not known:
            moved = _moved(boxes, device)
            own = _ones(moved)
        else:
            if len(known) < len(boxes):
                known = [
                    each.new_ones(len(each)) if score is None else score
                    for each, score in zip(boxes, scores, strict=True)
                ]
            moved, own = _moved_together(boxes, known, device)
        taught = [each for each in teacher if each is not None]
        lessons = None
        if taught and len(taught) == len(boxes):
            theirs, of_theirs = zip(*taught, strict=True)
            lessons = [*zip(*_moved_together(theirs, of_theirs, device), strict=True)]
        return cls(image_ids, moved, own, lessons, progress)


def _ones(boxes: Sequence[Tensor]) -> Sequence[Tensor]:
    """Scores of 1 of each image's boxes."""
    if not len(boxes):
        return ()
    counts = [len(each) for each in boxes]
    return boxes[0].new_ones(sum(counts)).split(counts)


def _moved(tensors: Sequence[Tensor], device: torch.device) -> Sequence[Tensor]:
    """Tensors (P, ...) on a device, in one copy."""
    if all(each.device == device for each in tensors):
        return tensors
    return torch.cat([*tensors]).to(device).split([len(each) for each in tensors])


def _moved_together(
    boxes: Sequence[Tensor], scores: Sequence[Tensor], device: torch.device
) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Boxes (P, 4) and scores (P,) of each image on a device, in one copy."""
    if all(each.device == device for each in (*boxes, *scores)):
        return boxes, scores
    all_boxes = torch.cat([*boxes])
    all_scores = torch.cat([*scores]).to(all_boxes)
    rows = torch.cat([all_boxes, all_scores[:, None]], 1).to(device)
    counts = [len(each) for each in boxes]
    return rows[:, :4].split(counts), rows[:, 4].split(counts)


class _WhenRead(Generic[Value]):
    """A field whose value may be given as a function that makes it when it is first read."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.key = f"_{name}"

    def __get__(self, instance: Any, owner: type) -> Value | None:
        if instance is None:  # the class asks for the default
            return None
        value = instance.__dict__[self.key]
        if callable(value):
            value = instance.__dict__[self.key] = value()
        return value

    def __set__(self, instance: Any, value: Value | Callable[[], Value] | None) -> None:
        instance.__dict__[self.key] = value


@dataclass(frozen=True, eq=False)
class LossContext:
    """The context of a loss: a batch's S samples, as the detector sees them.

    ``image_index``, ``num_positives`` and ``sample_boxes`` may be given as functions, called when
    they are read.

    Attributes:
        logits: (S,) foreground log-odds.
        labels: (S,) int64: 1 assigned to a pseudo box, 0 background, -1 ignored; None where the
            detector assigns none.
        image_index: (S,) int64, which image of the batch a sample belongs to; None if not known.
        image_ids: ids of the batch's images; empty if not known.
        num_positives: samples of label 1, the mean over the processes, as the detector's own L_cls
            counts them (FCOS of Detectron2: a moving average; Deformable DETR: its boxes), at least
            one of all processes: a number or a scalar tensor; None without labels. Weights of
            samples come before Detectron2's FCOS has averaged: for them it is the number of this
            batch there, too.
        num_boxes: pseudo boxes of the batch, counted and given likewise; None if not known.
        progress: how far the training is.
        sample_boxes: (S, 4) xyxy in pixels of the crop, without a gradient: the proposal of Faster
            R-CNN and CLN, the box that FCOS's location or Deformable DETR's query predicts; None
            where a detector says none.
        images: the images, with their pseudo boxes.
        box_index: (S,) int64, which of its image's boxes a sample is assigned to, -1 none; None
            where the detector does not say.
        num_samples: S, the mean over the processes, at least one of all: a sum over the samples
            divided by it is the mean over the samples of all processes; None if not known.
        is_trial: whether a function is only tried, on no samples: other processes are not asked.
    """

    logits: Tensor
    labels: Tensor | None = None
    image_index: _WhenRead[Tensor] = _WhenRead()
    image_ids: Sequence[object] = ()
    num_positives: _WhenRead[Tensor | float] = _WhenRead()
    num_boxes: Tensor | float | None = None
    progress: Progress = field(default_factory=Progress)
    sample_boxes: _WhenRead[Tensor] = _WhenRead()
    images: ImagesContext = field(default_factory=ImagesContext)
    box_index: Tensor | None = None
    num_samples: Tensor | float | None = None
    is_trial: bool = False

    @property
    def known_labels(self) -> Tensor:
        """The labels (S,), for a function that needs them; InputError where there are none."""
        if self.labels is None:
            raise InputError("labels of the samples are needed, and the detector assigns none")
        return self.labels

    @cached_property
    def label_counts(self) -> Tensor:
        """How many of this batch's labels are 1, and how many are not ignored: (2,) int64."""
        labels = self.known_labels
        return (labels >= _least_labels(labels.device)).sum(1)

    def count(self, chosen: Tensor) -> Tensor:
        """How many samples are chosen: the mean over the processes, at least one of all: a scalar.

        For a loss that divides by it. All processes call it, as it waits for the others.

        Args:
            chosen: (S,) bool.
        """
        number = chosen.sum()
        if self.is_trial:
            return number.clamp(min=1)
        return counts_per_process(number, device=chosen.device)[0]

    def changed(self, **fields: Any) -> LossContext:
        """The same samples with other values of some fields; what is made when read, is not yet."""
        other = copy(self)
        if "labels" in fields:
            other.__dict__.pop("label_counts", None)
        for name, value in fields.items():
            object.__setattr__(other, name, value)
        return other


@cache
def _least_labels(device: torch.device) -> Tensor:
    return torch.tensor([[1], [0]], device=device)


def image_indices(counts: Sequence[int], device: torch.device) -> Tensor:
    """:attr:`LossContext.image_index` (S,) of samples that come image by image.

    Args:
        counts: samples of each image of the batch.
        device: device of the result.
    """
    images = torch.arange(len(counts))
    return images.repeat_interleave(torch.tensor(counts, dtype=torch.int64)).to(device)
