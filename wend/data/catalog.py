"""Data sets by name, for every engine: a name stands for a function that returns records.

``wend.d2.catalog`` hands the same names on to Detectron2's ``DatasetCatalog``.
"""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from wend.data.cub import SPLITS, load_cub
from wend.data.pseudo_boxes import attach_pseudo_boxes, read_c2am
from wend.errors import InputError
from wend.records import ImageRecord

LoadRecords = Callable[[], list[ImageRecord]]
BOX_KINDS = ("pseudo_boxes", "gt_boxes")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CatalogEntry:
    """A data set's way to its records.

    Attributes:
        load: returns the records.
        train_on: the records' field that a detector learns from: "pseudo_boxes", or "gt_boxes" for
            a fully supervised upper bound.
    """

    load: LoadRecords
    train_on: str


_entries: dict[str, CatalogEntry] = {}
_loaded: dict[tuple[str, Path], list[ImageRecord]] = {}


def datasets_root() -> Path:
    """Folder of the data sets: the environment's ``DETECTRON2_DATASETS``, else ``datasets``."""
    return Path(os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser()


def register_records(name: str, load: LoadRecords, train_on: str = "pseudo_boxes") -> None:
    """Make a data set known under a name.

    Args:
        name: used in ``DATASETS.TRAIN`` and ``DATASETS.TEST``.
        load: returns its records; called at first use, so registering costs nothing.
        train_on: "pseudo_boxes" or "gt_boxes", see :class:`CatalogEntry`.

    Raises:
        InputError: the name is taken.
    """
    if name in _entries:
        raise InputError(f"data set {name!r} is registered already; choose another name")
    if train_on not in BOX_KINDS:
        raise InputError(
            f"data set {name!r}: train_on must be one of {BOX_KINDS}, got {train_on!r}"
        )
    _entries[name] = CatalogEntry(load, train_on)


def registered_names() -> list[str]:
    """All known names, sorted."""
    return sorted(_entries)


def check_name(name: str) -> None:
    """Raise InputError, which lists the known names and the nearest, unless the name is known."""
    if name not in _entries:
        near = difflib.get_close_matches(name, _entries, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(f"unknown data set {name!r}.{hint} Known: {', '.join(registered_names())}")


def get_records(name: str) -> list[ImageRecord]:
    """The data set's records; read once for each root, the same list at every call."""
    check_name(name)
    cached = (name, datasets_root().absolute())
    if cached not in _loaded:
        _loaded[cached] = _entries[name].load()
    return _loaded[cached]


def training_side(name: str) -> str:
    """The records' field that a detector learns from in this data set; see ``CatalogEntry``."""
    check_name(name)
    return _entries[name].train_on


def training_boxes(name: str, record: ImageRecord) -> np.ndarray:
    """The boxes (P, 4) of a record that a detector learns from in this data set."""
    return getattr(record, _entries[name].train_on)


def count_training_images(names: Sequence[str]) -> int:
    """Images of the data sets that have a box to learn from; the others are left out, and said.

    Raises:
        InputError: there is none.
    """
    usable = 0
    for name in names:
        records = get_records(name)
        with_box = sum(1 for record in records if len(training_boxes(name, record)))
        what = _entries[name].train_on
        logger.info(
            "%s: training on %s of %d images; %d images without one are left out",
            name,
            {"pseudo_boxes": "the pseudo boxes", "gt_boxes": "the TRUE boxes (an upper bound)"}[
                what
            ],
            with_box,
            len(records) - with_box,
        )
        usable += with_box
    if not usable:
        raise InputError(
            f"config entry DATASETS.TRAIN: no image of {', '.join(names) or 'an empty list'} has a "
            f"box to train on; name a data set with pseudo boxes, such as cub_train_c2am"
        )
    return usable


def _load(folder: str, split: str, with_pseudo_boxes: bool) -> list[ImageRecord]:
    root = datasets_root() / folder
    records = load_cub(root / "CUB_200_2011", split)
    if with_pseudo_boxes:
        boxes = read_c2am(root / "c2am_boxes" / split / "pseudo_boxes")
        records, _ = attach_pseudo_boxes(records, boxes)
    return records


def _register_builtin() -> None:
    """``<data>_<split>`` holds the truth, ``<data>_<split>_c2am`` C2AM's pseudo boxes as well."""
    for data, folder in (("cub", "."), ("toy", "toy")):
        for split in SPLITS:
            register_records(f"{data}_{split}", partial(_load, folder, split, False), "gt_boxes")
            register_records(f"{data}_{split}_c2am", partial(_load, folder, split, True))


_register_builtin()
