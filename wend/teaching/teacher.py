"""The average of the weights as a teacher: its boxes of a batch, and the boxes to learn from.

The engines hand in the crops of a batch and a function that predicts on them; nothing here knows
them. Shape letters: N = images, P = given boxes of an image, Q = boxes that the teacher predicts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from wend.loading.closer_look import closer_views
from wend.modeling.feature_cache import views_seen_once
from wend.schedules import Progress
from wend.structures.boxes import box_iou
from wend.structures.frame import Frame
from wend.teaching.refine import Boxes, Refinement

MIN_SIDE = 1.0  # pixels; a box with a shorter side in the crop is none to learn from
SAME = 0.5  # IoU from which a box and one of the mirrored crop are of the same object
AXES = {"horizontal": -1, "vertical": -2}  # of an image (3, H, W), by INPUT.RANDOM_FLIP
logger = logging.getLogger(__name__)

# crops, each (3, H, W) -> for each boxes (Q, 4), xyxy in its pixels, and scores (Q,)
Look = Callable[[list[Tensor]], Sequence[Boxes]]


@dataclass(frozen=True)
class Teaching:
    """How a teacher is asked: ``WEND.TEACHER`` and ``WEND.REFINE``.

    Attributes:
        refinement: makes the boxes to learn from.
        start: the share of the training from which on there is a teacher, [0, 1].
        flip: the direction in which a second look is mirrored, of :data:`AXES`; empty: not.
        closer_look: f: a second look is on the part of the crop f times as large around the best
            box, as :mod:`wend.loading.closer_look`'s, and that box the mean of both; 0: not.
        min_score: boxes that score less refine nothing.
        score_quantile: of the batch's best boxes, one an image, this share does not count as
            confident, and no box of a lower score does; [0, 1).
    """

    refinement: Refinement = field(default_factory=Refinement)
    start: float = 0.3
    flip: str = ""
    closer_look: float = 0.0
    min_score: float = 0.0
    score_quantile: float = 0.0


@dataclass(frozen=True, eq=False)
class Lesson:
    """What an image is learned from.

    Attributes:
        boxes, scores: the boxes to learn from (P, 4), xyxy in the crop, and their scores (P,).
        teacher: all boxes that the teacher predicts (Q, 4), and their scores (Q,), best first.
    """

    boxes: Tensor
    scores: Tensor
    teacher: Boxes


class Teacher:
    """Predicts the boxes of each batch, and refines the given ones by them.

    Args:
        look: predicts on crops, without gradient.
        teaching: how.

    Attributes:
        progress: how far the training is; whoever trains says it before each step.
    """

    def __init__(self, look: Look, teaching: Teaching) -> None:
        self.look, self.teaching = look, teaching
        self.progress = Progress()
        self._is_said = False
        self._sums: list[Tensor] = []

    @property
    def has_begun(self) -> bool:
        """Whether the training has come to the share where teaching starts."""
        return self.progress.share >= self.teaching.start

    @torch.no_grad()
    def teach(
        self, images: Sequence[Tensor], frames: Sequence[Frame], given: Sequence[Boxes]
    ) -> list[Lesson]:
        """The lessons of a batch.

        Args:
            images: N crops (3, H, W), as the look takes them.
            frames: of each crop, which predicted boxes are cut at.
            given: boxes (P, 4), xyxy in the crop, and scores (P,) of each image. One without boxes
                stays so: it is an image without an object.

        Returns:
            A lesson for each image, on the device of the predictions.
        """
        if not self._is_said:
            self._is_said = True
            logger.info(
                "from iteration %d on the average of the weights predicts each batch; WEND.REFINE "
                "is %s",
                self.progress.iteration,
                self.teaching.refinement.name,
            )
        predicted = self._predict(list(images), frames)
        device = predicted[0][0].device
        given = [(boxes.to(device), scores.to(device)) for boxes, scores in given]
        confident = self._confident(predicted)
        lessons = []
        for before, own, sure, frame in zip(given, predicted, confident, frames, strict=True):
            boxes, scores = before
            if len(boxes) and not self.teaching.refinement.is_none:
                boxes, scores = self._refined(before, sure, frame)
            lessons.append(Lesson(boxes, scores, own))
        self._count(given, lessons)
        return lessons

    def _refined(self, given: Boxes, teachers: Boxes, frame: Frame) -> Boxes:
        boxes, scores = self.teaching.refinement(given, teachers, self.progress)
        boxes = frame.clip(boxes)
        if len(boxes) != len(given[0]):  # of the user's own
            return _visible(boxes, scores)
        whole = _is_visible(boxes)
        return torch.where(whole[:, None], boxes, given[0]), torch.where(whole, scores, given[1])

    def _predict(self, images: list[Tensor], frames: Sequence[Frame]) -> list[Boxes]:
        predictions = _as_float(self.look(images))
        if self.teaching.closer_look:
            predictions = self._looked_closer(images, predictions)
        elif self.teaching.flip:
            mirrored = self._look_at(images, [_whole(image) for image in images])
            predictions = list(map(both_views, predictions, mirrored))
        return [
            _visible(frame.clip(boxes), scores)
            for (boxes, scores), frame in zip(predictions, frames, strict=True)
        ]

    def _look_at(self, images: Sequence[Tensor], frames: Sequence[Frame]) -> list[Boxes]:
        """Predictions on images, mirrored where asked for, back by their frames."""
        flip = self.teaching.flip
        if flip:
            images = [image.flip(AXES[flip]) for image in images]
            across, down = flip == "horizontal", flip == "vertical"
            frames = [replace(frame, flip=across, upside_down=down) for frame in frames]
        return [
            (frame.to_original(boxes), scores)
            for frame, (boxes, scores) in zip(
                frames, _as_float(self.look(list(images))), strict=True
            )
        ]

    def _looked_closer(self, images: Sequence[Tensor], predictions: list[Boxes]) -> list[Boxes]:
        """Predictions whose best box is the mean of itself and the best of a closer look at it."""
        seen = [index for index, (_, scores) in enumerate(predictions) if len(scores)]
        if not seen:
            return predictions
        best = torch.stack([predictions[i][0][predictions[i][1].argmax()] for i in seen])
        parts, frames = closer_views(
            torch.stack([images[index] for index in seen]),
            [_whole(images[index]) for index in seen],
            best.double().cpu().numpy(),
            self.teaching.closer_look,
        )
        with views_seen_once():
            looks = self._look_at([*parts], frames)
        for index, (close, of_close) in zip(seen, looks, strict=True):
            if len(close):
                boxes, scores = predictions[index]
                boxes, top = boxes.clone(), scores.argmax()
                boxes[top] = (boxes[top] + close[of_close.argmax()]) / 2
                predictions[index] = boxes, scores
        return predictions

    def _confident(self, predicted: Sequence[Boxes]) -> list[Boxes]:
        least: Tensor | float = self.teaching.min_score
        best = [scores[:1] for _, scores in predicted if len(scores)]
        if self.teaching.score_quantile and best:
            rank = torch.quantile(torch.cat(best), self.teaching.score_quantile)
            least = rank.clamp(min=self.teaching.min_score)
        return [(boxes[scores >= least], scores[scores >= least]) for boxes, scores in predicted]

    def _count(self, given: Sequence[Boxes], lessons: Sequence[Lesson]) -> None:
        """Add a batch to the sums that :meth:`scalars` divides; they stay on the device."""
        best = [lesson.teacher[1][:1] for lesson in lessons if len(lesson.teacher[1])]
        device = lessons[0].boxes.device
        kept = torch.zeros((), device=device)
        unchanged = torch.zeros((), device=device)
        number = 0
        for (before, _), lesson in zip(given, lessons, strict=True):
            if len(before) and len(lesson.boxes):
                overlap = box_iou(lesson.boxes, before)
                kept += overlap.max(1).values.sum()
                unchanged += (lesson.boxes[:, None] == before).all(2).any(1).sum()
                number += len(lesson.boxes)
        score = torch.cat(best).sum() if best else kept.new_zeros(())
        counts = kept.new_tensor([number, len(best)])
        sums = torch.stack([kept, unchanged, score])
        self._sums.append(torch.cat([sums, counts]))

    def state_dict(self) -> dict[str, Any]:
        """What :meth:`scalars` is made of since its last call. Waits for the device."""
        return {"is_said": self._is_said, "sums": [sums.tolist() for sums in self._sums]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with it."""
        self._is_said = bool(state["is_said"])
        self._sums = [torch.tensor([float(number) for number in sums]) for sums in state["sums"]]

    def scalars(self) -> dict[str, float]:
        """The numbers of the batches since the last call; empty where there were none.

        Returns:
            ``teacher/score``, the mean score of the teacher's best boxes; with a refinement also
            ``teacher/iou_with_given``, the mean IoU of boxes to learn from with the given ones, and
            ``teacher/changed``, the share of them that are no given ones.
        """
        if not self._sums:
            return {}
        sums = torch.stack([each.to(self._sums[-1].device) for each in self._sums]).sum(0)
        kept, unchanged, score, number, images = sums.tolist()
        self._sums.clear()
        values = {"teacher/score": score / images} if images else {}
        if number and not self.teaching.refinement.is_none:
            values["teacher/iou_with_given"] = kept / number
            values["teacher/changed"] = 1 - unchanged / number
        return values


def _is_visible(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2] >= MIN_SIDE).all(1)


def _visible(boxes: Tensor, scores: Tensor) -> Boxes:
    """The boxes that can be seen in the crop, best first."""
    whole = _is_visible(boxes)
    boxes, scores = boxes[whole], scores[whole]
    order = scores.argsort(descending=True, stable=True)
    return boxes[order], scores[order]


def _as_float(predictions: Sequence[Boxes]) -> list[Boxes]:
    return [(boxes.float(), scores.float()) for boxes, scores in predictions]


def _whole(image: Tensor) -> Frame:
    """The frame of an image (3, H, W) in its own pixels."""
    height, width = image.shape[-2:]
    return Frame(width, height, 1.0, 1.0, 0.0, 0.0)


def both_views(straight: Boxes, mirrored: Boxes) -> Boxes:
    """The boxes of two looks at a crop: the mean of those that each other's best match are.

    The mean is weighted by the scores, its score is the mean of both. A box that the other look
    does not have keeps half of its score, as in weighted box fusion (Solovyev et al., 2021).

    Args:
        straight, mirrored: boxes, in the pixels of the same crop, and scores.
    """
    (a, of_a), (b, of_b) = straight, mirrored
    if not len(a) or not len(b):
        return torch.cat([a, b]), torch.cat([of_a, of_b]) / 2
    overlap = box_iou(a, b)
    best, index = overlap.max(1)
    is_mutual = (overlap.argmax(0)[index] == torch.arange(len(a), device=a.device)) & (best >= SAME)
    share = torch.where(is_mutual, of_b[index], 0.0)
    weights = of_a + share
    b_weight = torch.where(weights > 0, share / weights.clamp(min=1e-12), is_mutual * 0.5)
    alone = torch.ones_like(of_b, dtype=torch.bool)
    alone[index[is_mutual]] = False
    boxes = torch.lerp(a, b[index], b_weight[:, None])
    return torch.cat([boxes, b[alone]]), torch.cat([weights, of_b[alone]]) / 2
