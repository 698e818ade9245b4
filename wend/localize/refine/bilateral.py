"""The fast bilateral solver: a map that is smooth but for where the picture's colours change.

Barron and Poole, "The fast bilateral solver" (ECCV 2016), with the parameters that TokenCut has
after its cut (YangtaoWANG95/TokenCut fed52cd, unsupervised_saliency_detection/bilateral_solver.py
and get_saliency.py).

Letters: S = side of the picture in cells, N = S·S, V = vertices of the bilateral grid: the
different cells of a grid of place and colour that the picture's cells fall into.
"""

from __future__ import annotations

from inspect import signature

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import cg

from wend.localize.refine.ranges import check_above_0, check_at_least

FRAME = 480  # side in pixels that lengths are stated for
CONFIDENCE = 0.999  # of each of the map's cells: bilateral_solver_output
BALANCING = 10  # rounds in which the grid's blur is made to keep constants
TOLERANCE, MOST_STEPS = 1e-5, 25  # of the conjugate gradients
LEAST_DIAGONAL = 1e-5  # of their preconditioner
_RELATIVE = {"rtol" if "rtol" in signature(cg).parameters else "tol": TOLERANCE}  # SciPy < 1.12
YUV = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]
)  # ITU-R BT.601, full range


def bilateral(
    picture: np.ndarray,
    log_odds: np.ndarray,
    *,
    smoothness: float = 256.0,
    place: float = 16.0,
    luma: float = 16.0,
    chroma: float = 8.0,
) -> np.ndarray:
    """The bilateral solver, as TokenCut ends with (Barron and Poole).

    Minimizes the squared differences from the map, and ``smoothness`` times those between cells
    that are near in place and colour.

    Args:
        picture: (S, S, 3) uint8, RGB.
        log_odds: (K, S, S) of K objects, positive where each is thought to be.
        smoothness: from 0.
        place: of the grid's cells, in pixels of the image squashed to 480x480, above 0.
        luma, chroma: of the grid's cells, in levels of 255 of YUV, above 0.

    Returns:
        (K, S, S) log-odds of the objects.

    Raises:
        InputError: a number is out of range.
    """
    check_at_least("smoothness", smoothness, 0)
    for name, width in (("place", place), ("luma", luma), ("chroma", chroma)):
        check_above_0(name, width)
    side = len(picture)
    cells = np.mgrid[:side, :side].reshape(2, -1).T * (FRAME / side) / place
    colours = picture.reshape(-1, 3) @ YUV.T + [0, 128, 128]
    vertices = np.concatenate([cells, colours / [luma, chroma, chroma]], 1)
    matrix, splat = system(np.floor(vertices).astype(np.int64), smoothness)
    solved = [splat.T @ _solution(matrix, splat, values.ravel()) for values in log_odds]
    return np.reshape(solved, log_odds.shape)


def _solution(
    matrix: sparse.csr_matrix, splat: sparse.csr_matrix, target: np.ndarray
) -> np.ndarray:
    """The values (V,) of the vertices, by conjugate gradients from the target's means."""
    wanted = CONFIDENCE * (splat @ target)
    means = (splat @ target) / np.asarray(splat.sum(1)).ravel()
    scale = sparse.diags(1 / np.maximum(matrix.diagonal(), LEAST_DIAGONAL))
    return cg(matrix, wanted, means, **_RELATIVE, maxiter=MOST_STEPS, M=scale)[0]


def system(vertices: np.ndarray, smoothness: float) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """The matrix (V, V) of the linear system, and the splat (V, N) of cells onto vertices."""
    low = vertices.min(0) - 1
    shape = vertices.max(0) - low + 2
    codes = np.ravel_multi_index(tuple((vertices - low).T), tuple(shape))
    unique, owner = np.unique(codes, return_inverse=True)
    number, size = len(unique), len(codes)
    splat = sparse.csr_matrix((np.ones(size), (owner, np.arange(size))), (number, size))
    blur = 2 * vertices.shape[1] * sparse.identity(number, format="csr")
    for stride in np.append(np.cumprod(shape[:0:-1])[::-1], 1):
        at = np.minimum(np.searchsorted(unique, unique + stride), number - 1)
        low_end = np.flatnonzero(unique[at] == unique + stride)
        pairs = sparse.csr_matrix((np.ones(len(low_end)), (low_end, at[low_end])), (number, number))
        blur = blur + pairs + pairs.T
    counts = np.asarray(splat.sum(1)).ravel()
    balance = np.ones(number)
    for _ in range(BALANCING):
        balance = np.sqrt(balance * counts / (blur @ balance))
    kept = sparse.diags(balance * (blur @ balance))
    scaled = sparse.diags(balance)
    matrix = smoothness * (kept - scaled @ blur @ scaled) + sparse.diags(CONFIDENCE * counts)
    return matrix.tocsr(), splat
