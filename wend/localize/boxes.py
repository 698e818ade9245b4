"""Boxes of a map of objectness: threshold, largest components, their corners."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

Corners = tuple[float, float, float, float]  # x0, y0, x1, y1
WHOLE_IMAGE: Corners = (0.0, 0.0, 1.0, 1.0)
LEAST_SHARE = 0.25  # of the largest component's share of the map; what has less is no object


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


def largest_components(mask: np.ndarray, number: int = 1) -> list[tuple[np.ndarray, Corners]]:
    """The largest 8-connected components of a mask (H, W) and their boxes in fractions of the mask.

    Returns:
        Of at most ``number`` components, the largest first, the mask (H, W) bool and x0, y0, x1,
        y1, the right and bottom sides behind the last cell. Equally large ones come as OpenCV
        numbers them.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8
    )
    height, width = mask.shape
    components = []
    order = np.argsort(-stats[1:count, cv2.CC_STAT_AREA], kind="stable")
    for label in (1 + order[:number]).tolist():
        x, y, w, h = (int(value) for value in stats[label, :4])
        box = (x / width, y / height, (x + w) / width, (y + h) / height)
        components.append((labels == label, box))
    return components


def boxes_of_map(
    values: np.ndarray,
    mask: np.ndarray,
    number: int,
    score: Callable[[np.ndarray, Corners], float],
) -> tuple[FoundBox, ...]:
    """The boxes of the largest components of a map, which need not be the most certain ones.

    The first is the largest component's, however many are asked for. Another one's score is the
    first's, times what its component has of the map for each that the largest has, at most 1;
    those that have less than :data:`LEAST_SHARE` of it are left out.

    Args:
        values: the map (H, W), above 0 where the mask is true.
        mask: (H, W) bool, where an object may be.
        number: boxes at most, at least 1.
        score: the largest component's mask (H, W) and its box -> the first box's score, 0..1.

    Returns:
        1 to ``number`` boxes; :data:`NOTHING_FOUND` alone where the mask is empty.
    """
    components = largest_components(mask, number)
    if not components:
        return (NOTHING_FOUND,)
    certainty = score(*components[0])
    largest = float(values[components[0][0]].sum())
    shares = [min(1.0, float(values[part].sum()) / largest) for part, _ in components[1:]]
    others = [
        FoundBox(box, certainty * share)
        for share, (_, box) in zip(shares, components[1:], strict=True)
        if share >= LEAST_SHARE
    ]
    return (FoundBox(components[0][1], certainty), *others)
