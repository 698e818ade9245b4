"""Data sets by name: built in, registered by code, or declared in YAML files.

A :class:`DataSets` looks names up; ``wend.d2.catalog`` hands the same names on to Detectron2's
``DatasetCatalog``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from wend.datasets.declared import (
    SUFFIXES,
    Recipe,
    declaration_folders,
    find_declarations,
    one_declaration,
    read_declaration,
)
from wend.datasets.store import find_store
from wend.errors import InputError, did_you_mean, some
from wend.files import expand_user, real_path
from wend.formats.cub import SPLITS
from wend.images.sizes import SizeReader
from wend.registry import Registry
from wend.structures.data_set import BOX_KINDS, DataSet
from wend.structures.plausibility import look_at_boxes, report
from wend.structures.records import MAX_MEGAPIXELS, ImageRecord

if TYPE_CHECKING:  # pyarrow is slow to import
    from wend.pseudo_boxes import PseudoBoxes

LoadRecords = Callable[[], Iterable[ImageRecord] | DataSet]
logger = logging.getLogger(__name__)


def datasets_root() -> Path:
    """Folder of the data sets: the environment's ``DETECTRON2_DATASETS``, else ``datasets``."""
    return expand_user(os.environ.get("DETECTRON2_DATASETS", "datasets"))


def _built_in() -> dict[str, Recipe]:
    """``<data>_<split>`` holds the truth, ``<data>_<split>_c2am`` C2AM's pseudo boxes as well."""
    recipes = []
    for data, folder in (("cub", ""), ("toy", "toy/")):
        for split in SPLITS:
            options = {"images": f"{folder}CUB_200_2011", "split": split}
            boxes = {"source": "c2am", "path": f"{folder}c2am_boxes/{split}/pseudo_boxes"}
            name = f"{data}_{split}"
            for more in (
                {"name": name, "pseudo_boxes": None, "train_on": "gt_boxes"},
                {"name": f"{name}_c2am", "pseudo_boxes": boxes, "train_on": "pseudo_boxes"},
            ):
                recipes.append(Recipe(format="cub", options=options, **more))
    return {recipe.name: recipe for recipe in recipes}


@dataclass(frozen=True)
class _Registered:
    """A data set of the user's code, with the interface of :class:`Recipe`."""

    name: str
    function: LoadRecords
    train_on: str
    get_sources: Callable[[], Iterable[Path]]

    def sources(self, root: Path) -> list[Path]:
        """The sources that were registered with it, wherever the root is."""
        return [Path(path) for path in self.get_sources()]

    def load(self, root: Path, sizes: SizeReader, implausible: str | None = None) -> DataSet:
        """The function's result, as a data set."""
        data = self.load_images(root, sizes)
        findings = look_at_boxes(data.pseudo_boxes, data.sizes, data.image_ids, "pseudo boxes")
        report(findings, f"data set {self.name}", implausible, logger)
        return data

    def load_images(self, root: Path, sizes: SizeReader) -> DataSet:
        """The images with all that they were registered with."""
        data = self.function()
        return data if isinstance(data, DataSet) else DataSet.from_records(data, self.name)

    def load_boxes(self, root: Path) -> None:
        """None: the boxes come with the images."""


BUILT_IN = _built_in()
REGISTERED: Registry[_Registered] = Registry("data set")


def register_records(
    name: str,
    load: LoadRecords,
    train_on: str = "pseudo_boxes",
    sources: Callable[[], Iterable[Path]] = tuple,
) -> None:
    """Make a data set known under a name, in this process.

    Args:
        name: used in ``DATASETS.TRAIN`` and ``DATASETS.TEST``.
        load: returns its images, a list of :class:`ImageRecord` or a :class:`DataSet`; called at
            first use, so registering costs nothing.
        train_on: "pseudo_boxes", or "gt_boxes" for a fully supervised upper bound.
        sources: returns the files and folders that ``load`` reads; without any, an imported copy
            (:mod:`wend.datasets.store`) is not used, since its age could not be seen.

    Raises:
        InputError: the name is taken.
    """
    if name in BUILT_IN or name in REGISTERED:
        raise InputError(f"data set {name!r} is registered already; choose another name")
    if train_on not in BOX_KINDS:
        raise InputError(
            f"data set {name!r}: train_on must be one of {BOX_KINDS}, got {train_on!r}"
        )
    REGISTERED.register(name)(_Registered(name, load, train_on, sources))


class DataSets:
    """The data sets below one root, each read once.

    Args:
        root: folder of the data sets; by default the environment's ``DETECTRON2_DATASETS``, else
            ``datasets``.
        folders: further folders of declarations, besides those that ``docs/datasets.md`` lists.
        others: returns the data set that another catalog, such as Detectron2's, has under a name,
            or None.
        max_megapixels: image files that state more pixels, in millions, are not decoded.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        folders: Sequence[str | Path] = (),
        others: Callable[[str], DataSet | None] | None = None,
        max_megapixels: float = MAX_MEGAPIXELS,
    ) -> None:
        self._others = others
        self.max_megapixels = max_megapixels
        self.root = expand_user(root) if root else datasets_root()
        self._folders = declaration_folders(self.root, folders)
        self._given: dict[str, list[Path]] = {}  # names of declarations that were named by path
        self._loaded: dict[str, DataSet] = {}

    def _declarations(self) -> tuple[dict[str, list[Path]], list[Path]]:
        declared, others = find_declarations(self._folders)
        for name, given in self._given.items():
            paths = declared.setdefault(name, [])
            known = {real_path(path) for path in paths}
            paths += [path for path in given if real_path(path) not in known]
        return declared, others

    def names(self) -> list[str]:
        """All known names, sorted: built-in, registered and declared ones."""
        return sorted({*BUILT_IN, *REGISTERED, *self._declarations()[0]})

    def own_name(self, name: str) -> str:
        """A data set's own name, which files and folders of results carry.

        Args:
            name: a name, or the path of a YAML file that declares a data set; from then on the
                name that the file declares is known, too.

        Raises:
            InputError: the file is missing or no declaration.
        """
        if not name.endswith(SUFFIXES):
            return name
        declaration = read_declaration(name)
        given = self._given.setdefault(declaration.name, [])
        if declaration.path not in given:
            given.append(declaration.path)
            self._loaded.pop(declaration.name, None)  # what is loaded is of another file
        return declaration.name

    def _recipe(self, name: str) -> Recipe | _Registered:
        declared, others = self._declarations()
        by_code = REGISTERED.get(name) if name in REGISTERED else BUILT_IN.get(name)
        if by_code is not None and name in declared:
            raise InputError(
                f"data set {name!r} is built in or registered by code, and {some(declared[name])} "
                f"declares it; give the declaration another name"
            )
        foreign = self._others(name) if self._others is not None else None
        if foreign is not None and (name in BUILT_IN or name in declared):
            origin = some(declared[name]) if name in declared else "WEND"
            raise InputError(
                f"data set {name!r} is registered with Detectron2, and {origin} has another of "
                f"this name; register yours under another name"
            )
        if by_code is not None:
            return by_code
        if name in declared:
            return one_declaration(name, declared[name])
        if foreign is not None:
            return _Registered(name, lambda: foreign, foreign.train_on, tuple)
        known = sorted({*BUILT_IN, *REGISTERED, *declared})
        unread = f" (No declarations, since not YAML with a key 'format': {some(others)})"
        raise InputError(
            f"unknown data set {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}"
            f"{unread if others else ''}"
        )

    def get(
        self, name: str, *, keep_unreadable: bool = False, implausible: str | None = None
    ) -> DataSet:
        """The data set of a name, the same object at every call.

        It is the imported copy where there is a fresh one, else it is read from its files.

        Args:
            name: a known name, or the path of a YAML file that declares a data set.
            keep_unreadable: images whose header cannot be read are in ``DataSet.unreadable``,
                not an error.
            implausible: what becomes of pseudo boxes that are hardly pixels of their images:
                "error", or "count" to warn and go on; None: as the data set's declaration says. The
                truth is looked at by :func:`wend.datasets.plausible_truth.check_plausible`.

        Raises:
            InputError: an unknown name, or what the data set's readers say.
        """
        name = self.own_name(name)
        data_set = self._loaded[name] if name in self._loaded else self._load(name, implausible)
        if not keep_unreadable:
            data_set.require_readable()
        self._loaded[name] = data_set
        return data_set

    def _load(self, name: str, implausible: str | None) -> DataSet:
        store = self._find_store(name, self._recipe(name))
        if store is None:
            return self.read(name, SizeReader(keep_unreadable=True), implausible)
        return store

    def _find_store(self, name: str, recipe: Recipe | _Registered) -> DataSet | None:
        """The imported copy, if there is a fresh one."""
        sources = recipe.sources(self.root)
        store = find_store(name, sources, self.root) if sources else None
        return None if store is None else self._known_as(name, recipe, store)

    def _known_as(self, name: str, recipe: Recipe | _Registered, data_set: DataSet) -> DataSet:
        return replace(
            data_set,
            name=name,
            train_on=recipe.train_on,
            max_megapixels=self.max_megapixels,
        )

    def read(
        self, name: str, sizes: SizeReader | None = None, implausible: str | None = None
    ) -> DataSet:
        """The data set as its files are read, whether there is an imported copy or not.

        Args:
            name: as of :meth:`get`.
            sizes: reads the images' headers; by default one that cannot be read is an error.
            implausible: as of :meth:`get`.
        """
        name = self.own_name(name)
        recipe = self._recipe(name)
        data_set = recipe.load(self.root, sizes or SizeReader(), implausible)
        return self._known_as(name, recipe, data_set)

    def images(self, name: str) -> DataSet:
        """The data set of a name without the pseudo boxes of a source, which are not read for it.

        Raises:
            InputError: as of :meth:`get`.
        """
        name = self.own_name(name)
        recipe = self._recipe(name)
        data_set = self._find_store(name, recipe)
        if data_set is None:
            data_set = recipe.load_images(self.root, SizeReader())
            data_set = self._known_as(name, recipe, data_set)
        return data_set

    def boxes(self, name: str) -> PseudoBoxes | None:
        """The pseudo boxes of a name as the files of their source hold them, before any is mended.

        Returns:
            None where there is no source: there are none, or they come with :meth:`images`.
        """
        return self._recipe(self.own_name(name)).load_boxes(self.root)

    def sources(self, name: str) -> list[Path]:
        """The files and folders that a data set is read from; empty if they are unknown."""
        return self._recipe(self.own_name(name)).sources(self.root)
