"""The graph of an image's patches, and the eigenvector that cuts it.

Letters: T = patches of an image, C = channels of a descriptor.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
from scipy import ndimage
from scipy.sparse.linalg import ArpackError, eigsh

from wend.errors import InputError

CENTRED = ("auto", "yes", "no")
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
    known and taken out, so that Lanczos' iteration looks for the largest one.

    Args:
        weights: W (T, T), symmetric, > 0. T is at least 2.

    Returns:
        Of any sign; ``yᵀ D y`` is 1.
    """
    root = np.sqrt(weights.sum(1))
    scaled = weights / (root[:, None] * root)
    first = root / np.linalg.norm(root)
    rest = scaled - np.outer(first, first)
    start = np.linspace(-1.0, 1.0, len(root))  # a vector of its own would be drawn at random
    start -= first * (first @ start)
    try:
        vector = eigsh(rest, k=1, which="LA", v0=start, tol=1e-7)[1][:, 0]
    except (ArpackError, TypeError):  # no convergence, or too few patches for Lanczos
        size = len(root)
        vector = scipy.linalg.eigh(rest, subset_by_index=[size - 1, size - 1])[1][:, 0]
    return vector / root


def separation(descriptors: np.ndarray, mask: np.ndarray) -> float:
    """How much more a region's patches are alike than they are like the others: its score.

    The mean cosine between its patches less that between one of its own and one outside, 0..1: near
    0 where the region is a piece of a texture, so that there is no object.

    Args:
        descriptors: (T, C) of length 1 or 0.
        mask: (T,) bool.
    """
    inside, outside = descriptors[mask], descriptors[~mask]
    if not len(inside) or not len(outside):
        return 0.0
    mean = inside.mean(0, dtype=np.float64)
    within = float(mean @ mean)
    across = float(mean @ outside.mean(0, dtype=np.float64))
    return min(max(within - across, 0.0), 1.0)


def component_of(mask: np.ndarray, seed: int) -> np.ndarray:
    """The 4-connected component (h, w) bool of a mask (h, w) that holds a patch.

    Args:
        seed: the patch's index, row by row; the mask is true there.
    """
    labels, _ = ndimage.label(mask)
    return labels == labels.flat[seed]
