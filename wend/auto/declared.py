"""The photos of ``wend auto`` as data sets, with their truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from wend.auto.photos import Photos
from wend.formats.folder import load_folder
from wend.images.sizes import SizeReader
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet


def as_data_set(photos: Photos) -> DataSet:
    """The readable photos, without boxes; ids and keys are their paths."""
    readable = photos.readable
    paths = [photo.path for photo in readable]
    return DataSet(
        name="photos",
        image_ids=paths,
        file_names=[str(photos.root / path) for path in paths],
        keys=paths,
        sizes=np.array([(photo.width, photo.height) for photo in readable], dtype=np.int64),
        class_ids=np.full(len(paths), -1, dtype=np.int64),
        truth=BoxTable.empty(len(paths)),
        pseudo_boxes=BoxTable.empty(len(paths)),
        exif=photos.exif,
    )


def read_truth(photos: Photos, data_set: DataSet, annotations: Path) -> BoxTable:
    """True boxes of the readable photos, in any layout that a folder's truth may have.

    Raises:
        InputError: what the reader says, or a truth of none of the photos.
    """
    paths = [photo.path for photo in photos.photos]
    reader = SizeReader(keep_unreadable=True, exif=photos.exif)
    loaded = load_folder(photos.root, annotations, "none", sizes=reader, paths=paths)
    index = loaded.index_of_key
    return loaded.truth.take([index[key] for key in data_set.keys])


def with_truth(data_set: DataSet, truth: BoxTable) -> DataSet:
    """The photos that have a true box, with the truth."""
    return replace(data_set, truth=truth).take(truth.with_boxes)
