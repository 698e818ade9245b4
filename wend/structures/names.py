"""The one match of paths with images, whatever root either has, for all readers.

Shape letters: I = images of the data set, N = paths.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from wend.errors import InputError, some

if TYPE_CHECKING:
    import pyarrow as pa

_ENDING = r"(?i)\.(bmp|gif|jpe?g|png|ppm|tiff?|webp)$"


def clean_path(path: str) -> str:
    """A path as names are compared: forward slashes, no drive, no root or leading ``..``, NFC.

    macOS writes file names decomposed (NFD), other systems composed: both mean the same file.
    """
    parts = unicodedata.normalize("NFC", path).replace("\\", "/").split("/")
    parts = [part for part in parts if part not in ("", ".")]
    if parts and re.fullmatch("[^:]:", parts[0]):
        parts = parts[1:]
    while parts and parts[0] == "..":
        parts = parts[1:]
    return "/".join(parts)


def match_names(
    names: Sequence[str], keys: Sequence[str], source: str, any_ending: bool = False
) -> np.ndarray:
    """Index (N,) of the image that each name means, or -1.

    A name means the image with that key; else the image whose key it ends in, at whole parts (the
    longest such key); else the only image whose key ends in it.

    Args:
        names: N paths, each as of :func:`clean_path`; Arrow's large strings, or a sequence.
        keys: I keys of images, clean and different; likewise.
        source: of the names, for messages.
        any_ending: names that mean none are compared once more without the endings of images.

    Raises:
        InputError: a name is the end of several images' keys.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    paths, image_keys = _as_arrow(names), _as_arrow(keys)
    index = _match(paths, image_keys, source)
    if any_ending and len(rows := np.flatnonzero(index < 0)):
        bare_names, bare_keys = (
            pc.replace_substring_regex(texts, _ENDING, "")
            for texts in (paths.take(pa.array(rows)), image_keys)
        )
        index[rows] = _match(bare_names, bare_keys, source)
    return index


def _as_arrow(paths: Sequence[str]) -> pa.LargeStringArray:
    import pyarrow as pa

    if isinstance(paths, pa.Array):
        return paths
    try:
        return pa.array(paths, pa.large_string())
    except UnicodeEncodeError:  # names of files that are no Unicode match none
        return pa.array([p.encode(errors="replace").decode() for p in paths], pa.large_string())


def _find(names: pa.Array, keys: pa.Array, source: str) -> np.ndarray:
    """Index of each name among the keys, or -1; none may mean two of them."""
    import pyarrow.compute as pc

    indices = pc.index_in(names, value_set=keys)
    index = indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    if len(pc.unique(keys)) < len(keys):
        times = Counter(keys.to_pylist())
        unclear = [name for name in names.to_pylist() if times[name] > 1]
        if unclear:
            raise InputError(
                f"{source}: {len(unclear)} of its paths are the end of several images' keys "
                f"({some(unclear)}); write paths with more of their folders"
            )
    return index


def _ends(paths: pa.Array, depth: int) -> pa.LargeStringArray:
    """The last ``depth`` parts of each path."""
    import pyarrow as pa

    ends = ["/".join(path.split("/")[-depth:]) for path in paths.to_pylist()]
    return pa.array(ends, pa.large_string())


def _match(names: pa.Array, keys: pa.Array, source: str) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    index = _find(names, keys, source)
    open_rows = np.flatnonzero(index < 0)
    if not len(open_rows) or not len(keys):
        return index
    name_depths, depths = (
        pc.count_substring(paths, "/").to_numpy(zero_copy_only=False) + 1 for paths in (names, keys)
    )
    for depth in np.unique(depths)[::-1].tolist():  # the longest key first
        rows = open_rows[name_depths[open_rows] > depth]
        if len(rows):
            index[rows] = _find(_ends(names.take(pa.array(rows)), depth), keys, source)
            open_rows = np.flatnonzero(index < 0)
    for depth in np.unique(name_depths[open_rows])[::-1].tolist():
        longer = np.flatnonzero(depths > depth)
        rows = open_rows[name_depths[open_rows] == depth]
        if len(longer) and len(rows):
            ends = _ends(keys.take(pa.array(longer)), depth)
            matched = _find(names.take(pa.array(rows)), ends, source)
            index[rows] = np.where(matched >= 0, longer[matched], -1)
    return index
