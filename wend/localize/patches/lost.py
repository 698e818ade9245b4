"""LOST: the patch that is like the fewest others, and what is like it.

Siméoni et al., "Localizing objects with self-supervised transformers and no labels" (BMVC 2021), as
its code has it (valeoai/LOST fcedbec, object_discovery.py:22-117).
"""

from __future__ import annotations

import numpy as np

from wend.localize.patches.graph import centred as without_mean
from wend.localize.patches.graph import check_count, component_of

PATCHES = 100  # --k_patches


def lost(
    descriptors: np.ndarray,
    shape: tuple[int, int],
    *,
    centred: str = "yes",
    patches: int = PATCHES,
    whole: bool = False,
) -> list[np.ndarray]:
    """What is like the patch that is like the fewest others.

    The seed has the fewest others with a positive correlation; of the ``patches`` with the fewest,
    those with a positive correlation to the seed are summed, and patches whose correlation with
    the sum is positive are the object's.

    Args:
        descriptors: (h·w, C) float32, their lengths count.
        shape: h, w.
        centred: see :func:`wend.localize.patches.graph.centred`.
        patches: of the lowest degree, that may belong to the seed.
        whole: all patches like the sum, not the seed's component alone.

    Returns:
        Its mask (h, w) bool; none where the seed does not belong to its own object.

    Raises:
        InputError: an option is out of its range.
    """
    check_count("patches", patches)
    descriptors = without_mean(descriptors, centred)
    correlation = descriptors @ descriptors.T
    positive = correlation > 0
    np.fill_diagonal(positive, False)
    order = np.argsort(positive.sum(1), kind="stable")
    seed = int(order[0])
    similar = order[:patches][correlation[seed, order[:patches]] > 0]
    side = correlation[similar].sum(0) > 0
    if not side[seed]:
        return []
    mask = side.reshape(shape)
    return [mask if whole else component_of(mask, seed)]
