"""Reading many small files at once: image sizes from headers, and whatever else takes a path."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image
from tqdm import tqdm

from wend.errors import InputError, MissingFileError, some
from wend.images.reading import read_image_size

T = TypeVar("T")
R = TypeVar("R")
CHUNK = 256  # files a task: a million tasks would cost a gigabyte


def map_in_threads(
    function: Callable[[T], R],
    items: Sequence[T],
    what: str,
    unit: str = "file",
    workers: int | None = None,
) -> Iterator[R]:
    """``map(function, items)`` in threads, in order, with a progress bar; the first error ends it.

    Args:
        what: what is being done, for the bar.
        workers: threads; by default more than there are cores, since files are waited for.
    """
    chunks = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
    workers = workers or min(32, 4 * (os.cpu_count() or 1))
    bar = tqdm(total=len(items), desc=what, unit=unit, leave=False, disable=None)
    pool = ThreadPoolExecutor(workers)
    try:
        for results in pool.map(lambda chunk: [function(item) for item in chunk], chunks):
            bar.update(len(results))
            yield from results
    finally:
        pool.shutdown(cancel_futures=True)
        bar.close()


def _size_or_error(path: str | Path) -> tuple[int, int] | InputError:
    try:
        return read_image_size(path)
    except InputError as error:
        return error


def read_image_sizes(
    paths: Sequence[str | Path], what: str = "image sizes", workers: int | None = None
) -> np.ndarray:
    """Sizes of many images, from their headers alone, as stored (EXIF is not applied).

    Returns:
        (N, 2) int64: width and height in pixels, in the order of ``paths``.

    Raises:
        MissingFileError, InputError: files that are missing or no images: how many, and the first.
    """
    Image.init()  # loads the formats' plug-ins, which threads must not do side by side
    sizes = list(map_in_threads(_size_or_error, paths, what, "image", workers))
    errors = [error for error in sizes if isinstance(error, InputError)]
    absent = [error for error in errors if isinstance(error, MissingFileError)]
    if absent:
        names = some(str(error).split(": there is no")[0] for error in absent)
        raise MissingFileError(
            f"{len(absent)} of {len(paths)} images are not there ({names}); unpack the data set's "
            f"images again, or correct the folder or the list"
        )
    if errors:
        raise InputError(
            f"{errors[0]}"
            + (f" ({len(errors)} of {len(paths)} images are so)" if len(errors) > 1 else "")
        )
    return np.array(sizes, dtype=np.int64).reshape(-1, 2)
