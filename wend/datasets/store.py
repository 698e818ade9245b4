"""A data set, imported once: a memory-mapped Arrow file that processes share.

A store is a folder with ``records-<id>.arrow`` (Arrow IPC, one uncompressed batch, so that any
Arrow library reads it) and ``store.json``: format version, sources, counts, and at which byte each
column starts. Reading needs no Arrow library: the columns of the :class:`DataSet` are views of the
mapped file.
``wend.datasets.store_writer`` writes.

Shape letters: N images, B boxes.
"""

from __future__ import annotations

import json
import logging
import mmap
import operator
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from wend.datasets.fingerprints import changes, fingerprint
from wend.errors import InputError, MissingFileError, some
from wend.files import expand_user, read_json
from wend.structures.box_table import BoxTable
from wend.structures.columns import TextColumn
from wend.structures.data_set import DataSet
from wend.structures.masks import MaskFiles
from wend.structures.records import EXIF

FORMAT = 1
INFO_FILE = "store.json"
KINDS = ("gt_boxes", "pseudo_boxes")
SCORED = "scores"  # in store.json: scores of boxes are kept where the source has some
SCORES_OF = {"gt_boxes": "gt_scores", "pseudo_boxes": "pseudo_scores"}  # columns of scored boxes
logger = logging.getLogger(__name__)


def stores_folder(datasets_root: str | Path) -> Path:
    """The folder of stores: the environment's ``WEND_STORES``, else ``<datasets_root>/.wend``."""
    chosen = os.environ.get("WEND_STORES")
    return expand_user(chosen) if chosen else Path(datasets_root) / ".wend"


def read_info(folder: str | Path) -> dict[str, Any]:
    """``store.json`` of a store.

    Raises:
        MissingFileError, InputError: there is none, or it is of another format version.
    """
    path = Path(folder) / INFO_FILE
    info = read_json(path, "the description of an imported data set")
    version = info.get("format") if isinstance(info, dict) else None
    if version != FORMAT:
        raise InputError(f"{path}: is of format {version!r}, this version of WEND reads {FORMAT}")
    return info


def tail(file_name: str) -> str:
    """The last two parts of a path that is written plainly; see ``image_key``."""
    return file_name[file_name.rfind("/", 0, file_name.rfind("/")) + 1 :]


class _Columns:
    """The columns of a store's Arrow file, as views of the mapped file."""

    def __init__(self, path: Path, info: dict[str, Any]) -> None:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != info["bytes"]:
                raise InputError(f"{path}: has {size} bytes, not {info['bytes']}")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._columns = info["columns"]
        self.count = operator.index(info["counts"]["images"])

    def numbers(self, name: str, count: int | None = None) -> memoryview:
        """A column's numbers: indexing gives Python's int or float."""
        kind, start, length = self._columns[name]
        expected = self.count if count is None else count
        if length != expected:
            raise ValueError(f"column {name} has {length} values, expected {expected}")
        size = memoryview(b"").cast(kind).itemsize
        if not 0 <= start <= len(self._map) - length * size:
            raise ValueError(f"column {name} does not lie in the file")
        return memoryview(self._map)[start : start + length * size].cast(kind)

    def texts(self, name: str, derive: Callable[[str], Any] = str) -> TextColumn:
        """A column's texts, each as ``derive`` makes it of what is stored."""
        offsets = self.numbers(f"{name}.offsets", self.count + 1)
        return TextColumn(offsets, self.numbers(name, offsets[self.count]), derive)

    def boxes(self, name: str) -> BoxTable:
        """A column's boxes, with the scores that a store may have beside them."""
        offsets = self.numbers(f"{name}.offsets", self.count + 1)
        number = offsets[self.count]
        values = self.numbers(name, 4 * number)
        boxes = np.frombuffer(values, dtype=np.float64).reshape(-1, 4)
        scores = None
        if SCORES_OF.get(name) in self._columns:
            scores = np.frombuffer(self.numbers(SCORES_OF[name], number), dtype=np.float64)
        return BoxTable(np.asarray(offsets), boxes, scores)


def open_store(folder: str | Path, datasets_root: str | Path, data: str | None = None) -> DataSet:
    """The data set of a store: its columns are views of the mapped file, which processes share.

    Records were validated when they were written, and are not again. The data set pickles as the
    store's path. It has the store's name and trains on pseudo boxes; who opens it by a name of a
    catalog replaces both.

    Args:
        folder: of the store.
        datasets_root: folder of the data sets, below which the images lie (if they did).
        data: the file that must be in use, for a process that continues another's work.

    Raises:
        MissingFileError, InputError: no store, of another format, or not whole.
    """
    folder, info = Path(folder), read_info(folder)
    try:
        return _open(folder, str(datasets_root), info, data)
    except FileNotFoundError as error:
        raise MissingFileError(f"{folder}: its file {error.filename} is gone") from error
    except (KeyError, TypeError, ValueError, OSError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{folder}: is no whole store ({type(error).__name__}: {error})"
        ) from error


def _open(folder: Path, datasets_root: str, info: dict[str, Any], data: str | None) -> DataSet:
    if data not in (None, info["data"]):
        raise InputError(
            f"{folder}: was imported again while it was in use; start the command again"
        )
    columns = _Columns(folder / Path(info["data"]).name, info)
    prefix = _prefix(info["root"], datasets_root)
    masks: Any = None
    if "masks" in info["root"]:
        masks = columns.texts(
            "masks", partial(_mask_files, _prefix(info["root"]["masks"], datasets_root))
        )
    names = columns.texts("file_name")
    key_rule, id_rule = info["rules"]["key"], info["rules"]["image_id"]
    if key_rule == "tail":
        keys = columns.texts("file_name", lambda name: tail(prefix + name))
    else:
        keys = columns.texts("key") if key_rule == "column" else names
    if id_rule == "int":
        image_ids: Any = columns.numbers("image_id")
    elif id_rule in ("key", "file_name"):
        image_ids = keys if id_rule == "key" else names
    else:
        image_ids = columns.texts("image_id", json.loads if id_rule == "json" else str)
    return DataSet(
        name=folder.name,
        image_ids=image_ids,
        file_names=columns.texts("file_name", prefix.__add__),
        keys=keys,
        sizes=np.stack([columns.numbers("width"), columns.numbers("height")], 1),
        class_ids=np.asarray(columns.numbers("class_id")),
        truth=columns.boxes("gt_boxes"),
        pseudo_boxes=columns.boxes("pseudo_boxes"),
        masks=masks,
        exif=info.get("exif", EXIF[0]),
        left_out=info.get("left_out", {}),
        reopen=(open_store, (str(folder), datasets_root, info["data"])),
    )


def _prefix(root: dict[str, Any], datasets_root: str) -> str:
    """The front of paths that ``store.json`` says, seen from where the data sets lie now."""
    below: bool = root["below_datasets_root"]
    path: str = root["path"]
    return os.path.join(datasets_root, "") + path if below else path


def _mask_files(prefix: str, text: str) -> MaskFiles:
    objects, ignored = json.loads(text)
    return MaskFiles(tuple(prefix + name for name in objects), ignored and prefix + ignored)


def stale_because(info: dict[str, Any], sources: Iterable[Path], datasets_root: Path) -> list[str]:
    """The changes of a store's sources since it was made, in words; empty if there are none."""
    return changes(info["sources"], [fingerprint(path, datasets_root) for path in sources])


def lacks_scores(info: dict[str, Any]) -> bool:
    """Whether a store of this ``store.json`` may lack scores that its boxes' source has."""
    return not info.get(SCORED) and info["counts"]["pseudo_boxes"] > 0


def find_store(name: str, sources: Sequence[Path], datasets_root: Path) -> DataSet | None:
    """The data set's store, if there is one and its sources are as they were when it was made.

    Otherwise None, and a warning says why, unless there is none.

    Args:
        sources: files and folders that the data set's records are read from.
    """
    folder = stores_folder(datasets_root) / name
    if not (folder / INFO_FILE).is_file():
        return None
    try:
        store, info = open_store(folder, datasets_root), read_info(folder)
        changed, unscored = stale_because(info, sources, datasets_root), lacks_scores(info)
        problem = some(changed)
    except InputError as error:
        problem = str(error)
    except (KeyError, TypeError) as error:
        problem = f"{folder / INFO_FILE}: is not as WEND writes it ({error!r})"
    if not problem:
        logger.info("%s: %d images from the store %s", name, len(store), folder)
        if unscored:
            logger.info(
                "%s: the store is of a version that kept no scores of boxes, so that each counts "
                "1; 'wend data import %s' adds those of its source, if it has some",
                *(name, name),
            )
        return store
    logger.warning(
        "%s: read from its files, not from the store %s: %s. Run 'wend data import %s'",
        *(name, folder, problem, name),
    )
    return None
