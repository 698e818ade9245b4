"""A second look at an image's best box, on the part of the input around it: ``WEND.CLOSER_LOOK``.

Boxes of small objects are too large where feature maps are coarse. Enlarged, an object covers more
cells; but from close by, a part of a large one can look like a whole. The best box of both looks is
averaged, which errs less than either (``docs/photos_study.md``).

Letters: N = inputs, S = side in pixels of an input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from wend.structures.box_table import BoxTable
from wend.structures.frame import Frame
from wend.structures.frames import Frames

LEAST_PART = 0.3  # of the input's side: enlarged further there is nothing more to see


def closer_views(
    images: Tensor, frames: Sequence[Frame], boxes: np.ndarray, factor: float
) -> tuple[Tensor, list[Frame]]:
    """The parts of N inputs around a box of each, enlarged to the inputs' size.

    Args:
        images: the inputs (N, 3, S, S), 0..255, of any type of numbers.
        frames: the ways from original pixels to them, not upside down.
        boxes: (N, 4) xyxy in original pixels.
        factor: sides of a part, as multiples of the box's; cut at the input's border.

    Returns:
        The parts (N, 3, S, S), bilinear, rounded to whole numbers, and the ways from original
        pixels to them.
    """
    sides = np.array([images.shape[-1], images.shape[-2]])
    in_frame = Frames.of(frames).to_frame(boxes)
    first, last = _part(in_frame[:, :2], in_frame[:, 2:], factor, sides)  # (N, 2)
    parts = _enlarged(images.float(), first, last).round().to(images.dtype)
    larger = sides / (last - first)
    ways = []
    for frame, (left, top), right, (wider, higher) in zip(
        frames, first.tolist(), last[:, 0].tolist(), larger.tolist(), strict=True
    ):
        # what is cut off in front, before the mirror
        before = images.shape[-1] - right if frame.flip else left
        ways.append(
            replace(
                frame,
                scale_x=frame.scale_x * wider,
                scale_y=frame.scale_y * higher,
                offset_x=(frame.offset_x - before) * wider,
                offset_y=(frame.offset_y - top) * higher,
            )
        )
    return parts, ways


def _part(
    start: np.ndarray, end: np.ndarray, factor: float, sides: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """First whole pixel of 0..side around start..end and the one behind the last; at least one."""
    centre, half = (start + end) / 2, np.maximum((end - start) * factor, LEAST_PART * sides) / 2
    first = np.clip(np.floor(centre - half), 0, sides - 1).astype(np.int64)
    last = np.clip(np.ceil(centre + half), 0, sides).astype(np.int64)
    return first, np.maximum(first + 1, last)


def _enlarged(images: Tensor, first: np.ndarray, last: np.ndarray) -> Tensor:
    """Parts of images (N, 3, S, S) enlarged to their size, bilinearly.

    One by one, by four operations each: a gather of all at once rounds otherwise.

    Args:
        first, last: (N, 2) the part's first pixel in x and y, and the one behind its last.
    """
    corners = np.concatenate([first, last], axis=1).tolist()
    return torch.cat(
        [
            interpolate(
                images[i : i + 1, :, top:bottom, left:right],
                size=images.shape[-2:],
                mode="bilinear",
                align_corners=False,
            )
            for i, (left, top, right, bottom) in enumerate(corners)
        ]
    )


def best_rows(table: BoxTable, images: Sequence[int] | np.ndarray) -> np.ndarray:
    """Rows (n,) of the best boxes of n images, which have some; of equal scores the first."""
    assert table.scores is not None
    order = np.lexsort((-table.scores, table.owner))  # of equal scores the first stays first
    return order[table.offsets[images]]


def average_best(far: BoxTable, close: BoxTable, images: Sequence[int]) -> BoxTable:
    """Boxes of the first look, those that are an image's best the mean of both looks' best.

    Args:
        far: of N images.
        close: of the n that were looked at twice; it may have no box of some.
        images: (n,) their index among the N.
    """
    both = close.with_boxes
    rows = best_rows(far, np.asarray(images)[both])
    boxes = far.boxes.copy()
    boxes[rows] = (boxes[rows] + close.boxes[best_rows(close, both)]) / 2
    return replace(far, boxes=boxes)


def look_closer(
    predict: Callable[[Tensor, Sequence[Frame]], BoxTable],
    images: Tensor,
    frames: Sequence[Frame],
    factor: float,
    predict_closer: Callable[[Tensor, Sequence[Frame]], BoxTable] | None = None,
) -> BoxTable:
    """Predict on a batch, and once more around the best boxes.

    Args:
        predict: inputs and the ways to them -> boxes in original pixels and scores.
        images: N inputs (N, 3, S, S).
        frames: N ways to them.
        factor: see :func:`closer_views`; 0: the first look alone.
        predict_closer: the second look's; None: the same.

    Returns:
        The first look's predictions, with :func:`average_best`'s boxes.
    """
    far = predict(images, frames)
    seen = far.with_boxes.tolist() if factor else []
    if not seen:
        return far
    views = closer_views(
        images[seen], [frames[i] for i in seen], far.boxes[best_rows(far, seen)], factor
    )
    return average_best(far, (predict_closer or predict)(*views), seen)
