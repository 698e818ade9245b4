"""The average of the weights as the teacher of torchvision's detectors: :mod:`wend.teaching`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from wend.teaching import refine
from wend.teaching.ema import WeightAverage
from wend.teaching.teacher import Teacher, Teaching
from wend.tv.dataset import Example


def build_teacher(average: WeightAverage, teaching: Teaching) -> Teacher:
    """The teacher that an average is."""
    return Teacher(partial(_look, average.average), teaching)


def _look(model: nn.Module, images: list[Tensor]) -> list[refine.Boxes]:
    normalization = getattr(model, "normalization", None)
    if normalization is not None:
        normalization.train()  # in evaluation it would enlarge crops to the test's view
    try:
        outputs = model(images)
    finally:
        model.eval()
    return [(output["boxes"], output["scores"]) for output in outputs]


def taught(
    teacher: Teacher,
    images: Sequence[Tensor],
    batch: Sequence[Example],
    targets: Sequence[dict[str, Any]],
) -> list[dict[str, Any]]:
    """The targets with the boxes to learn from, and the teacher's own as ``teacher``.

    Args:
        images: the batch's crops, on the detector's device.
        batch: the examples that they are of.
        targets: of each "boxes", their "scores", and "labels", which are of one class.
    """
    given = [(target["boxes"], target["scores"]) for target in targets]
    lessons = teacher.teach(images, [example.frame for example in batch], given)
    return [
        {
            **target,
            "boxes": lesson.boxes,
            "scores": lesson.scores,
            "labels": target["labels"][:1].expand(len(lesson.boxes)),
            "teacher": lesson.teacher,
        }
        for target, lesson in zip(targets, lessons, strict=True)
    ]
