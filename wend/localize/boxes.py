"""Boxes of a map of objectness: threshold, components, their corners."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from wend.localize.regions import basins

Corners = tuple[float, float, float, float]  # x0, y0, x1, y1
WHOLE_IMAGE: Corners = (0.0, 0.0, 1.0, 1.0)
# the map (H, W), the mask (H, W) bool of a box's region, and the box -> its score, 0..1
Score = Callable[[np.ndarray, np.ndarray, Corners], float]
# K maps (K, h, w), positive where an object is -> the refined mask of each; None: it is to stay
Refine = Callable[[np.ndarray], Sequence["np.ndarray | None"]]
LEAST_SHARE = 0.3  # of the first box's share of the map; what has less is no object


@dataclass(frozen=True, slots=True)  # there may be millions
class FoundBox:
    """The box that a method proposes for an image.

    Attributes:
        box: x0, y0, x1, y1 as fractions of the image's width and height, 0..1, not empty.
        score: 0..1, higher is more certain; 0 where nothing was found.
        whole_image: whether nothing was found, so that the box is the whole image.
        unrefined: whether a refinement by the image's colours was asked for and not taken.
    """

    box: Corners
    score: float
    whole_image: bool = False
    unrefined: bool = False


NOTHING_FOUND = FoundBox(WHOLE_IMAGE, 0.0, True)


def resized(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A map (h, w) of float numbers in another shape: bilinear, or means where it gets smaller."""
    height, width = shape
    smaller = height < values.shape[0]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return cv2.resize(values, (width, height), interpolation=how)


def share_of_magnitude(values: np.ndarray, region: np.ndarray, _: Corners) -> float:
    """A region's share of a map's whole magnitude: a score, of values (H, W) of any sign."""
    return max(0.0, float(values[region].sum() / np.abs(values).sum()))


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
    threshold: float,
    number: int,
    score: Score,
    refine: Refine | None = None,
) -> tuple[FoundBox, ...]:
    """The boxes of the objects in a map, which may be where its values are above a threshold.

    One box is that of the largest component. For several, the map is cut into the basins of
    its peaks (:mod:`wend.localize.regions`), and each basin's largest component has a box; the
    first is that with the largest share of the map, and another one's score is the first's times
    the ratio of the shares. Those below :data:`LEAST_SHARE` of the first are left out.

    Args:
        values: the map (H, W).
        threshold: at least 0.
        number: boxes at most, at least 1.
        score: of the first box.
        refine: what refines the map by the image's colours; values are resized to the masks that
            come of it. Where it has none, the map stays as it is.

    Returns:
        1 to ``number`` boxes; :data:`NOTHING_FOUND` alone where nothing is above the threshold.
    """
    mask = values > threshold
    if not mask.any():
        return (NOTHING_FOUND,)
    refined = refine((values - threshold)[None])[0] if refine else None
    unrefined = refine is not None and refined is None
    if refined is not None:
        mask, values = refined, resized(values, refined.shape)
    whole = largest_component(mask)
    assert whole is not None  # a refined mask is not empty, either
    if number == 1:
        return (FoundBox(whole[1], score(values, *whole), unrefined=unrefined),)
    numbers = basins(values)
    parts = [largest_component(mask & (numbers == basin)) for basin in range(numbers.max() + 1)]
    positive = np.maximum(values, 0)  # refined, a region has cells that are not
    regions = [(float(positive[part[0]].sum()), *part) for part in parts if part is not None]
    regions.sort(key=lambda region: -region[0])
    largest, mask_of_first, first = regions[0]
    certainty = score(values, mask_of_first, first)
    return tuple(
        FoundBox(box, certainty * share / largest, unrefined=unrefined)
        for share, _, box in regions[:number]
        if share >= LEAST_SHARE * largest
    )
