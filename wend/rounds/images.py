"""The images of a training with the boxes that it was given, and the folds that they lie in."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from wend.datasets.parts import folds
from wend.errors import BadImageError, InputError, some
from wend.files import state_digest
from wend.images.near_duplicates import SIDE, group, thumbnail
from wend.images.reading import read_image
from wend.images.threads import map_in_threads
from wend.loading.selection import Selection
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet

MOST_COMPARED = 50_000  # images; each is compared with each
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RoundImages:
    """I images with a given box, of one data set after the other.

    Attributes:
        data_sets: their ids count from 0 in each, their keys are paths below ``roots``, their
            pseudo boxes are the given ones.
        roots: the folder that the images of each lie below.
    """

    data_sets: tuple[DataSet, ...]
    roots: tuple[Path, ...]

    @classmethod
    def of_selection(cls, selection: Selection) -> RoundImages:
        """Those of a training that have a box and a readable header.

        Raises:
            InputError: a data set that is trained on its truth, or two of one name.
        """
        names = [data_set.name for data_set in selection.data_sets]
        if len(set(names)) < len(names):
            raise InputError(
                f"config entry DATASETS.TRAIN: expected each data set once, got {some(names)}"
            )
        chosen, roots = [], []
        for data_set, rows in zip(selection.data_sets, selection.indices, strict=True):
            if data_set.train_on != "pseudo_boxes":
                raise InputError(
                    f"config entry DATASETS.TRAIN: {data_set.name} is trained on its true boxes, "
                    f"which need no rounds; name a data set with pseudo boxes"
                )
            usable = np.asarray(rows, dtype=np.int64)
            usable = np.setdiff1d(usable, list(data_set.unreadable))
            usable = usable[data_set.pseudo_boxes.counts[usable] > 0]
            if not len(usable):
                continue
            root, images = _below_root(data_set.take(usable))
            chosen.append(images)
            roots.append(root)
        return cls(tuple(chosen), tuple(roots))

    def __len__(self) -> int:
        return sum(map(len, self.data_sets))

    @cached_property
    def given(self) -> BoxTable:
        """The given boxes of all images."""
        return BoxTable.concatenate([data_set.pseudo_boxes for data_set in self.data_sets])

    @cached_property
    def truth(self) -> BoxTable:
        """The true boxes of all images; none where a data set has no truth."""
        return BoxTable.concatenate([data_set.truth for data_set in self.data_sets])

    @cached_property
    def sizes(self) -> np.ndarray:
        """Width and height (I, 2)."""
        return np.concatenate([data_set.sizes for data_set in self.data_sets])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the files' names, sizes and times of change."""
        return state_digest(file for data_set in self.data_sets for file in data_set.file_names)

    def class_numbers(self) -> np.ndarray:
        """Classes (I,) that differ between data sets; images without one share a number."""
        most = max(int(data_set.class_ids.max(initial=0)) for data_set in self.data_sets) + 2
        parts = [i * most + d.class_ids + 1 for i, d in enumerate(self.data_sets)]
        return np.concatenate(parts)

    def of_each(self, images: np.ndarray) -> list[np.ndarray]:
        """Indices (n,) within each data set of some images, of a mask (I,)."""
        ends = np.cumsum([len(data_set) for data_set in self.data_sets])
        return [np.flatnonzero(part) for part in np.split(images, ends[:-1])]

    def take(self, images: np.ndarray) -> RoundImages:
        """Some of the images, by a mask (I,); data sets of which none is left are, too."""
        parts = zip(self.data_sets, self.of_each(images), strict=True)
        return RoundImages(tuple(data_set.take(rows) for data_set, rows in parts), self.roots)


def _below_root(data_set: DataSet) -> tuple[Path, DataSet]:
    files = [os.path.abspath(file) for file in data_set.file_names]
    root = os.path.commonpath([os.path.dirname(file) for file in files])
    keys = [os.path.relpath(file, root).replace(os.sep, "/") for file in files]
    return Path(root), replace(
        data_set, image_ids=list(range(len(files))), file_names=files, keys=keys
    )


@dataclass(frozen=True)
class Folds:
    """Which fold each image is in.

    Attributes:
        fold: (I,) from 0; -1 for an image that cannot be read.
        problems: why these cannot be read.
        near: how many images are near duplicates of others.
    """

    fold: np.ndarray
    problems: Sequence[str]
    near: int


def draw_folds(images: RoundImages, number: int, seed: int) -> Folds:
    """Draw folds that share no near duplicates and have nearly the same classes.

    Every image is decoded for that, once; where there are more than :data:`MOST_COMPARED`, only
    equal ones are kept together.

    Raises:
        InputError: there are fewer different images than folds.
    """
    files = [
        (file, data_set.exif, data_set.max_megapixels)
        for data_set in images.data_sets
        for file in data_set.file_names
    ]
    seen = list(map_in_threads(_look, files, "near duplicates", "image"))
    readable = np.array([not isinstance(each, str) for each in seen])
    shown = [each for each in seen if not isinstance(each, str)]
    thumbnails = np.array([small for small, _ in shown], np.uint8).reshape(-1, SIDE, SIDE)
    digests = [digest for _, digest in shown]
    if len(shown) > MOST_COMPARED:
        logger.warning(
            "%d images are too many to compare each with each: only equal ones share a fold",
            len(shown),
        )
        groups = np.unique(digests, return_inverse=True)[1].reshape(-1)
    else:
        groups = group(thumbnails, digests)
    different = len(np.unique(groups))
    if different < number:
        raise InputError(
            f"--cross-fit {number}: there are {different} different images with a box that can be "
            f"read; expected at most so many folds"
        )
    fold = np.full(len(images), -1, dtype=np.int64)
    fold[readable] = folds(groups, images.class_numbers()[readable], number, seed)
    members = np.bincount(groups)
    return Folds(
        fold, [each for each in seen if isinstance(each, str)], int(members[members > 1].sum())
    )


def _look(file: tuple[str, str, float]) -> tuple[np.ndarray, str] | str:
    """A thumbnail and a digest of the pixels; or why the image cannot be read."""
    try:
        image = read_image(*file)
    except BadImageError as error:
        return str(error)
    pixels = hashlib.sha256(repr(image.size).encode() + image.tobytes()).hexdigest()
    return thumbnail(image), pixels
