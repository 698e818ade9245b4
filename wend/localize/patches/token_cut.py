"""TokenCut: an image's graph of patches cut in two, once.

Wang et al., "Self-supervised transformers for unsupervised object discovery using normalized cut"
(CVPR 2022), as its code has it (YangtaoWANG95/TokenCut fed52cd, object_discovery.py:12-66).
"""

from __future__ import annotations

import numpy as np

from wend.localize.patches.graph import centred as without_mean
from wend.localize.patches.graph import (
    check_cosine,
    component_of,
    edges,
    normalized,
    second_eigenvector,
)

THRESHOLD = 0.2  # main_tokencut.py: --tau


def token_cut(
    descriptors: np.ndarray,
    shape: tuple[int, int],
    *,
    centred: str = "auto",
    threshold: float = THRESHOLD,
    whole: bool = False,
) -> list[np.ndarray]:
    """A normalized cut of the graph of patches: the side that stands out most.

    The cut is at the mean of the eigenvector; the object is on the side of the entry of the largest
    magnitude, and of it that patch's component.

    Args:
        descriptors: (h·w, C) float32.
        shape: h, w.
        centred: see :func:`wend.localize.patches.graph.centred`.
        threshold: cosine above which patches are alike.
        whole: all of the side, not the seed's component alone.

    Returns:
        Its mask (h, w) bool; none where there is a single patch.

    Raises:
        InputError: an option is out of its range.
    """
    check_cosine(threshold)
    if len(descriptors) < 2:
        return []
    vector = second_eigenvector(edges(normalized(without_mean(descriptors, centred)), threshold))
    mask = (vector > vector.mean()).reshape(shape)
    seed = int(vector.argmax())
    return [mask if whole else component_of(mask, seed)]
