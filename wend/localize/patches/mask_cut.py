"""MaskCut: the graph of patches cut again and again, each time without what was cut off before.

Wang et al., "Cut and learn for unsupervised object detection and instance segmentation" (CutLER,
CVPR 2023), as its code has it (facebookresearch/CutLER cca0a27, maskcut/maskcut.py:40-167).
"""

from __future__ import annotations

import numpy as np

from wend.localize.patches.graph import centred as without_mean
from wend.localize.patches.graph import (
    check_cosine,
    check_count,
    component_of,
    edges,
    normalized,
    second_eigenvector,
)

THRESHOLD = 0.15  # the README's --tau
MOST = 3  # --N
TOO_ALIKE = 0.5  # IoU with the region before
TOO_SMALL = 0.01  # share of the patches, of all regions but the first


def mask_cut(
    descriptors: np.ndarray,
    shape: tuple[int, int],
    *,
    centred: str = "auto",
    threshold: float = THRESHOLD,
    cuts: int = MOST,
    whole: bool = False,
) -> list[np.ndarray]:
    """Normalized cuts of the graph of patches, one after the other: several objects.

    The object's side is that of the entry of the largest magnitude; where at least three corners of
    the image are on it, the sides are exchanged. (In the authors' code it depends on the sign that
    their solver gives whether that is looked at.)
    A region that is nearly the one before, or tiny, is left out; the cuts after it go on.

    Args:
        descriptors: (h·w, C) float32.
        shape: h, w.
        centred: see :func:`wend.localize.patches.graph.centred`.
        threshold: cosine above which patches are alike.
        cuts: how often, at least 1.
        whole: all of the object's side of each cut, not the component of its largest entry alone.

    Returns:
        The masks (h, w) bool of up to ``cuts`` regions, which share no patch, in the order of the
        cuts.

    Raises:
        InputError: an option is out of its range.
    """
    check_cosine(threshold)
    check_count("cuts", cuts)
    masks: list[np.ndarray] = []
    left = normalized(without_mean(descriptors, centred))
    taken = np.zeros(shape, dtype=bool)
    before = taken
    for index in range(cuts if len(left) > 1 else 0):
        mask = _cut(left, shape, threshold, whole)
        if index and (_iou(mask, before) > TOO_ALIKE or mask.mean() <= TOO_SMALL):
            mask = np.zeros(shape, dtype=bool)
        before = mask
        own = mask & ~taken
        if own.any():
            masks.append(own)
        taken = taken | mask
        left[mask.ravel()] = 0  # like nothing from now on
    return masks


def _cut(unit: np.ndarray, shape: tuple[int, int], threshold: float, whole: bool) -> np.ndarray:
    vector = second_eigenvector(edges(unit, threshold))
    side = vector > vector.mean()
    if _corners(side.reshape(shape)) >= 3:
        vector, side = -vector, ~side
    mask = side.reshape(shape)
    return mask if whole else component_of(mask, int(vector.argmax()))


def _corners(mask: np.ndarray) -> int:
    return int(mask[[0, 0, -1, -1], [0, -1, 0, -1]].sum())


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 0.0
