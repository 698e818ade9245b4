"""Boxes of COCO's masks: run-length codes, plain or compressed, and polygons.

A box of a run-length code reaches from the first pixel to the end of the last one, as
``pycocotools.mask.toBbox`` has it; a box of polygons from the smallest coordinate to the largest.
Run lengths go down the columns, of background and object by turns, background first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wend.errors import InputError, shown
from wend.files import is_number

MASK = (
    'a mask: {"size": [height, width], "counts": numbers or text} or polygons '
    "[[x, y, x, y, x, y, ...], ...]"
)
MAX_SIDE = 2**31
CODE_BITS, MORE, NEGATIVE, FIRST_CODE = 5, 0x20, 0x10, 48  # of a letter of compressed counts
MAX_LETTERS = 12  # of a number, which has 64 bits
Box = tuple[float, float, float, float]


def mask_size(mask: object) -> tuple[float, float] | None:
    """Width and height that a run-length code states; None for polygons."""
    size = mask.get("size") if isinstance(mask, Mapping) else None
    if not isinstance(size, list) or len(size) != 2:
        return None
    height, width = size
    if all(type(side) is int and 0 < side < MAX_SIDE for side in size):
        return float(width), float(height)
    return None


def mask_box(mask: object, where: str) -> Box | None:
    """The box of a mask as ``x0, y0, x1, y1`` in pixels of its image; None of an empty mask.

    Args:
        mask: a run-length code or polygons, as JSON holds them.
        where: what holds it, for the message.

    Raises:
        InputError: it is no mask, or its runs do not fill its size.
    """
    if isinstance(mask, Mapping):
        return _box_of_runs(mask, where)
    if isinstance(mask, list):
        return _box_of_polygons(mask, where)
    raise InputError(f"{where}: expected {MASK}, got {shown(mask)}")


def _box_of_polygons(polygons: Sequence[Any], where: str) -> Box | None:
    flat = bool(polygons) and not isinstance(polygons[0], list)
    parts = [polygons] if flat else polygons
    xs, ys = [], []
    for part in parts:
        if not isinstance(part, list) or len(part) < 4 or len(part) % 2:
            raise InputError(f"{where}: expected {MASK}, got {shown(part)}")
        if not all(map(is_number, part)):
            raise InputError(f"{where}: expected numbers in its polygons, got {shown(part)}")
        xs += part[::2]
        ys += part[1::2]
    return (min(xs), min(ys), max(xs), max(ys)) if xs else None


def _box_of_runs(mask: Mapping[str, Any], where: str) -> Box | None:
    size = mask_size(mask)
    if size is None:
        raise InputError(f"{where}: expected {MASK}, got {shown(mask)}")
    width, height = map(int, size)
    runs = _runs(mask.get("counts"), where)
    total = math.fsum(runs)  # int64 would overflow
    if (runs < 0).any() or total != width * height:
        raise InputError(
            f"{where}: expected run lengths from 0 that fill {width} x {height} (width x height) "
            f"= {width * height} pixels, got {shown(mask.get('counts'), 100)}, which fill "
            f"{total:.0f}"
        )
    ends = np.cumsum(runs)
    starts, ends = ends[:-1:2] if len(runs) % 2 else ends[::2], ends[1::2]
    held = ends > starts
    if not held.any():
        return None
    first, last = starts[held], ends[held] - 1  # pixels
    top, bottom = first % height, last % height
    turns = first // height != last // height  # goes on in the next column
    return (
        float(first[0] // height),
        0.0 if turns.any() else float(top.min()),
        float(last[-1] // height + 1),
        float(height if turns.any() else bottom.max() + 1),
    )


def _runs(counts: object, where: str) -> np.ndarray:
    """Run lengths (R,) int64."""
    if isinstance(counts, list):
        if all(type(count) is int and abs(count) < 2**62 for count in counts):
            return np.array(counts, dtype=np.int64)
    elif isinstance(counts, str) and counts.isascii():
        codes = np.frombuffer(counts.encode(), np.uint8).astype(np.int64) - FIRST_CODE
        if not len(codes):
            return codes
        lasts = np.flatnonzero(codes & MORE == 0)
        in_range = (codes >= 0) & (codes < 2 * MORE)
        if in_range.all() and len(lasts) and lasts[-1] == len(codes) - 1:
            firsts = np.concatenate([[0], lasts[:-1] + 1])
            lengths = lasts - firsts + 1
            if lengths.max() <= MAX_LETTERS:
                return _uncompressed(codes, firsts, lasts, lengths)
    raise InputError(
        f"{where}: expected counts as whole numbers, or as text that pycocotools wrote, got "
        f"{shown(counts, 100)}"
    )


def _uncompressed(
    codes: np.ndarray, firsts: np.ndarray, lasts: np.ndarray, lengths: np.ndarray
) -> np.ndarray:
    """Run lengths (R,) of letters' codes; from the fourth on they are differences to the last but
    one (pycocotools 2.0, common/maskApi.c, rleFrString).
    """
    position = np.arange(len(codes)) - np.repeat(firsts, lengths)
    numbers = np.add.reduceat((codes & (MORE - 1)) << (CODE_BITS * position), firsts)
    negative = codes[lasts] & NEGATIVE > 0
    numbers[negative] -= np.int64(1) << (CODE_BITS * lengths[negative])
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers
