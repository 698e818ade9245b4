"""The one match of paths with images, whatever root either has, for all readers.

Shape letters: I = images of the data set, N = paths.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from urllib.parse import unquote

import numpy as np

from wend.errors import InputError, some
from wend.structures.arrow import booleans, integers, numbers_of, strings

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)
_ENDING = r"(?i)\.(bmp|gif|jfif|jpe?g|png|ppm|tiff?|webp)$"
# what labelling tools make of a name, without its ending: Roboflow's "name_jpg.rf.<hash>", Label
# Studio's "<hash>-name"; and a space is "-" to the one and "_" to the other
_TOOLS = (
    (r"_[a-z]{3,4}\.rf\.[0-9a-z]{12,}$", ""),
    (r"(^|/)[0-9a-f]{8}-([^/]+)$", r"\1\2"),
    ("[ -]", "_"),
)


def clean_path(path: str) -> str:
    """A path as names are compared: as of :func:`tidy_path`, in Unicode NFC.

    macOS writes file names decomposed (NFD), other systems composed: both mean the same file.
    """
    return tidy_path(unicodedata.normalize("NFC", path))


def tidy_path(path: str) -> str:
    """A path with forward slashes and without drive, root and leading ``..``."""
    parts = path.replace("\\", "/").split("/")
    parts = [part for part in parts if part not in ("", ".")]
    if parts and re.fullmatch("[^:]:", parts[0]):
        parts = parts[1:]
    while parts and parts[0] == "..":
        parts = parts[1:]
    return "/".join(parts)


def without_ending(path: str) -> str:
    """A path without the ending of an image file, if it has one."""
    return re.sub(_ENDING, "", path)


def match_names(names: Sequence[str], keys: Sequence[str], source: str) -> np.ndarray:
    """Index (N,) of the image that each name means, or -1.

    A name means the image with that key; else the image whose key it ends in, at whole parts (the
    longest such key); else the only image whose key ends in it. Names that mean none are compared
    with the keys that no name means, once more after each of the :data:`RULES`: how many are
    matched by which is logged.

    Args:
        names: N paths, each as of :func:`clean_path`; Arrow's large strings, or a sequence.
        keys: I keys of images, clean and different; likewise.
        source: of the names, for messages.

    Raises:
        InputError: a name may mean several images, or by a rule several names mean the same image.
    """
    paths, image_keys = _as_arrow(names), _as_arrow(keys)
    index = _match(paths, image_keys, source)
    rows, free = np.arange(len(paths)), np.arange(len(image_keys))  # those not matched so far
    for rule, of_path, of_key in RULES:
        is_left = index[rows] < 0
        if not is_left.any():
            break
        is_free = ~np.isin(free, index)
        if not is_free.any():
            break
        rows, free = rows[is_left], free[is_free]
        paths = of_path(_filter(paths, is_left))
        image_keys = of_key(_filter(image_keys, is_free))
        matched = _match(paths, image_keys, source)
        hit = matched >= 0
        if hit.any():
            index[rows] = np.where(hit, free[matched], -1)
            original = [str(names[row]) for row in rows[hit].tolist()]
            _say_or_refuse(source, rule, original, index[rows[hit]].tolist())
    return index


def _say_or_refuse(source: str, rule: str, names: list[str], images: list[int]) -> None:
    """Log the names that a rule matched; InputError if two of them mean one image."""
    name_of: dict[int, str] = {}
    for name, image in zip(names, images, strict=True):
        if name_of.setdefault(image, name) != name:
            raise InputError(
                f"{source}: {name_of[image]} and {name} would be the same image, {rule}; expected "
                f"one name for each image. Are they copies, or augmentations of one image?"
            )
    distinct = list(dict.fromkeys(names))
    logger.info("%s: %d names matched %s (%s)", source, len(distinct), rule, some(distinct))


def _plain_path(path: str) -> str:
    """The path within a URL: what stands in ``?d=`` (Label Studio), else before any ``?``."""
    before, question, query = path.partition("?")
    local = re.match("d=([^&]*)", query) if question else None
    return clean_path(unquote(local[1] if local else before))


def _decoded(paths: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    odd = pc.match_substring_regex(paths, "[?%]")
    if not pc.any(odd).as_py():
        return paths
    decoded = [_plain_path(path) for path in paths.filter(odd).to_pylist()]
    return pc.replace_with_mask(paths, odd, strings(decoded))


def _lower(paths: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    return pc.utf8_lower(paths)


def _without_ending(paths: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    return pc.replace_substring_regex(paths, _ENDING, "")


def _without_tools(paths: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    for pattern, replacement in _TOOLS:
        paths = pc.replace_substring_regex(paths, pattern, replacement)
    return paths


def _unchanged(paths: pa.Array) -> pa.Array:
    return paths


Change = Callable[["pa.Array"], "pa.Array"]
RULES: tuple[tuple[str, Change, Change], ...] = (  # how, what becomes of names, of keys; one by one
    ("as URLs", _decoded, _unchanged),
    ("without regard to capitals", _lower, _lower),
    ("whatever their endings", _without_ending, _without_ending),
    ("without what Roboflow and Label Studio make of names", _without_tools, _without_tools),
)


def _as_arrow(paths: Sequence[str]) -> pa.LargeStringArray:
    import pyarrow as pa

    if isinstance(paths, pa.Array):
        return paths
    try:
        return strings(paths)
    except UnicodeEncodeError:  # names of files that are no Unicode match none
        return strings([path.encode(errors="replace").decode() for path in paths])


def _filter(paths: pa.Array, kept: np.ndarray) -> pa.Array:
    return paths if kept.all() else paths.filter(booleans(kept))


def _find(names: pa.Array, keys: pa.Array, source: str) -> np.ndarray:
    """Index of each name among the keys, or -1; none may mean two of them."""
    import pyarrow.compute as pc

    indices = pc.index_in(names, value_set=keys)
    index = numbers_of(indices, null=-1).astype(np.int64)
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
    return strings(["/".join(path.split("/")[-depth:]) for path in paths.to_pylist()])


def _match(names: pa.Array, keys: pa.Array, source: str) -> np.ndarray:
    import pyarrow.compute as pc

    index = _find(names, keys, source)
    open_rows = np.flatnonzero(index < 0)
    if not len(open_rows) or not len(keys):
        return index
    name_depths, depths = (
        numbers_of(pc.count_substring(paths, "/")) + 1 for paths in (names, keys)
    )
    for depth in np.unique(depths)[::-1].tolist():  # the longest key first
        rows = open_rows[name_depths[open_rows] > depth]
        if len(rows):
            index[rows] = _find(_ends(names.take(integers(rows)), depth), keys, source)
            open_rows = np.flatnonzero(index < 0)
    for depth in np.unique(name_depths[open_rows])[::-1].tolist():
        longer = np.flatnonzero(depths > depth)
        rows = open_rows[name_depths[open_rows] == depth]
        if len(longer) and len(rows):
            ends = _ends(keys.take(integers(longer)), depth)
            matched = _find(names.take(integers(rows)), ends, source)
            index[rows] = np.where(matched >= 0, longer[matched], -1)
    return index
