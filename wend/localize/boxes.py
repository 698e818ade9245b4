"""Boxes of a map of objectness: threshold, components, their corners."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from wend.localize.regions import basins

Corners = tuple[float, float, float, float]  # x0, y0, x1, y1
WHOLE_IMAGE: Corners = (0.0, 0.0, 1.0, 1.0)
LEAST_SHARE = 0.3  # of the first box's share of the map; what has less is no object


@dataclass(frozen=True, slots=True)  # there may be millions
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


def boxes_of_map(
    values: np.ndarray,
    mask: np.ndarray,
    number: int,
    score: Callable[[np.ndarray, Corners], float],
) -> tuple[FoundBox, ...]:
    """The boxes of the objects in a map.

    One box is that of the mask's largest component. For several, the map is cut into the basins of
    its peaks (:mod:`wend.localize.regions`), and each basin's largest component has a box; the
    first is that with the largest share of the map, and another one's score is the first's times
    the ratio of the shares. Those below :data:`LEAST_SHARE` of the first are left out.

    Args:
        values: the map (H, W), above 0 where the mask is true.
        mask: (H, W) bool, where an object may be.
        number: boxes at most, at least 1.
        score: the mask (H, W) of the first box's region, and that box -> its score, 0..1.

    Returns:
        1 to ``number`` boxes; :data:`NOTHING_FOUND` alone where the mask is empty.
    """
    whole = largest_component(mask)
    if whole is None:
        return (NOTHING_FOUND,)
    if number == 1:
        return (FoundBox(whole[1], score(*whole)),)
    numbers = basins(values)
    parts = [largest_component(mask & (numbers == basin)) for basin in range(numbers.max() + 1)]
    regions = [(float(values[part[0]].sum()), *part) for part in parts if part is not None]
    regions.sort(key=lambda region: -region[0])
    largest, mask_of_first, first = regions[0]
    certainty = score(mask_of_first, first)
    return tuple(
        FoundBox(box, certainty * share / largest)
        for share, _, box in regions[:number]
        if share >= LEAST_SHARE * largest
    )
