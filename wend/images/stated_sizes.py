"""Stated image sizes against the files' own headers, where the files are at hand.

Shape letter: I = images.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from wend.errors import BadImageError
from wend.images.reading import read_image_size
from wend.images.threads import map_in_threads

LOOKED_AT = 256  # headers at most; reading a million would cost minutes


@dataclass(frozen=True, eq=False)
class OtherSizes:
    """Images whose header has another size than is stated.

    Attributes:
        looked_at: how many headers were read.
        images: (n,) indices of the images that differ.
        stored: (n, 2) width and height in their headers.
    """

    looked_at: int
    images: np.ndarray
    stored: np.ndarray


def spread(number: int, most: int = LOOKED_AT) -> np.ndarray:
    """Indices of at most ``most`` of so many images, spread evenly over them."""
    if number <= most:
        return np.arange(number)
    return np.linspace(0, number - 1, most).astype(np.int64)


def compare_with_headers(
    file_names: Sequence[str], sizes: np.ndarray, exif: str, most: int = LOOKED_AT
) -> OtherSizes:
    """Read the headers of all images, or of some that are spread evenly over them.

    Files that are not there or cannot be read are passed over: who opens them says so.

    Args:
        sizes: (I, 2) stated width and height; 0, 0 where none is, and such an image is passed over.
        exif: the data set's policy: sizes as stored ("ignore"), or turned by EXIF ("apply").
        most: headers that are read at most.
    """
    known = np.flatnonzero((sizes > 0).all(1))
    known = known[spread(len(known), most)]
    paths = [file_names[i] for i in known.tolist()]
    if not any(map(os.path.isfile, paths)):
        return OtherSizes(0, known[:0], np.zeros((0, 2), dtype=np.int64))
    headers = list(map_in_threads(partial(_size, exif=exif), paths, "image sizes", "image"))
    read = [i for i, size in enumerate(headers) if size is not None]
    images = known[read]
    stored = np.array([headers[i] for i in read], dtype=np.int64).reshape(-1, 2)
    other = (stored != sizes[images]).any(1)
    return OtherSizes(len(read), images[other], stored[other])


def _size(path: str, exif: str) -> tuple[int, int] | None:
    if not os.path.isfile(path):
        return None
    try:
        return read_image_size(path, exif)
    except BadImageError:
        return None
