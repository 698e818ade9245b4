"""Pretrained weights: packages that ship them, and names under which others publish them.

One more package is a call of ``WEIGHT_PACKAGES.register(network)`` with a :class:`WeightPackage`,
also in a user's own file (``WEND.IMPORTS``, ``--import``).
"""

from wend.pretrained.packages import (
    PRETRAINED,
    WEIGHT_PACKAGES,
    WeightFile,
    WeightPackage,
    find_weights,
)

__all__ = ["PRETRAINED", "WEIGHT_PACKAGES", "WeightFile", "WeightPackage", "find_weights"]
