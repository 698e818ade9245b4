"""The average of the weights as the teacher of a detector of Detectron2: :mod:`wend.teaching`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from wend.d2.frames import Batch, PredictsOnCrops
from wend.modeling.arithmetic import in_its_numbers
from wend.structures.frame import Frame
from wend.teaching import refine
from wend.teaching.ema import WeightAverage
from wend.teaching.teacher import Lesson, Teacher, Teaching


def build_teacher(average: WeightAverage, teaching: Teaching) -> Teacher:
    """The teacher that an average is."""
    return Teacher(partial(_look, average.average), teaching)


def let_teach(model: nn.Module, teacher: Teacher) -> None:
    """Make a model learn from the teacher's lessons, once that has begun."""
    model.forward = partial(_learning, model, model.forward, teacher)


def _learning(
    model: nn.Module, forward: Callable[[Batch], Any], teacher: Teacher, batch: Batch
) -> Any:
    return forward(lesson_of(teacher, batch) if model.training else batch)


def lesson_of(teacher: Teacher, batch: Batch) -> Batch:
    """A training batch as it is learned from: :func:`taught`, once that has begun."""
    return taught(teacher, batch) if teacher.has_begun else batch


def _look(model: nn.Module, images: list[Tensor]) -> list[refine.Boxes]:
    batch = [{"image": image} for image in images]
    as_given = isinstance(model, PredictsOnCrops)
    with in_its_numbers(model):
        outputs = model.predict_as_given(batch) if as_given else model(batch)  # type: ignore[operator]
    return [
        (output["instances"].pred_boxes.tensor, output["instances"].scores) for output in outputs
    ]


def taught(teacher: Teacher, batch: Batch) -> Batch:
    """A training batch with the boxes to learn from, and the teacher's own as ``teacher``.

    Args:
        batch: dicts of a mapper with ``image`` and ``instances``.
    """
    given = [entry["instances"] for entry in batch]
    lessons = teacher.teach(
        [entry["image"] for entry in batch],
        [entry.get("frame") or _whole(entry["image"]) for entry in batch],
        [(boxes.gt_boxes.tensor, _scores(boxes)) for boxes in given],
    )
    return [
        {**entry, "instances": _instances(boxes, lesson), "teacher": lesson.teacher}
        for entry, boxes, lesson in zip(batch, given, lessons, strict=True)
    ]


def _whole(image: Tensor) -> Frame:
    """The frame of an image that no crop was made of."""
    height, width = image.shape[-2:]
    return Frame(width, height, 1.0, 1.0, 0.0, 0.0)


def _scores(boxes: Instances) -> Tensor:
    """The scores (P,) of given boxes; 1 where the mapper gives none."""
    return boxes.gt_scores if boxes.has("gt_scores") else torch.ones(len(boxes))


def _instances(given: Instances, lesson: Lesson) -> Instances:
    """The given instances with the lesson's boxes, and its scores where the mapper gives some."""
    fields = dict(given.get_fields())
    if len(lesson.boxes) != len(given):  # of a refinement of the user's own
        # the boxes of an image are of one class
        fields = {"gt_classes": given.gt_classes[:1].expand(len(lesson.boxes))}
    fields |= {"gt_boxes": Boxes(lesson.boxes)}
    if given.has("gt_scores"):
        fields |= {"gt_scores": lesson.scores}
    return Instances(given.image_size, **fields)
