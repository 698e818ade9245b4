"""Which image of a data set a source's path means, whatever root either has.

Shape letters: I = images of the data set, N = images of the source.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from wend.errors import InputError, some
from wend.pseudo_boxes.columns import Keys


def _depths(keys: Keys) -> np.ndarray:
    """Parts of each path (N,)."""
    import pyarrow.compute as pc

    return pc.count_substring(keys.arrow, "/").to_numpy() + 1


def _ends(keys: Keys, rows: np.ndarray, depth: int) -> list[str]:
    """The last parts of some keys."""
    return ["/".join(key.split("/")[-depth:]) for key in keys.take(rows)]


def find_images(keys: Keys, source_keys: Keys, source: str) -> np.ndarray:
    """Place (N,) of the image that each of the source's paths means, or -1.

    A path means the image with that key; else the image whose key it ends in, at whole parts; else
    the only image whose key ends in it.

    Args:
        keys: of the data set (I), all different.
        source_keys: of the source (N).
        source: for messages.

    Raises:
        InputError: a path is the end of several images' keys.
    """
    place = keys.find(source_keys)
    open_rows = np.flatnonzero(place < 0)
    if not len(open_rows) or not len(keys):
        return place
    depths, source_depths = _depths(keys), _depths(source_keys)
    for depth in np.unique(depths)[::-1].tolist():  # the longest key first
        rows = open_rows[source_depths[open_rows] > depth]
        if len(rows):
            place[rows] = keys.find(Keys(_ends(source_keys, rows, depth)))
            open_rows = np.flatnonzero(place < 0)
    for depth in np.unique(source_depths[open_rows])[::-1].tolist():
        longer = np.flatnonzero(depths > depth)
        rows = open_rows[source_depths[open_rows] == depth]
        if not len(longer) or not len(rows):
            continue
        ends = _ends(keys, longer, depth)
        found = Keys(ends).find(source_keys.take(rows))
        times = Counter(ends)
        unclear = [ends[i] for i in found[found >= 0] if times[ends[i]] > 1]
        if unclear:
            raise InputError(
                f"{source}: {len(unclear)} of its paths are the end of several images' keys "
                f"({some(unclear)}); write paths with more of their folders"
            )
        place[rows] = np.where(found >= 0, longer[found], -1)
    return place
