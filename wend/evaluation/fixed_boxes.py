"""The content-blind baseline: what K boxes that never look at the image are worth.

A few well chosen boxes, the same for every image, already overlap most objects by half
(``docs/protocols.md``). What a detector reaches with its K best boxes means something only beside
what K fixed boxes reach.

Boxes here are fractions ``x0, y0, x1, y1`` of the image's width and height, (N, 4). IoU does not
change when both boxes are stretched along an axis, so IoU of fractions in the unit square *is* IoU
in the image's original pixels, and in any squash without a crop. A crop that cuts the truth does
change it: for a protocol with one, boxes are chosen among and for what is left of the truth, in the
crop's fractions (:func:`crop_fractions`), and the chosen ones taken back
(:func:`uncrop_fractions`). They are scored as any detections are.

Boxes are chosen on the training split's boxes, or given; never on the truth that is scored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from wend.errors import InputError, some
from wend.evaluation.protocols import EvalProtocol
from wend.structures.box_table import NO_BOXES, BoxTable
from wend.structures.boxes import box_area, box_iou, clip_boxes
from wend.structures.checks import as_boxes
from wend.structures.data_set import DataSet
from wend.structures.frame import BoxFrame, resize_and_crop

BASELINE_MAX_BOXES = 100  # boxes chosen, unless more are asked for; also for K "all"
SIDE_NAMES = {"pseudo_boxes": "pseudo boxes", "gt_boxes": "true boxes"}
_CHUNK = 1024  # boxes whose IoU with all candidates is in memory at once


class FixedBoxes:
    """Boxes that are the same for every image, chosen on training boxes once for each frame.

    One object serves all evaluations of a run. Make it with :meth:`from_training` or
    :meth:`from_boxes`.

    Args:
        name: where the boxes come from.
        training: data sets on whose training boxes they are chosen.
        given: (K, 4) fractions of the image to take as they stand, in their order, instead.
    """

    def __init__(
        self, name: str, training: Sequence[DataSet] = (), given: np.ndarray | None = None
    ) -> None:
        self.name = name
        self.training = tuple(training)
        self.given = given
        self._chosen: dict[BoxFrame | None, tuple[int, np.ndarray]] = {}

    @classmethod
    def from_training(cls, training: Sequence[DataSet]) -> FixedBoxes:
        """Boxes to be chosen on what detectors learn from in one or more data sets.

        Raises:
            InputError: a data set has no such box.
        """
        for data_set in training:
            if not len(data_set.training_boxes.boxes):
                raise InputError(
                    f"fixed boxes: none of the {len(data_set)} images has {data_set.train_on} to "
                    f"choose from; give records of the training split with pseudo boxes, or the "
                    f"fixed boxes themselves"
                )
        names = ", ".join(f"the {SIDE_NAMES[d.train_on]} of {d.name}" for d in training)
        return cls(f"chosen on {names}", training)

    @classmethod
    def from_boxes(cls, boxes: object, source: str | Path) -> FixedBoxes:
        """Boxes (K, 4) in fractions of the image, to take as they stand, read from a file.

        Raises:
            InputError: not boxes in fractions of the image, or none.
        """
        boxes = as_boxes(boxes, f"{source}, fixed boxes")
        if not len(boxes):
            raise InputError(f"{source}: holds no box")
        _check_fractions(boxes)
        return cls(f"the {len(boxes)} given in {Path(source).name}", given=boxes)

    def check_apart(self, scored: DataSet) -> None:
        """Raise InputError if an image on which the boxes are chosen is scored, by its key."""
        keys = frozenset(scored.keys)
        for data_set in self.training:
            both = [key for key in data_set.keys if key in keys]
            if both:
                raise InputError(
                    f"{data_set.name}: {len(both)} of its images are scored ({some(both)}); "
                    f"content-blind boxes must not know the test images, name the training split"
                )

    @cached_property
    def pool(self) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (N, 4) in fractions to choose from, and the index (N,) of each one's image."""
        parts = [box_fractions(data_set) for data_set in self.training]
        starts = np.cumsum([0, *map(len, self.training)])
        return (
            np.concatenate([boxes for boxes, _ in parts]),
            np.concatenate([i + start for (_, i), start in zip(parts, starts, strict=False)]),
        )

    def choose(self, protocol: EvalProtocol, k: int) -> np.ndarray:
        """K boxes in fractions of the image; where a protocol cuts the truth, chosen in its crop.

        Returns:
            (K, 4), or fewer rows if there are fewer boxes to choose from.
        """
        if self.given is not None:
            return self.given[:k]
        frame = protocol.frame if protocol.cuts_truth else None  # a stretch leaves IoU as it is
        asked, boxes = self._chosen.get(frame, (0, NO_BOXES))
        if asked < k:  # the first of many are those that fewer would be
            asked = max(k, BASELINE_MAX_BOXES)
            boxes, index = self.pool
            if frame is not None:
                boxes = crop_fractions(boxes, *frame)
            boxes = choose_fixed_boxes(boxes, asked, index)
            if frame is not None:
                boxes = uncrop_fractions(boxes, *frame).clip(0, 1)
            self._chosen[frame] = asked, boxes
        return boxes[:k]

    def table(self, data_set: DataSet, protocol: EvalProtocol, k: int) -> BoxTable:
        """K boxes on each image of a data set, as detections."""
        return fixed_box_table(data_set, self.choose(protocol, k))

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the boxes that are chosen from, or given."""
        boxes = self.pool[0] if self.given is None else self.given
        return hashlib.sha256(np.ascontiguousarray(boxes, dtype="<f8").tobytes()).hexdigest()


def box_fractions(data_set: DataSet) -> tuple[np.ndarray, np.ndarray]:
    """The training boxes of a data set as fractions of their images, clipped to them.

    Returns:
        Boxes (N, 4), and the index (N,) of each one's image.
    """
    table = data_set.training_boxes
    image = table.owner
    sizes = np.tile(data_set.frame_sizes, 2)
    return clip_boxes(table.boxes / sizes[image], 1, 1), image


def crop_fractions(fractions: np.ndarray, resize: int, crop: int) -> np.ndarray:
    """Fractions (N, 4) of the image to fractions of its centre crop, clipped to it."""
    frame = resize_and_crop(1, 1, resize, crop)
    return clip_boxes(frame.to_frame(np.asarray(fractions)), crop, crop) / crop


def uncrop_fractions(fractions: np.ndarray, resize: int, crop: int) -> np.ndarray:
    """Fractions (N, 4) of the centre crop to fractions of the image."""
    return resize_and_crop(1, 1, resize, crop).to_original(np.asarray(fractions) * crop)


def _coverage(
    candidates: np.ndarray, boxes: np.ndarray, starts: np.ndarray, iou_threshold: float
) -> np.ndarray:
    """Whether each candidate exceeds the threshold with any box of each image: (C, I) bool."""
    covers = np.empty((len(candidates), len(boxes)), dtype=bool)
    for i in range(0, len(boxes), _CHUNK):
        covers[:, i : i + _CHUNK] = box_iou(candidates, boxes[i : i + _CHUNK]) > iou_threshold
    if len(starts) == len(boxes):
        return covers
    return np.logical_or.reduceat(covers, starts, axis=1)


def _greedy(covers: np.ndarray, k: int) -> list[int]:
    """Rows of covers (C, I) that each cover most of what the rows before leave uncovered.

    Ties, also of rows that add nothing, go to the row that covers most in all, then to the first.
    """
    total = covers.sum(1)
    gain = total.copy()
    uncovered = np.ones(covers.shape[1], dtype=bool)
    chosen: list[int] = []
    for _ in range(min(k, len(covers))):
        rank = gain * (covers.shape[1] + 1) + total
        rank[chosen] = -1
        best = int(rank.argmax())
        chosen.append(best)
        newly = np.flatnonzero(covers[best] & uncovered)
        gain -= covers[:, newly].sum(1)
        uncovered[newly] = False
    return chosen


def _by_image(
    boxes: np.ndarray, index: np.ndarray, max_images: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of at most ``max_images`` images side by side, and where each image starts."""
    order = np.argsort(index, kind="stable")
    boxes, image = boxes[order], np.unique(index[order], return_inverse=True)[1]
    num_images = image[-1] + 1
    if num_images > max_images:
        kept = np.zeros(num_images, dtype=bool)
        kept[rng.permutation(num_images)[:max_images]] = True
        boxes, image = boxes[kept[image]], image[kept[image]]
    return boxes, np.unique(image, return_index=True)[1]


def choose_fixed_boxes(
    boxes: np.ndarray,
    k: int,
    image_index: np.ndarray | None = None,
    *,
    candidates: int = 600,
    iou_threshold: float = 0.5,
    max_images: int = 100_000,
    seed: int = 0,
) -> np.ndarray:
    """Greedy max-coverage choice of fixed boxes.

    Candidates are drawn from the boxes; each step takes the one that covers most images that are
    not covered yet (greedy reaches 1 - 1/e of the best choice; Nemhauser et al. 1978). The first j
    of k boxes are those that k = j gives, so one choice serves every K.

    Args:
        boxes: (N, 4) fractions of the image, of the training split (:func:`box_fractions`).
        k: boxes to choose; fewer come back if there are fewer candidates.
        image_index: (N,) image of each box; an image is covered if any box of it is. By default
            each box has an image of its own.
        candidates: boxes drawn, without repetition.
        iou_threshold: a box covers another if their IoU in the unit square exceeds it.
        max_images: coverage is counted on that many images, drawn by chance, if there are more.
        seed: seed of the draws.

    Returns:
        (K, 4) fractions, in the order chosen.

    Raises:
        InputError: no box with an area, not boxes in 0..1, or a count or threshold out of range.
    """
    boxes = as_boxes(boxes, "fixed boxes, boxes to choose from")
    index = np.arange(len(boxes)) if image_index is None else np.asarray(image_index)
    _check_choice(boxes, index, k, candidates, iou_threshold, max_images)
    boxes, index = (array[box_area(boxes) > 0] for array in (boxes, index))
    rng = np.random.default_rng(seed)
    drawn = boxes[rng.permutation(len(boxes))[:candidates]]
    boxes, starts = _by_image(boxes, index, max_images, rng)
    return drawn[_greedy(_coverage(drawn, boxes, starts, iou_threshold), k)]


def _check_choice(
    boxes: np.ndarray,
    index: np.ndarray,
    k: int,
    candidates: int,
    iou_threshold: float,
    max_images: int,
) -> None:
    if index.shape != (len(boxes),):
        raise InputError(f"fixed boxes: {len(boxes)} boxes but image_index has {index.shape}")
    if not (box_area(boxes) > 0).any():
        raise InputError("fixed boxes: there is no box with an area to choose from")
    _check_fractions(boxes)
    if min(k, candidates, max_images) < 1 or not 0 < iou_threshold < 1:
        raise InputError(
            f"fixed boxes: expected k, candidates and max_images >= 1 and iou_threshold in (0, 1), "
            f"got {k}, {candidates}, {max_images} and {iou_threshold}"
        )


def _check_fractions(boxes: np.ndarray) -> None:
    outside = ((boxes < -1e-6) | (boxes > 1 + 1e-6)).any(1)
    if outside.any():
        raise InputError(
            f"fixed boxes: {boxes[outside][0].tolist()} is not in fractions of the image, 0..1; "
            f"divide x by its width and y by its height"
        )


def fixed_box_table(data_set: DataSet, fractions: np.ndarray) -> BoxTable:
    """The same boxes on every image, scores 1, (K - 1)/K, ..., 1/K: first chosen, best.

    Args:
        data_set: images to score.
        fractions: (K, 4) of :func:`choose_fixed_boxes`, or given.
    """
    number, images = len(fractions), len(data_set)
    sizes = np.tile(data_set.frame_sizes, 2)
    boxes = (fractions * sizes[:, None]).reshape(-1, 4)
    scores = np.tile(np.arange(number, 0, -1) / max(number, 1), images)
    return BoxTable(number * np.arange(images + 1), boxes, scores)
