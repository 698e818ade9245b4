"""Data sets by name, for every engine: a name stands for a function that returns records.

Names are built in, registered by code, or declared in YAML files (:mod:`wend.datasets.declared`).
``wend.d2.catalog`` hands the same names on to Detectron2's ``DatasetCatalog``.
"""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from wend.datasets.declared import (
    BOX_KINDS,
    SUFFIXES,
    Declaration,
    find_declarations,
    one_declaration,
    read_declaration,
)
from wend.datasets.store import find_store
from wend.errors import InputError, some
from wend.formats.cub import SPLITS, image_folder, load_cub
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

LoadRecords = Callable[[], Sequence[ImageRecord]]
logger = logging.getLogger(__name__)


def _no_sources() -> Sequence[Path]:
    return ()


@dataclass(frozen=True)
class CatalogEntry:
    """A data set's way to its records.

    Attributes:
        load: returns the records.
        train_on: the records' field that a detector learns from: "pseudo_boxes", or "gt_boxes" for
            a fully supervised upper bound.
        sources: returns the files and folders that they are read from; without any, an imported
            copy (:mod:`wend.datasets.store`) is not used, since its age could not be seen.
    """

    load: LoadRecords
    train_on: str
    sources: Callable[[], Sequence[Path]] = _no_sources


_entries: dict[str, CatalogEntry] = {}
_declared: dict[tuple, CatalogEntry] = {}
_given: dict[str, Path] = {}  # names of declarations that were named by their path
_loaded: dict[tuple[str, Path], DataSet] = {}


def datasets_root() -> Path:
    """Folder of the data sets: the environment's ``DETECTRON2_DATASETS``, else ``datasets``."""
    return Path(os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser()


def register_records(
    name: str,
    load: LoadRecords,
    train_on: str = "pseudo_boxes",
    sources: Callable[[], Sequence[Path]] = _no_sources,
) -> None:
    """Make a data set known under a name.

    Args:
        name: used in ``DATASETS.TRAIN`` and ``DATASETS.TEST``.
        load: returns its records; called at first use, so registering costs nothing.
        train_on: "pseudo_boxes" or "gt_boxes", see :class:`CatalogEntry`.
        sources: see :class:`CatalogEntry`.

    Raises:
        InputError: the name is taken.
    """
    if name in _entries:
        raise InputError(f"data set {name!r} is registered already; choose another name")
    if train_on not in BOX_KINDS:
        raise InputError(
            f"data set {name!r}: train_on must be one of {BOX_KINDS}, got {train_on!r}"
        )
    _entries[name] = CatalogEntry(load, train_on, sources)


def _declarations() -> tuple[dict[str, list[Path]], list[Path]]:
    found, others = find_declarations(datasets_root())
    for name, path in _given.items():
        paths = found.setdefault(name, [])
        if path.resolve() not in [one.resolve() for one in paths]:
            paths.append(path)
    return found, others


def registered_names() -> list[str]:
    """All known names, sorted: built-in, registered and declared ones."""
    return sorted({*_entries, *_declarations()[0]})


def resolve_name(name: str) -> str:
    """A data set's own name, which files and folders of results carry.

    Args:
        name: a name, or the path of a YAML file that declares a data set; from then on the name
            that the file declares is known, too.

    Raises:
        InputError: the file is missing or no declaration.
    """
    if not name.endswith(SUFFIXES):
        return name
    declaration = read_declaration(name)
    _given[declaration.name] = declaration.path
    return declaration.name


def _of_declaration(declaration: Declaration) -> CatalogEntry:
    root = datasets_root()
    return CatalogEntry(
        partial(declaration.load, root), declaration.train_on, partial(declaration.sources, root)
    )


def _entry(name: str) -> CatalogEntry:
    if name in _entries:
        return _entries[name]
    environment = [os.environ.get(key) for key in ("DETECTRON2_DATASETS", "WEND_DATASETS")]
    cached = (name, *environment)
    if cached not in _declared:
        check_name(name)
        name = resolve_name(name)
        _declared[cached] = _of_declaration(one_declaration(name, _declarations()[0][name]))
    return _declared[cached]


def check_name(name: str) -> None:
    """Raise InputError, which lists the known names and the nearest, unless the name is known.

    A YAML file's path is known if the file is a right declaration.
    """
    name = resolve_name(name)
    declared, others = _declarations()
    known = sorted({*_entries, *declared})
    if name in declared and name in _entries:
        raise InputError(
            f"data set {name!r} is built in or registered by code, and {some(declared[name])} "
            f"declares it; give the declaration another name"
        )
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    unread = f" (No declarations, since not YAML with a key 'format': {some(others)})"
    raise InputError(
        f"unknown data set {name!r}.{hint} Known: {', '.join(known)}{unread if others else ''}"
    )


def get_records(name: str) -> DataSet:
    """The data set's records; read once for each root, the same sequence at every call.

    Args:
        name: a known name, or the path of a YAML file that declares a data set.
    """
    check_name(name)
    cached = (resolve_name(name), datasets_root().absolute())
    if cached not in _loaded:
        _loaded[cached] = _load(cached[0])
    return _loaded[cached]


def dataset_sources(name: str) -> list[Path]:
    """The files and folders that a data set's records are read from; empty if they are unknown."""
    check_name(name)
    return list(_entry(name).sources())


def load_from_sources(name: str) -> Sequence[ImageRecord]:
    """The records as the readers return them, whether there is an imported copy or not."""
    check_name(name)
    return _entry(name).load()


def _load(name: str) -> DataSet:
    """The imported copy where there is a fresh one, else what the readers return."""
    entry = _entry(name)
    sources = entry.sources()
    store = find_store(name, sources, datasets_root()) if sources else None
    data_set = DataSet.from_records(entry.load()) if store is None else store
    return replace(data_set, name=name, train_on=entry.train_on)


def training_side(name: str) -> str:
    """The records' field that a detector learns from in this data set; see ``CatalogEntry``."""
    check_name(name)
    return _entry(name).train_on


def count_training_images(names: Sequence[str]) -> int:
    """Images of the data sets that have a box to learn from; the others are left out, and said.

    Raises:
        InputError: there is none.
    """
    usable = 0
    for name in names:
        records, what = get_records(name), training_side(name)
        with_box = len(records.training_boxes.with_boxes)
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


def _boxes_folder(folder: str, split: str) -> Path:
    return datasets_root() / folder / "c2am_boxes" / split / "pseudo_boxes"


def _load_builtin(folder: str, split: str, with_pseudo_boxes: bool) -> Sequence[ImageRecord]:
    records = load_cub(datasets_root() / folder / "CUB_200_2011", split)
    if with_pseudo_boxes:
        from wend.pseudo_boxes import attach_pseudo_boxes, read_c2am

        boxes = read_c2am(_boxes_folder(folder, split))
        records, _ = attach_pseudo_boxes(DataSet.from_records(records), boxes)
    return records


def _builtin_sources(folder: str, split: str, with_pseudo_boxes: bool) -> Sequence[Path]:
    root = datasets_root() / folder / "CUB_200_2011"
    boxes = [_boxes_folder(folder, split)] if with_pseudo_boxes else []
    return [root, image_folder(root, split), *boxes]


def _register_builtin() -> None:
    """``<data>_<split>`` holds the truth, ``<data>_<split>_c2am`` C2AM's pseudo boxes as well."""
    for data, folder in (("cub", "."), ("toy", "toy")):
        for split in SPLITS:
            for name, with_boxes in ((f"{data}_{split}", False), (f"{data}_{split}_c2am", True)):
                about = (folder, split, with_boxes)
                register_records(
                    name,
                    partial(_load_builtin, *about),
                    "pseudo_boxes" if with_boxes else "gt_boxes",
                    partial(_builtin_sources, *about),
                )


_register_builtin()
