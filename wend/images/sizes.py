"""Sizes of many image files from their headers, and which files are not there."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from wend.errors import BadImageError
from wend.images.reading import read_image_size
from wend.images.threads import map_in_threads
from wend.structures.data_set import unreadable_error

Known = Callable[[str | Path, str], tuple[int, int] | None]


def missing_files(paths: Sequence[str], task: str) -> list[int]:
    """Indices of the paths at which there is no file.

    Args:
        task: what is being done, for the progress bar.
    """
    present = map_in_threads(os.path.isfile, paths, task)
    return [index for index, is_file in enumerate(present) if not is_file]


class SizeReader:
    """Widths and heights of image files from their headers alone.

    Args:
        known: takes a path and the policy; the (width, height) of an image whose header need not be
            read, else None; as :class:`wend.datasets.known_sizes.KnownSizes`. Called in threads.
        keep_unreadable: a header that cannot be read is no error, its image is returned as such.
        exif: "ignore": sizes as stored; "apply": turned by EXIF's orientation.
    """

    def __init__(
        self, known: Known | None = None, *, keep_unreadable: bool = False, exif: str = "ignore"
    ) -> None:
        self.known, self.keep_unreadable, self.exif = known, keep_unreadable, exif
        self._counts: Counter[str] = Counter()

    @property
    def asked(self) -> int:
        """How many sizes were asked for so far."""
        return self._counts["asked"]

    @property
    def reused(self) -> int:
        """How many of them were known."""
        return self._counts["reused"]

    def with_policy(self, exif: str) -> SizeReader:
        """The same reader, which counts on, for images with that policy."""
        reader = SizeReader(self.known, keep_unreadable=self.keep_unreadable, exif=exif)
        reader._counts = self._counts
        return reader

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
        sizes = np.zeros((len(paths), 2), dtype=np.int64)
        unreadable: dict[int, BadImageError] = {}
        answers = map_in_threads(self._look_up, paths, task, "image", workers)
        for index, (size, error, known) in enumerate(answers):
            self._counts["reused"] += known
            if error is None:
                sizes[index] = size
            else:
                unreadable[index] = error
        self._counts["asked"] += len(paths)
        if unreadable and not self.keep_unreadable:
            raise unreadable_error(list(unreadable.values()), len(paths))
        return sizes, unreadable

    def _look_up(self, path: str | Path) -> tuple[tuple[int, int], BadImageError | None, bool]:
        """The size, why there is none, and whether it was known."""
        size = None if self.known is None else self.known(path, self.exif)
        if size is not None:
            return size, None, True
        try:
            return read_image_size(path, self.exif), None, False
        except BadImageError as error:
            return (0, 0), error, False
