"""The graph of an image's patches, and the eigenvector that cuts it.

Letters: T = patches of an image, C = channels of a descriptor.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg
from scipy import ndimage

from wend.errors import InputError

CENTRED = ("auto", "yes", "no")
LEAST_STEPS = 30  # of Lanczos' iteration; photographs' graphs take 10 to 20
PATCHES_PER_STEP = 20  # so that steps in vain take half of the time of the dense solver at most
TOLERANCE = 1e-7  # of the residual of an eigenvector of length 1, whose eigenvalue is 1 at most
EQUAL = 1e-12  # share of the mean squared length that is rounding
APART = 1e-5  # the weight of an edge between patches that are not alike: the graph is connected


def centred(descriptors: np.ndarray, how: str) -> np.ndarray:
    """Descriptors (T, C) of an image, less their mean or as they are.

    Args:
        how: "yes", "no", or "auto": where none has a negative number, as behind a ReLU, so that all
            have a positive cosine and look alike.

    Raises:
        InputError: another word.
    """
    if how not in CENTRED:
        raise InputError(f"--option centred: expected one of {', '.join(CENTRED)}, got {how!r}")
    if how == "yes" or (how == "auto" and descriptors.min() >= 0):
        return descriptors - descriptors.mean(0)
    return descriptors


def check_cosine(threshold: float) -> None:
    """Raise InputError unless a threshold of cosines is one, from -1 to below 1."""
    if not -1 <= threshold < 1:
        raise InputError(f"--option threshold: expected from -1 to below 1, got {threshold}")


def check_count(name: str, value: int) -> None:
    """Raise InputError unless an option of that name is at least 1."""
    if value < 1:
        raise InputError(f"--option {name}: expected at least 1, got {value}")


def normalized(descriptors: np.ndarray) -> np.ndarray:
    """Descriptors (T, C) of length 1, float32; those of length 0 stay so."""
    lengths = np.linalg.norm(descriptors, axis=1, keepdims=True)
    return np.divide(descriptors, lengths, out=np.zeros_like(descriptors), where=lengths > 0)


def edges(descriptors: np.ndarray, threshold: float) -> np.ndarray:
    """Weights (T, T) of the edges: 1 between patches that are alike, :data:`APART` otherwise.

    Args:
        descriptors: (T, C) of length 1 or 0.
        threshold: patches whose cosine is greater are alike.
    """
    return np.where(descriptors @ descriptors.T > threshold, 1.0, APART)


def second_eigenvector(weights: np.ndarray) -> np.ndarray:
    """The solution y (T,) of ``(D - W) y = λ D y`` for the second smallest λ: the normalized cut.

    Shi and Malik, "Normalized cuts and image segmentation" (2000), eq. (6). With ``y = D^-1/2 z``
    it is the second largest eigenvector z of ``D^-1/2 W D^-1/2``, whose largest, ``D^1/2 1``, is
    known and taken out, so that Lanczos' iteration looks for the largest one. It only multiplies
    by W: of 64x64 patches W has 134 MB, and nothing else of its size is made. Where most patches
    are like few others, as in noise, many eigenvalues are nearly as large; a dense solver is
    faster there than more steps.

    Args:
        weights: W (T, T), symmetric, > 0. T is at least 2.

    Returns:
        ``yᵀ D y`` is 1, and the entry of the largest magnitude is positive.
    """
    size = len(weights)
    root = np.sqrt(weights.sum(1))
    first = root / np.linalg.norm(root)

    def multiply(vector: np.ndarray) -> np.ndarray:
        return weights @ (vector / root) / root - first * (first @ vector)

    vector = _largest(multiply, size, max(LEAST_STEPS, size // PATCHES_PER_STEP))
    if vector is None:
        dense = weights / (root[:, None] * root) - np.outer(first, first)
        last = [size - 1, size - 1]
        vector = scipy.linalg.eigh(dense, subset_by_index=last, overwrite_a=True)[1][:, 0]
    vector = vector / root
    return vector * np.sign(vector[np.abs(vector).argmax()])


def _largest(
    multiply: Callable[[np.ndarray], np.ndarray], size: int, most: int
) -> np.ndarray | None:
    """An eigenvector (size,) of the largest eigenvalue, by Lanczos' iteration from a fixed start.

    All vectors are kept orthogonal to each other (twice each: Parlett, "The symmetric eigenvalue
    problem", 1980), so that nothing has to be drawn anew where the space of the start ends: of an
    eigenvalue that has several vectors, the start's part is the one. ARPACK draws there.

    Args:
        multiply: what a symmetric matrix makes of a vector.
        most: steps at most.

    Returns:
        Of length 1; None where the steps are not enough.
    """
    start = np.sin(np.arange(1.0, size + 1) ** 2)  # like no image, as a draw would be
    vector = start / np.linalg.norm(start)
    steps = min(size, most)
    basis, middle, beside = np.empty((steps, size)), np.empty(steps), np.empty(steps)
    for step in range(steps):
        basis[step] = vector
        so_far = basis[: step + 1]
        vector = multiply(vector)
        middle[step] = vector @ basis[step]
        for _ in range(2):
            vector = vector - (so_far @ vector) @ so_far
        beside[step] = np.linalg.norm(vector)
        is_checked = step % 5 == 4 or step == steps - 1 or beside[step] < TOLERANCE
        if is_checked:
            _, parts = scipy.linalg.eigh_tridiagonal(
                middle[: step + 1], beside[:step], select="i", select_range=(step, step)
            )
            if beside[step] * abs(parts[-1, 0]) < TOLERANCE:
                return parts[:, 0] @ so_far
        vector = vector / beside[step]
    return None


def separation(descriptors: np.ndarray, mask: np.ndarray) -> float:
    """How far a region is from the rest of its image, 0..1: its score.

    It is the variance between the region and the rest (Otsu's criterion, in more than one
    dimension) as a share of the mean squared length of the image's descriptors: near 0 where the
    region is a piece of a texture, whose descriptors are all nearly their mean, however well that
    little parts into two.

    Args:
        descriptors: (T, C), whose lengths count.
        mask: (T,) bool.
    """
    if mask.all() or not mask.any():
        return 0.0
    wide = descriptors.astype(np.float64)
    moment = float(np.square(wide).sum(1).mean())
    gap = float(np.square(wide[mask].mean(0) - wide[~mask].mean(0)).sum())
    share = float(mask.mean())
    between = share * (1 - share) * gap
    return min(between / moment, 1.0) if between > EQUAL * moment else 0.0


def component_of(mask: np.ndarray, seed: int) -> np.ndarray:
    """The 4-connected component (h, w) bool of a mask (h, w) that holds a patch.

    Args:
        seed: the patch's index, row by row; the mask is true there.
    """
    labels, _ = ndimage.label(mask)
    return labels == labels.flat[seed]
