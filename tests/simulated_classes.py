"""Classes of made-up test sets, by which the coverage of intervals is simulated."""

from __future__ import annotations

import numpy as np


def class_sizes(kind: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Images of each class: 29 of each, unequal as a test set's, or three classes alone."""
    if kind == "three":
        return np.array([n // 2, n // 4, n - n // 2 - n // 4])
    classes = max(5, n // 29)
    if kind == "equal":
        return np.full(classes, n // classes)
    share = rng.uniform(1, 4, classes)
    return np.maximum(2, np.round(n * share / share.sum())).astype(int)


def class_accuracies(p: float, classes: int, rng: np.random.Generator) -> np.ndarray:
    """Accuracies of classes that vary around p."""
    drawn = rng.beta(8 * p, 8 * (1 - p), classes)
    for _ in range(100):
        drawn = np.clip(drawn + p - drawn.mean(), 0, 1)
    return drawn
