"""The checks that all boxes and scores pass once, where they enter.

In all of them ``where`` names what holds the values, for messages: a file and its line, an image.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from wend.errors import InputError, shown
from wend.files import MAX_NUMBER


def as_numbers(values: object, where: str, expected: str) -> np.ndarray:
    """A float64 copy of numbers.

    Raises:
        InputError: anything but numbers (texts and booleans are none).
    """
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: expected {expected}, got {shown(values)}") from error
    if array.size and array.dtype.kind not in "fiu":
        raise InputError(f"{where}: expected {expected}, got {shown(values)}")
    return array.astype(np.float64)


def as_boxes(boxes: object, where: str) -> np.ndarray:
    """Check and copy boxes to a read-only float64 array (N, 4).

    Raises:
        InputError: not N rows of four finite numbers, or a corner right of or below its opposite.
    """
    array = as_numbers(boxes, where, "boxes as rows of four numbers")
    if array.shape == (0,):
        array = array.reshape(0, 4)
    if array.ndim != 2 or array.shape[1] != 4:
        raise InputError(f"{where}: expected boxes of shape (N, 4), got {array.shape}")
    bad = ~(np.abs(array) < MAX_NUMBER).all(1)
    if bad.any():
        raise InputError(f"{where}: box {array[bad][0].tolist()} is not four finite numbers")
    bad = (array[:, 2:] < array[:, :2]).any(1)
    if bad.any():
        raise InputError(
            f"{where}: box {array[bad][0].tolist()} ends before it starts; expected x0,y0,x1,y1 "
            f"with x0 <= x1 and y0 <= y1"
        )
    array.setflags(write=False)
    return array


def as_scores(scores: object, number: int, where: str) -> np.ndarray:
    """Check and copy the scores of ``number`` boxes to a float64 array (number,).

    Raises:
        InputError: another number of scores, or one that is not finite.
    """
    array = as_numbers(scores, where, "scores as numbers").reshape(-1)
    if len(array) != number:
        raise InputError(f"{where}: {number} boxes but {len(array)} scores")
    if not np.isfinite(array).all():
        raise InputError(f"{where}: score {array[~np.isfinite(array)][0]} is not finite")
    return array


def as_class_ids(class_ids: object, number: int, where: str) -> np.ndarray:
    """Check and copy the classes of ``number`` boxes to an int64 array (number,).

    Raises:
        InputError: another number of classes, or one that is no whole number from 0.
    """
    array = np.asarray(class_ids).reshape(-1)
    if len(array) != number:
        raise InputError(f"{where}: {number} boxes but {len(array)} classes")
    if number and (array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= 2**31):
        raise InputError(f"{where}: expected classes as whole numbers from 0, got {class_ids!r}")
    return array.astype(np.int64)


def check_predicted(
    boxes: np.ndarray, owner: np.ndarray, describe: Callable[[int], object]
) -> None:
    """Check that a detector predicts numbers.

    Args:
        boxes: (B, 4), of several images.
        owner: (B,) index of each box's image.
        describe: names the image of an index in the message.

    Raises:
        InputError: a box is not finite.
    """
    bad = np.flatnonzero(~np.isfinite(boxes).all(1))
    if len(bad):
        raise InputError(
            f"{describe(int(owner[bad[0]]))}: the detector predicts a box that is not finite, "
            f"{boxes[bad[0]].tolist()}; its weights have diverged, or are not its own"
        )
