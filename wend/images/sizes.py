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

from wend.errors import BadImageError
from wend.images.reading import read_image_size
from wend.structures.data_set import unreadable_error

T = TypeVar("T")
R = TypeVar("R")
CHUNK = 256  # files per task: a million tasks would cost a gigabyte


def map_in_threads(
    function: Callable[[T], R],
    items: Sequence[T],
    task: str,
    unit: str = "file",
    workers: int | None = None,
) -> Iterator[R]:
    """``map(function, items)`` in threads, in order, with a progress bar; the first error ends it.

    Args:
        task: what is being done, for the bar.
        workers: threads; by default more than there are cores, since files are waited for.
    """
    chunks = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
    workers = workers or min(32, 4 * (os.cpu_count() or 1))
    bar = tqdm(total=len(items), desc=task, unit=unit, leave=False, disable=None)
    pool = ThreadPoolExecutor(workers)
    try:
        for results in pool.map(lambda chunk: [function(item) for item in chunk], chunks):
            bar.update(len(results))
            yield from results
    finally:
        pool.shutdown(cancel_futures=True)
        bar.close()


def missing_files(paths: Sequence[str], task: str) -> list[int]:
    """Indices of the paths at which there is no file.

    Args:
        task: what is being done, for the progress bar.
    """
    present = map_in_threads(os.path.isfile, paths, task)
    return [index for index, is_file in enumerate(present) if not is_file]


class SizeReader:
    """Widths and heights of image files from their headers alone, as stored (EXIF not applied).

    Args:
        known: path -> (width, height) of an image whose header need not be read, else None; as
            :class:`wend.datasets.known_sizes.KnownSizes`. It is called in threads.
        keep_unreadable: a header that cannot be read is no error, its image is returned as such.

    Attributes:
        asked, reused: sizes that were asked for so far, and how many of them were known.
    """

    def __init__(
        self,
        known: Callable[[str | Path], tuple[int, int] | None] | None = None,
        *,
        keep_unreadable: bool = False,
    ) -> None:
        self.known, self.keep_unreadable = known, keep_unreadable
        self.asked = self.reused = 0

    def read(
        self, paths: Sequence[str | Path], task: str = "image sizes", workers: int | None = None
    ) -> tuple[np.ndarray, dict[int, BadImageError]]:
        """The sizes of N images.

        Args:
            task: what is being done, for the progress bar.
            workers: threads.

        Returns:
            (N, 2) int64 width and height in pixels, in the order of ``paths``; and index -> error
            of the images whose header cannot be read, which have the size 0, 0.

        Raises:
            BadImageError: there are such images and they are not to be kept; how many, and the
                first. MissingImageError where files are not there.
        """
        Image.init()  # loads the formats' plug-ins, which threads must not do side by side
        sizes = np.zeros((len(paths), 2), dtype=np.int64)
        unreadable: dict[int, BadImageError] = {}
        answers = map_in_threads(self._look_up, paths, task, "image", workers)
        for index, (size, error, known) in enumerate(answers):
            self.reused += known
            if error is None:
                sizes[index] = size
            else:
                unreadable[index] = error
        self.asked += len(paths)
        if unreadable and not self.keep_unreadable:
            raise unreadable_error(list(unreadable.values()), len(paths))
        return sizes, unreadable

    def _look_up(self, path: str | Path) -> tuple[tuple[int, int], BadImageError | None, bool]:
        """The size, why there is none, and whether it was known."""
        size = None if self.known is None else self.known(path)
        if size is not None:
            return size, None, True
        try:
            return read_image_size(path), None, False
        except BadImageError as error:
            return (0, 0), error, False
