"""One box of a map of objectness: threshold, largest component, its corners."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

Corners = tuple[float, float, float, float]  # x0, y0, x1, y1
WHOLE_IMAGE: Corners = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class FoundBox:
    """The box that a method proposes for an image.

    Attributes:
        box: x0, y0, x1, y1 as fractions of the image's width and height, 0..1, not empty.
        score: 0..1, higher is more certain; 0 where nothing was found.
        whole_image: whether nothing was found, so that the box is the whole image.
    """

    box: Corners
    score: float
    whole_image: bool = False


NOTHING_FOUND = FoundBox(WHOLE_IMAGE, 0.0, True)


def largest_component(mask: np.ndarray) -> tuple[np.ndarray, Corners] | None:
    """The largest 8-connected component of a mask (H, W) and its box in fractions of the mask.

    Returns:
        Its mask (H, W) bool and x0, y0, x1, y1, the right and bottom sides behind its last cell;
        None where the mask is empty. Of equally large ones, the first that OpenCV numbers.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8
    )
    if count < 2:
        return None
    chosen = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    x, y, w, h = (int(value) for value in stats[chosen, :4])
    height, width = mask.shape
    return labels == chosen, (x / width, y / height, (x + w) / width, (y + h) / height)
