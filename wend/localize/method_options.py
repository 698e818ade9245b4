"""The options of the methods that are no function of one image's descriptors, and their checks."""

from __future__ import annotations

import math
from typing import Any

from wend.errors import InputError


def cam(*, threshold: float = 0.2, from_minimum: bool = False) -> dict[str, Any]:
    """The class activation map of a classifier whose head is average pooling and a linear layer.

    Args:
        threshold: share of the map's maximum above which an object may be, 0 to below 1.
        from_minimum: whether the map's minimum is taken off first, as wsolevaluation does.

    Raises:
        InputError: the threshold is out of range.
    """
    if not 0 <= threshold < 1:
        raise InputError(f"--option threshold: expected from 0 to below 1, got {threshold}")
    return {"threshold": threshold, "from_minimum": from_minimum}


def contrast(
    *, epochs: int = 20, rate: float = 0.001, alpha: float = 0.25, seed: int = 0
) -> dict[str, float]:
    """CCAM's contrastive head, trained on the images themselves; the network is frozen.

    Args:
        epochs: passes over the images, from 1.
        rate: Adam's learning rate, above 0.
        alpha: of the weights by rank, from 0.
        seed: of the head's first weights and the images' order, from 0.

    Raises:
        InputError: a number is out of range.
    """
    for name, value, good in (
        ("epochs", epochs, epochs >= 1),
        ("rate", rate, 0 < rate < math.inf),
        ("alpha", alpha, 0 <= alpha < math.inf),
        ("seed", seed, 0 <= seed < 2**63),
    ):
        if not good:
            least = "a number above 0" if name == "rate" else f"at least {int(name == 'epochs')}"
            raise InputError(f"--option {name}: expected {least}, got {value}")
    return {"epochs": epochs, "rate": rate, "alpha": alpha, "seed": seed}
