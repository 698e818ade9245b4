"""DDT a second time: all descriptors at once, np.cov, np.linalg.eigh, flood fill."""

import numpy as np


def slow_projections(maps, sign):
    """(N, h, w) of maps (N, C, h, w): principal component of all rows together."""
    rows = np.concatenate([m.reshape(len(m), -1).T for m in maps.astype(np.float64)])
    values, vectors = np.linalg.eigh(np.cov(rows, rowvar=False))
    component = vectors[:, np.argmax(values)]
    projected = (rows - rows.mean(0)) @ component
    if sign == "psol":  # scikit-learn's svd_flip on U: the largest |u| is positive
        projected *= np.sign(projected[np.argmax(np.abs(projected))])
    else:
        projected *= np.sign(component[np.argmax(np.abs(component))])
    return projected.reshape(len(maps), *maps.shape[2:])


def slow_box(projection):
    """Flood fill from every positive cell, with diagonals; the largest region's box in cells."""
    left = {tuple(cell) for cell in np.argwhere(projection > 0)}
    regions = []
    while left:
        region, waiting = [], [min(left)]
        left.discard(waiting[0])
        while waiting:
            y, x = waiting.pop()
            region.append((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            waiting += near
        regions.append(np.array(region))
    best = max(regions, key=len)
    (y0, x0), (y1, x1) = best.min(0), best.max(0) + 1
    return np.array([x0, y0, x1, y1]) / np.tile(projection.shape[::-1], 2), len(best)
