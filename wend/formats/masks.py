"""Masks of objects as one map of pixels, in the frame in which score maps are compared with it.

Follows wsolevaluation 96f4b88 evaluation.py:291-336, OpenCV's choice of nearest pixels included: a
pixel of any object's mask is the object's, and one of the ignored region that is no object's does
not count.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wend.errors import InputError, MissingFileError
from wend.images.opening import open_image
from wend.structures.masks import MaskFiles
from wend.structures.records import MAX_MEGAPIXELS

BACKGROUND, OBJECT, IGNORED = 0, 1, 255


def read_pixel_truth(masks: MaskFiles, side: int) -> np.ndarray:
    """What each pixel of an image squashed to ``side``² is: (side, side) uint8.

    Returns:
        ``OBJECT``, ``BACKGROUND`` or ``IGNORED``.

    Raises:
        MissingFileError, InputError: a mask is not there, or is no image.
    """
    objects = np.zeros((side, side), dtype=bool)
    for path in masks.objects:
        objects |= _squashed(read_mask(path), side)
    truth = objects.astype(np.uint8)
    if masks.ignored is not None:
        truth[_squashed(read_mask(masks.ignored), side) & ~objects] = IGNORED
    return truth


def read_mask(path: str | Path) -> np.ndarray:
    """The pixels above 0 of a mask file of any mode: (height, width) bool.

    Raises:
        MissingFileError, InputError: no such file, or no image.
    """
    try:
        with open_image(path, MAX_MEGAPIXELS) as image:
            pixels = np.asarray(image.convert("L") if image.mode != "I;16" else image)
    except FileNotFoundError as error:
        raise MissingFileError(
            f"{path}: there is no such mask; unpack wsolevaluation's OpenImages annotations, and "
            f"name the folder that the list's paths start from as 'masks'"
        ) from error
    except Exception as error:  # decoders raise struct.error, IndexError, ... on damaged files
        problem = str(error).removeprefix(f"{path}: ")
        raise InputError(f"{path}: cannot be read as a mask image ({problem})") from error
    above: np.ndarray = pixels > 0
    return above


def _squashed(mask: np.ndarray, side: int) -> np.ndarray:
    """A mask (height, width) squashed to (side, side), by nearest pixels."""
    import cv2

    pixels = cv2.resize(mask.astype(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST)
    return pixels.astype(bool)
