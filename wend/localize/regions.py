"""A map of objectness cut into the regions of its peaks, so that objects that touch come apart.

Peaks are joined where the saddle between them is hardly below the lower one: its persistence, the
height above the saddle, is less than :data:`DEPTH` of the map's maximum (Edelsbrunner et al.,
"Topological persistence and simplification", 2002). What is left are the basins of a watershed.

``DEPTH`` was chosen on two sets of photographs with DDT (``docs/make_boxes.md``): from 0.15 to 0.5
the boxes are better than without a cut, on both.
"""

from __future__ import annotations

import cv2
import numpy as np

DEPTH = 0.3
SIDE = 48  # cells of the longer side that a map is reduced to before it is cut
_NEAR = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]


def basins(values: np.ndarray, depth: float = DEPTH) -> np.ndarray:
    """The basin of each cell of a map (H, W): numbers (H, W) from 0, of 8-connected regions.

    Args:
        values: any numbers whose maximum is above 0.
        depth: persistence, in maxima of the map, from which on a peak is one of its own.
    """
    height, width = values.shape
    scale = SIDE / max(height, width)
    small: np.ndarray = values.astype(np.float64)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = cv2.resize(small, size, interpolation=cv2.INTER_AREA)
    numbers = np.unique(_flood(small, depth * float(small.max())), return_inverse=True)[1]
    numbers = numbers.reshape(small.shape).astype(np.int32)
    return cv2.resize(numbers, (width, height), interpolation=cv2.INTER_NEAREST)


def _flood(values: np.ndarray, depth: float) -> np.ndarray:
    """The cell (H, W) of the peak that each cell belongs to: cells are taken highest first."""
    height, width = values.shape
    flat = values.ravel()
    peak = np.full(flat.shape, -1)  # of each cell taken so far
    joined: dict[int, int] = {}  # a peak -> the higher one that it was joined to, or itself

    def top(cell: int) -> int:
        while joined[cell] != cell:
            joined[cell] = joined[joined[cell]]
            cell = joined[cell]
        return cell

    for cell in np.argsort(-flat, kind="stable").tolist():
        y, x = divmod(cell, width)
        peaks = {
            top(peak[near])
            for dy, dx in _NEAR
            if 0 <= y + dy < height
            and 0 <= x + dx < width
            and peak[near := (y + dy) * width + x + dx] >= 0
        }
        if not peaks:
            joined[cell] = peak[cell] = cell
            continue
        highest, *others = sorted(peaks, key=lambda p: (-flat[p], p))
        peak[cell] = highest
        for other in others:
            if flat[other] - flat[cell] < depth:
                joined[other] = highest
    return np.array([top(p) for p in peak.tolist()]).reshape(height, width)
