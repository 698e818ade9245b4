"""The boxes to learn from, made of given boxes and the teacher's: ``WEND.REFINE`` by name.

Shape letters: P = given boxes of an image, Q = boxes that the teacher predicts there, best first.
All boxes are xyxy in pixels of the crop, all scores in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from wend.errors import InputError
from wend.registry import FunctionRegistry
from wend.schedules import Progress, Scheduled
from wend.structures.boxes import box_iou

Boxes = tuple[Tensor, Tensor]  # boxes (P, 4) and scores (P,) of an image
NO_REFINEMENT = "none"

# (boxes, scores, teacher_boxes, teacher_scores, progress, keywords) -> boxes, scores of an image
REFINEMENTS: FunctionRegistry[Callable[..., Boxes]] = FunctionRegistry(
    "refinement", ("boxes", "scores", "teacher_boxes", "teacher_scores", "progress")
)
refinement = REFINEMENTS.register


class Refinement:
    """A refinement with its parameters.

    It is called once at the start, on no boxes.

    Args:
        name: name of a registered one, ``module:name`` or ``./file.py:name``.
        parameters: its keyword-only parameters; of a scheduled one it gets the number of the
            moment.

    Raises:
        ValueError: an unknown name or parameter, or a function that does not return what it should.
    """

    def __init__(
        self, name: str = NO_REFINEMENT, parameters: Mapping[str, Any] | None = None
    ) -> None:
        self.name = name
        self.parameters = dict(parameters or {})
        self.function = REFINEMENTS.get(name)
        empty = torch.zeros(0, 4), torch.zeros(0)
        with REFINEMENTS.trial(name, self.parameters):
            self(empty, empty, Progress())

    @property
    def is_none(self) -> bool:
        """Whether it leaves all boxes as they are."""
        return self.name == NO_REFINEMENT

    def __call__(self, given: Boxes, teachers: Boxes, progress: Progress) -> Boxes:
        """The boxes (P', 4) to learn from, and their scores (P',), float32.

        Raises:
            InputError: the function returns something else.
        """
        parameters = {
            key: value.at(progress) if isinstance(value, Scheduled) else value
            for key, value in self.parameters.items()
        }
        result = self.function(*given, *teachers, progress, **parameters)
        try:
            boxes, scores = result
            right = boxes.shape == (len(boxes), 4) and scores.shape == (len(boxes),)
        except (AttributeError, TypeError, ValueError):
            right = False
        if not right:
            shapes = (
                [tuple(getattr(each, "shape", ())) or type(each).__name__ for each in result]
                if isinstance(result, tuple | list)
                else type(result).__name__
            )
            raise InputError(
                f"refinement {self.name!r}: expected to return boxes (P, 4) and scores (P,), got "
                f"{shapes}"
            )
        return boxes.float(), scores.float()


def partners(boxes: Tensor, teacher_boxes: Tensor, least_iou: float) -> tuple[Tensor, Tensor]:
    """The teacher's best box near each given one.

    The best is the one that scores most, not the one that overlaps most: among many boxes of low
    scores there is always one that is much like a given box, however wrong that is.

    Args:
        boxes: (P, 4).
        teacher_boxes: (Q, 4), best first, Q >= 1.
        least_iou: those of a smaller IoU are not near.

    Returns:
        Indices (P,) among the teacher's, 0 where none is near, and whether one is (P,).
    """
    near = box_iou(boxes, teacher_boxes) >= least_iou
    return near.int().argmax(1), near.any(1)


def mixed(given: Boxes, others: Boxes, weight: Tensor) -> Boxes:
    """``(1 - w) · given + w · other``, of boxes and scores alike.

    Args:
        given, others: boxes (P, 4) and scores (P,).
        weight: w (P,), in [0, 1].
    """
    boxes = torch.lerp(given[0], others[0].to(given[0]), weight[:, None].to(given[0]))
    return boxes, torch.lerp(given[1], others[1].to(given[1]), weight.to(given[1]))


def moved(given: Boxes, teachers: Boxes, weights: Tensor, least_iou: float) -> Boxes:
    """Each given box, :func:`mixed` with its partner of the teacher's where it has one.

    Args:
        given: boxes (P, 4) and scores (P,).
        teachers: boxes (Q, 4) and scores (Q,), best first; Q may be 0.
        weights: (Q,) of the teacher's, in [0, 1].
        least_iou: see :func:`partners`.
    """
    if not len(teachers[0]):
        return given
    index, is_near = partners(given[0], teachers[0], least_iou)
    others = teachers[0][index], teachers[1][index]
    return mixed(given, others, is_near * weights[index])


@refinement(NO_REFINEMENT)
def no_refinement(
    boxes: Tensor, scores: Tensor, teacher_boxes: Tensor, teacher_scores: Tensor, progress: Progress
) -> Boxes:
    """The given boxes."""
    return boxes, scores


@refinement("average", node="TEACHER")
def average(
    boxes: Tensor,
    scores: Tensor,
    teacher_boxes: Tensor,
    teacher_scores: Tensor,
    progress: Progress,
    *,
    iou: float = 0.5,
    weight: float = 0.5,
) -> Boxes:
    """Each given box is moved towards the teacher's best box near it, by a scheduled weight.

    It corrects borders; a box that is wrong altogether has no partner and stays. The localization
    adaptation of W2N (Huang et al., ECCV 2022) averages so.

    Args:
        iou: least IoU of the two.
        weight: the teacher's weight at this point of the training, in [0, 1].
    """
    weights = torch.full_like(teacher_scores, min(weight, 1.0))
    return moved((boxes, scores), (teacher_boxes, teacher_scores), weights, iou)


@refinement("soft", node="TEACHER")
def soft(
    boxes: Tensor,
    scores: Tensor,
    teacher_boxes: Tensor,
    teacher_scores: Tensor,
    progress: Progress,
    *,
    iou: float = 0.5,
    gamma: float = 1.0,
    most: float = 0.85,
) -> Boxes:
    """As :func:`average`, but by a weight ``min(s^γ, θ)`` of the teacher's score s.

    That is the instance selection of OA-MIL (Liu et al., ECCV 2022, eq. (6); γ 7.5 and θ 0.85 for
    the softmax of its R-CNN).

    Args:
        iou: least IoU of the two.
        gamma: γ >= 0.
        most: θ in [0, 1].
    """
    weights = (teacher_scores**gamma).clamp(max=most)
    return moved((boxes, scores), (teacher_boxes, teacher_scores), weights, iou)


@refinement("replace")
def replace(
    boxes: Tensor, scores: Tensor, teacher_boxes: Tensor, teacher_scores: Tensor, progress: Progress
) -> Boxes:
    """The teacher's P best boxes, each in the place of the given one that it overlaps most.

    Where the teacher has fewer that are confident (``WEND.TEACHER.MIN_SCORE``,
    ``SCORE_QUANTILE``), the other given ones stay. So labels are made in Unbiased Teacher (Liu et
    al., ICLR 2021), without its given ones.
    """
    taken = min(len(boxes), len(teacher_boxes))
    overlap = box_iou(teacher_boxes[:taken], boxes)
    boxes, scores = boxes.clone(), scores.clone()
    for row, (box, score) in enumerate(zip(teacher_boxes[:taken], teacher_scores, strict=False)):
        place = overlap[row].argmax()
        boxes[place], scores[place] = box, score.to(scores)
        overlap[:, place] = -1.0  # of the teacher's, which no other takes
    return boxes, scores
