"""Background seeds: what is not like the patch that is most like all others.

Siméoni et al., "Unsupervised object localization: observing the background to discover objects"
(FOUND, CVPR 2023) begins so, from the patch with the least attention (valeoai/FOUND 1ad22ba,
bkg_seg.py). Convolutional networks have no attention; here the seed is the patch with the largest
mean cosine to all, for any network. FOUND's trained head is not made.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from wend.localize.patches.graph import centred as without_mean
from wend.localize.patches.graph import check_cosine, normalized

THRESHOLD = 0.3  # configs/found_DUTS-TR.yaml: bkg_th


def not_background(
    descriptors: np.ndarray,
    shape: tuple[int, int],
    *,
    centred: str = "auto",
    threshold: float = THRESHOLD,
) -> list[np.ndarray]:
    """What is unlike the patch that is most like all others, region by region.

    Args:
        descriptors: (h·w, C) float32.
        shape: h, w.
        centred: see :func:`wend.localize.patches.graph.centred`.
        threshold: patches whose cosine with the seed is greater are background.

    Returns:
        The masks (h, w) bool of the 4-connected regions, largest first.

    Raises:
        InputError: an option is out of its range.
    """
    check_cosine(threshold)
    unit = normalized(without_mean(descriptors, centred))
    seed = int((unit @ unit.mean(0)).argmax())
    is_object = (unit @ unit[seed] <= threshold).reshape(shape)
    labels, number = ndimage.label(is_object)
    sizes = np.bincount(labels.ravel(), minlength=number + 1)[1:]
    return [labels == 1 + index for index in np.argsort(-sizes, kind="stable")]
