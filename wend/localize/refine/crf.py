"""A dense conditional random field: every two cells of a picture that are near and alike agree.

Krähenbühl and Koltun, "Efficient inference in fully connected CRFs with Gaussian edge potentials"
(NIPS 2011), with the parameters that CutLER's MaskCut has after its cuts (facebookresearch/CutLER
cca0a27, maskcut/crf.py). Theirs is an approximate filter on images of 480x480 pixels; here the sums
over all pairs are exact, on a picture that is small enough for it.

Letters: S = side of the picture in cells, N = S·S.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from wend.localize.refine.ranges import check_above_0, check_at_least

FRAME = 480  # side in pixels that lengths are stated for: maskcut.py, --fixed_size
BLOCK = 256  # rows of the weights that are made at a time
FARTHEST = 150.0  # squared distance in standard deviations; exp(-75) is 0 in all but name


def crf(
    picture: np.ndarray,
    log_odds: np.ndarray,
    *,
    iterations: int = 10,
    near_weight: float = 7.0,
    near: float = 3.0,
    alike_weight: float = 10.0,
    alike: float = 50.0,
    colour: float = 5.0,
) -> np.ndarray:
    """A dense conditional random field, as CutLER's MaskCut ends with (exact, on a small picture).

    Mean field of two labels: each cell's log-odds are its own plus the weighted mean of the others'
    labels, where weights fall with the distance, and with distance and difference in colour. Sums
    are normalized symmetrically, so that they do not depend on the number of cells.

    Args:
        picture: (S, S, 3) uint8, RGB.
        log_odds: (K, S, S) of K objects, each against all else: positive where it is thought to be.
        iterations: of the mean field, from 1.
        near_weight, near: of the distance alone: weight, from 0, and standard deviation in pixels
            of the image squashed to 480x480, above 0.
        alike_weight, alike, colour: of distance and colour together: weight, from 0, and standard
            deviations in the same pixels and in levels of 255, above 0.

    Returns:
        (K, S, S) log-odds of the objects.

    Raises:
        InputError: a number is out of range.
    """
    check_at_least("iterations", iterations, 1)
    check_at_least("near_weight", near_weight, 0)
    check_at_least("alike_weight", alike_weight, 0)
    for name, length in (("near", near), ("alike", alike), ("colour", colour)):
        check_above_0(name, length)
    side = len(picture)
    places = np.stack(np.divmod(np.arange(side * side), side), 1) * (FRAME / side)
    pairs = PairWeights.of(np.concatenate([places / alike, picture.reshape(-1, 3) / colour], 1))
    row = PairWeights.of(np.arange(side)[:, None] * (FRAME / side / near))
    along = row.weights / row.root / row.root[:, None]  # of both directions, one after the other
    values = own = log_odds.astype(np.float32)
    for _ in range(iterations):
        labels = np.tanh(values / 2)  # of log-odds z: 2 sigmoid(z) - 1
        flat = pairs.weights @ (labels.reshape(len(own), -1) / pairs.root).T / pairs.root[:, None]
        values = own + near_weight * (along @ labels @ along)
        values = values + alike_weight * flat.T.reshape(own.shape)
    return values


class PairWeights(NamedTuple):
    """Gaussian weights of all pairs of N cells.

    Attributes:
        weights: (N, N) float32, of a cell with itself too.
        root: (N,) square roots of each cell's sum; a weight is divided by those of both cells.
    """

    weights: np.ndarray
    root: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> PairWeights:
        """The weights by features (N, F) in standard deviations."""
        weights = np.empty((len(features), len(features)), np.float32)
        for start in range(0, len(features), BLOCK):
            rows = slice(start, start + BLOCK)
            distances = cdist(features[rows], features, "sqeuclidean")
            # denormal numbers, which are slow, stay away
            exponents = np.minimum(distances, FARTHEST, out=distances) / -2
            np.exp(exponents.astype(np.float32), out=weights[rows])
        return cls(weights, np.sqrt(weights.sum(1)))
