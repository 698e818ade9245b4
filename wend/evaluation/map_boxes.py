"""The boxes of a score map at thresholds: contours of what is above, and their corners.

Follows wsolevaluation 96f4b88 evaluation.py:117-168, with each distinct threshold's contours traced
once. A map becomes whole numbers 0..255 (line 132), a threshold t the whole number ``int(t * m)``
of the map's largest m (line 137), and a pixel belongs to the object if it is *above* that (line
139). Contours are all that OpenCV traces, those of holes included (line 142), the largest is that
of the largest area enclosed, the first of equals (line 149). A contour at pixels x0..x1 - 1 gives
the corners x0, y0, x1, y1, cut at the last pixel S - 1 (lines 153-156). A map without a pixel above
gives the box 0, 0, 0, 0 (lines 145-146).

Shape letters: S = a map's side, T = thresholds, D = distinct sets of boxes, B = boxes of all D.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CONTOURS = ("all", "largest")


@dataclass(frozen=True, eq=False)
class MapBoxes:
    """The boxes of a map at T thresholds, those of the same pixels once.

    Attributes:
        index: (T,) which of the D sets of boxes a threshold has.
        counts: (D,) boxes of each set, at least 1.
        boxes: (B,) rows of set after set, each (4,) int64 ``x0, y0, x1, y1``; within a set the
            largest contour comes first.
        areas: (B,) area enclosed by each contour, in pixels.
        is_blank: whether the map has no pixel above 0, so that no threshold has a contour.
    """

    index: np.ndarray
    counts: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    is_blank: bool


Traced = tuple[list[tuple[int, int, int, int]], list[float]]  # corners and areas of contours
_NOTHING: Traced = [(0, 0, 0, 0)], [0.0]


def boxes_at(values: np.ndarray, thresholds: np.ndarray, contours: str = "all") -> MapBoxes:
    """The boxes of a map at each threshold.

    Args:
        values: (H, W) in 0..1.
        thresholds: (T,) in [0, 1), each a share of the map's largest value.
        contours: "all", or only the "largest" of each threshold.
    """
    grey = (values * 255).astype(np.uint8)
    present = np.flatnonzero(np.bincount(grey.ravel(), minlength=256))
    levels = (thresholds * present[-1]).astype(np.int64)
    least = np.searchsorted(present, levels, side="right")  # of the values above each level
    distinct, index = np.unique(least, return_inverse=True)
    traced = [
        _trace(grey, int(present[i]), contours) if i < len(present) else _NOTHING for i in distinct
    ]
    return MapBoxes(
        index=index,
        counts=np.array([len(rows) for rows, _ in traced]),
        boxes=np.array([row for rows, _ in traced for row in rows]),
        areas=np.array([area for _, areas in traced for area in areas]),
        is_blank=bool(present[-1] == 0),
    )


def _trace(grey: np.ndarray, least: int, contours: str) -> Traced:
    """The contours of the pixels (H, W) from ``least`` on, which there are; largest first."""
    import cv2

    height, width = grey.shape
    _, above = cv2.threshold(grey, least - 1, 255, cv2.THRESH_BINARY)
    traced = cv2.findContours(above, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]
    areas = [cv2.contourArea(contour) for contour in traced]
    if contours == "largest":
        order = [max(range(len(areas)), key=areas.__getitem__)]
    else:
        order = sorted(range(len(areas)), key=areas.__getitem__, reverse=True)  # stable
    corners = []
    for i in order:
        x, y, w, h = cv2.boundingRect(traced[i])
        corners.append((x, y, min(x + w, width - 1), min(y + h, height - 1)))
    return corners, [areas[i] for i in order]
