"""A dense conditional random field: every two cells of a picture that are near and alike agree.

Krähenbühl and Koltun, "Efficient inference in fully connected CRFs with Gaussian edge potentials"
(NIPS 2011), with the parameters that CutLER's MaskCut has after its cuts (facebookresearch/CutLER
cca0a27, maskcut/crf.py). Theirs is an approximate filter on images of 480x480 pixels; here the sums
over all pairs are exact, on a picture that is small enough for it.

Letters: S = side of the picture in cells, N = S·S.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from wend.localize.refine.ranges import check_above_0, check_at_least

FRAME = 480  # side in pixels that lengths are stated for: maskcut.py, --fixed_size
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
    places = torch.arange(side, dtype=torch.float32) * (FRAME / side)
    rows, columns = torch.meshgrid(places, places, indexing="ij")
    colours = torch.from_numpy(picture).flatten(0, 1).float()
    features = torch.stack([rows.ravel(), columns.ravel()], 1) / alike
    weights, root = _weights(torch.cat([features, colours / colour], 1))
    along, along_root = _weights(places[:, None] / near)
    along = along / along_root / along_root[:, None]
    own = torch.from_numpy(log_odds).float()
    values = own
    for _ in range(iterations):
        labels = torch.tanh(values / 2)  # of log-odds z: 2 sigmoid(z) - 1
        alike_labels = (weights @ (labels.flatten(1) / root).T).T / root
        values = own + near_weight * (along @ labels @ along)
        values = values + alike_weight * alike_labels.view_as(own)
    return values.numpy()


def _weights(features: Tensor) -> tuple[Tensor, Tensor]:
    """Gaussian weights of all pairs (N, N) of features (N, F) in standard deviations.

    Returns:
        The weights, of a cell with itself too, and the square roots (N,) of each cell's sum: what
        they are divided by, once for either cell of a pair.
    """
    distances = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    # denormal numbers, which are slow, stay away
    weights = distances.square_().clamp_(max=FARTHEST).mul_(-0.5).exp_()
    return weights, weights.sum(1).sqrt()
