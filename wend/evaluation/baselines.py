"""The content-blind baseline: fixed boxes that never look at the image.

A few well chosen boxes, the same for every image, already overlap most objects by half
(``docs/protocols.md``). What a detector reaches with its K best boxes means something only beside
what K fixed boxes reach.

Boxes here are fractions ``x0, y0, x1, y1`` of the image's width and height, (N, 4). IoU does not
change when both boxes are stretched along an axis, so IoU of fractions in the unit square *is* IoU
in the image's original pixels, and in any squash without a crop. A crop clips and does change it:
for a protocol with one, choose in the crop's fractions (:func:`crop_fractions`) and take the chosen
boxes back (:func:`uncrop_fractions`).

Choose on the training split's pseudo boxes, or give the boxes; never on the truth that is scored.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wend.errors import InputError
from wend.structures.boxes import box_area, box_iou, clip_boxes
from wend.structures.checks import as_boxes
from wend.structures.frame import resize_and_crop
from wend.structures.records import Detections, ImageRecord

_CHUNK = 1024  # boxes whose IoU with all candidates is in memory at once
SIDES = ("pseudo_boxes", "gt_boxes")


def box_fractions(
    records: Sequence[ImageRecord], which: str = "pseudo_boxes"
) -> tuple[np.ndarray, np.ndarray]:
    """The records' boxes as fractions of their images, clipped to them.

    Args:
        records: of the training split.
        which: "pseudo_boxes", or "gt_boxes" of images that are not scored.

    Returns:
        Boxes (N, 4) and, for each, the place (N,) of its record.

    Raises:
        InputError: another ``which``, or the records have no such box.
    """
    if which not in SIDES:
        raise InputError(f"fixed boxes: expected boxes of {SIDES}, got {which!r}")
    counts = [len(getattr(record, which)) for record in records]
    if not sum(counts):
        raise InputError(
            f"fixed boxes: none of the {len(records)} images has {which} to choose from; give "
            f"records of the training split with pseudo boxes, or the fixed boxes themselves"
        )
    sizes = np.maximum(np.array([(r.width, r.height) for r in records], dtype=np.float64), 1)
    place = np.repeat(np.arange(len(records)), counts)
    boxes = np.concatenate([getattr(record, which) for record in records])
    return clip_boxes(boxes / np.tile(sizes, 2)[place], 1, 1), place


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
    boxes, place = boxes[order], np.unique(index[order], return_inverse=True)[1]
    num_images = place[-1] + 1
    if num_images > max_images:
        kept = np.zeros(num_images, dtype=bool)
        kept[rng.permutation(num_images)[:max_images]] = True
        boxes, place = boxes[kept[place]], place[kept[place]]
    return boxes, np.unique(place, return_index=True)[1]


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
            each box is an image of its own.
        candidates: boxes drawn, without repetition.
        iou_threshold: a box covers another if their IoU in the unit square exceeds it.
        max_images: coverage is counted on that many images, drawn by chance, if there are more.
        seed: of the draws.

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


def fixed_box_detections(records: Sequence[ImageRecord], fractions: np.ndarray) -> list[Detections]:
    """The same boxes for every image, scores 1, (K - 1)/K, ..., 1/K: first chosen, best.

    Args:
        records: images to score.
        fractions: (K, 4) of :func:`choose_fixed_boxes`, or given.

    Raises:
        InputError: not boxes in fractions of the image.
    """
    fractions = as_boxes(fractions, "fixed boxes")
    _check_fractions(fractions)
    scores = np.arange(len(fractions), 0, -1) / max(len(fractions), 1)
    return [
        Detections(r.image_id, fractions * (r.width, r.height, r.width, r.height), scores)
        for r in records
    ]
