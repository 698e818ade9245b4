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

from wend.structures.frame import Frame

# Boxes (P, 4) in original pixels and scores (P,) of an image
Prediction = tuple[np.ndarray, np.ndarray]
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


def average_best(far: Prediction, close: Prediction) -> np.ndarray:
    """Boxes of the first look, (P, 4) with P >= 1, whose best is the mean of both looks' best."""
    boxes = far[0].copy()
    if len(close[0]):
        best = far[1].argmax()
        boxes[best] = (boxes[best] + close[0][close[1].argmax()]) / 2
    return boxes


def look_closer(
    predict: Callable[[Sequence[Tensor], Sequence[Frame]], list[Prediction]],
    images: Sequence[Tensor],
    frames: Sequence[Frame],
    factor: float,
) -> list[Prediction]:
    """Predict on a batch, and once more around the best boxes.

    Args:
        predict: inputs (3, S, S) and the ways to them -> boxes in original pixels and scores.
        images, frames: N of each.
        factor: see :func:`closer_view`; 0: the first look alone.

    Returns:
        The first look's predictions, with :func:`average_best`'s boxes.
    """
    predictions = predict(images, frames)
    seen = [i for i, (boxes, _) in enumerate(predictions) if factor and len(boxes)]
    if seen:
        best = {i: predictions[i][0][predictions[i][1].argmax()] for i in seen}
        views = [closer_view(images[i], frames[i], best[i], factor) for i in seen]
        close = predict(*zip(*views, strict=True))
        for i, prediction in zip(seen, close, strict=True):
            predictions[i] = average_best(predictions[i], prediction), predictions[i][1]
    return predictions
