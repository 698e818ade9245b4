"""Which images are held out from training: a share of them, or each fold in its turn."""

from __future__ import annotations

import numpy as np

SHARE = 0.2


def hold_out(groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Whether each photo (N,) is held out; a group is held out whole or not at all.

    Groups are taken in an order drawn by the seed while they fit into the share, at least one of
    them (the smallest), and at least one is left for training.

    Args:
        groups: (N,) numbers of the photos' groups.
        share: of the photos, 0 for none, below 1.

    Returns:
        (N,) bool; all False where there are fewer than two groups.
    """
    numbers, sizes = np.unique(groups, return_counts=True)
    if share <= 0 or len(numbers) < 2:
        return np.zeros(len(groups), dtype=bool)
    order = np.random.default_rng(seed).permutation(len(numbers))
    most = max(round(share * len(groups)), 1)
    chosen: list[int] = []
    taken = 0
    for i in order[: len(order) - 1].tolist():
        if taken + sizes[i] <= most:
            chosen.append(i)
            taken += sizes[i]
    if not chosen:
        chosen = [order[sizes[order].argmin()]]
    return np.isin(groups, numbers[chosen])


def folds(groups: np.ndarray, class_ids: np.ndarray, number: int, seed: int) -> np.ndarray:
    """The fold (N,), 0 .. number - 1, of each image; a group lies in one fold as a whole.

    Class by class, the largest groups first and equal ones in an order drawn by the seed, each
    group goes to the fold with the fewest images of its class, of equal ones to that with the
    fewest images. So each fold has nearly the same classes, and a detector of the other folds has
    seen them all. A group of several classes counts as one of its first image's.

    Args:
        groups: (N,) numbers of the images' groups of near duplicates.
        class_ids: (N,) classes, -1 where there are none.
        number: of folds, at least 1 and at most the number of groups.

    Raises:
        ValueError: there are fewer groups than folds.
    """
    numbers, first, of_image = np.unique(groups, return_index=True, return_inverse=True)
    if not 1 <= number <= max(len(numbers), 1):
        raise ValueError(f"expected 1 to {len(numbers)} folds, got {number}")
    sizes = np.bincount(of_image, minlength=len(numbers))
    classes = class_ids[first]
    drawn = np.random.default_rng(seed).permutation(len(numbers))
    fold = np.zeros(len(numbers), dtype=np.int64)
    total = np.zeros(number, dtype=np.int64)
    for class_id in np.unique(classes):
        members = drawn[classes[drawn] == class_id]
        of_class = np.zeros(number, dtype=np.int64)
        for i in members[np.argsort(-sizes[members], kind="stable")].tolist():
            fold[i] = np.lexsort((total, of_class))[0]
            of_class[fold[i]] += sizes[i]
            total[fold[i]] += sizes[i]
    return fold[of_image.reshape(-1)]
