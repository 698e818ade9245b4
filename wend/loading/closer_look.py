"""A second look at an image's best box, on the part of the input around it: ``WEND.CLOSER_LOOK``.

Boxes of small objects are too large where feature maps are coarse. Enlarged, an object covers more
cells; but from close by, a part of a large one can look like a whole. The best box of both looks is
averaged, which errs less than either (``docs/photos_study.md``).

Letters: S = side in pixels of the detector's input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor
from torch.nn.functional import interpolate

from wend.structures.box_table import BoxTable
from wend.structures.frame import Frame

LEAST_PART = 0.3  # of the input's side: enlarged further there is nothing more to see


def closer_view(
    image: Tensor, frame: Frame, box: np.ndarray, factor: float
) -> tuple[Tensor, Frame]:
    """The part of an input around a box, enlarged to the input's size.

    Args:
        image: the input (3, S, S), 0..255, of any type of numbers.
        frame: the way from original pixels to it, not upside down.
        box: xyxy in original pixels.
        factor: sides of the part, as multiples of the box's; cut at the input's border.

    Returns:
        The part (3, S, S), bilinear, rounded to whole numbers, and the way from original pixels to
        it.
    """
    height, width = image.shape[-2:]
    x0, y0, x1, y1 = frame.to_frame(box)
    left, right = _part(x0, x1, factor, width)
    top, bottom = _part(y0, y1, factor, height)
    part = image[None, :, top:bottom, left:right].float()
    enlarged = interpolate(part, size=(height, width), mode="bilinear", align_corners=False)
    wider, higher = width / (right - left), height / (bottom - top)
    before = width - right if frame.flip else left  # what is cut off in front, before the mirror
    return enlarged[0].round().to(image.dtype), replace(
        frame,
        scale_x=frame.scale_x * wider,
        scale_y=frame.scale_y * higher,
        offset_x=(frame.offset_x - before) * wider,
        offset_y=(frame.offset_y - top) * higher,
    )


def _part(start: float, end: float, factor: float, side: int) -> tuple[int, int]:
    """Whole pixels of 0..side around start..end, at least one."""
    centre, half = (start + end) / 2, max((end - start) * factor, LEAST_PART * side) / 2
    first = int(np.clip(np.floor(centre - half), 0, side - 1))
    return first, max(first + 1, int(np.clip(np.ceil(centre + half), 0, side)))


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
    predict: Callable[[Sequence[Tensor], Sequence[Frame]], BoxTable],
    images: Sequence[Tensor],
    frames: Sequence[Frame],
    factor: float,
) -> BoxTable:
    """Predict on a batch, and once more around the best boxes.

    Args:
        predict: inputs (3, S, S) and the ways to them -> boxes in original pixels and scores.
        images, frames: N of each.
        factor: see :func:`closer_view`; 0: the first look alone.

    Returns:
        The first look's predictions, with :func:`average_best`'s boxes.
    """
    far = predict(images, frames)
    seen = far.with_boxes.tolist() if factor else []
    if not seen:
        return far
    best = far.boxes[best_rows(far, seen)]
    views = [
        closer_view(images[i], frames[i], box, factor) for i, box in zip(seen, best, strict=True)
    ]
    return average_best(far, predict(*zip(*views, strict=True)), seen)
