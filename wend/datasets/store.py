"""Records of a data set, imported once: a memory-mapped Arrow file that processes share.

A store is a folder with ``records-<id>.arrow`` (Arrow IPC, one uncompressed batch, so that any
Arrow library reads it) and ``store.json``: format version, sources, counts, and at which byte each
column starts. Reading needs no Arrow library: the columns are views of the mapped file, and an
:class:`~wend.structures.records.ImageRecord` is built when it is asked for.
``wend.datasets.store_writer`` writes.

Shape letters: N images, B boxes.
"""

from __future__ import annotations

import json
import logging
import mmap
import operator
import os
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wend.datasets.fingerprints import changes, fingerprint
from wend.errors import InputError, MissingFileError, some
from wend.files import read_json
from wend.structures.records import ImageRecord

FORMAT = 1
INFO_FILE = "store.json"
KINDS = ("gt_boxes", "pseudo_boxes")
logger = logging.getLogger(__name__)


def stores_folder(datasets_root: str | Path) -> Path:
    """Where stores lie: the environment's ``WEND_STORES``, else ``<datasets_root>/.wend``."""
    chosen = os.environ.get("WEND_STORES")
    return Path(chosen).expanduser() if chosen else Path(datasets_root) / ".wend"


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


class RecordStore(Sequence[ImageRecord]):
    """The records of a store, built on access; processes that open it share its pages.

    Records were validated when they were written, and are not again. Pickles as its path.

    Args:
        folder: of the store.
        datasets_root: folder of the data sets, below which the images lie (if they did).
        data: the file that must be in use, for a process that continues another's work.

    Raises:
        MissingFileError, InputError: no store, of another format, or not whole.
    """

    def __init__(
        self, folder: str | Path, datasets_root: str | Path, data: str | None = None
    ) -> None:
        self.folder, self.datasets_root = Path(folder), str(datasets_root)
        self.info = read_info(folder)
        try:
            self._open(self.info, data)
        except FileNotFoundError as error:
            raise MissingFileError(f"{self.folder}: its file {error.filename} is gone") from error
        except (KeyError, TypeError, ValueError, OSError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{self.folder}: is no whole store ({type(error).__name__}: {error})"
            ) from error

    def _open(self, info: dict[str, Any], data: str | None) -> None:
        if data not in (None, info["data"]):
            raise InputError(
                f"{self.folder}: was imported again while it was in use; start the command again"
            )
        with open(self.folder / Path(info["data"]).name, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != info["bytes"]:
                raise InputError(
                    f"{self.folder / info['data']}: has {size} bytes, not {info['bytes']}"
                )
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._count = operator.index(info["counts"]["images"])
        below, prefix = info["root"]["below_datasets_root"], info["root"]["path"]
        self._prefix = os.path.join(self.datasets_root, prefix) if below else prefix
        self._key_rule, self._id_rule = info["rules"]["key"], info["rules"]["image_id"]
        self._names = self._texts("file_name")
        self._keys = self._texts("key") if self._key_rule == "column" else None
        self._ids = self._id_column()
        self._width, self._height = self._column("width"), self._column("height")
        self._class = self._column("class_id")
        self._boxes = {kind: self._box_column(kind) for kind in KINDS}

    def _column(self, name: str, count: int | None = None) -> memoryview:
        """A column's numbers, without a copy: indexing gives Python's int or float."""
        kind, start, length = self.info["columns"][name]
        expected = self._count if count is None else count
        if length != expected:
            raise ValueError(f"column {name} has {length} values, expected {expected}")
        size = memoryview(b"").cast(kind).itemsize
        if not 0 <= start <= len(self._map) - length * size:
            raise ValueError(f"column {name} does not lie in the file")
        return memoryview(self._map)[start : start + length * size].cast(kind)

    def _offsets(self, name: str) -> memoryview:
        return self._column(f"{name}.offsets", self._count + 1)

    def _texts(self, name: str) -> tuple[memoryview, memoryview]:
        offsets = self._offsets(name)
        return offsets, self._column(name, offsets[self._count])

    def _box_column(self, kind: str) -> tuple[memoryview, np.ndarray]:
        offsets = self._offsets(kind)
        values = self._column(kind, 4 * offsets[self._count])
        return offsets, np.frombuffer(values, dtype=np.float64).reshape(-1, 4)

    def _id_column(self) -> Any:
        if self._id_rule in ("key", "file_name"):
            return None
        return self._column("image_id") if self._id_rule == "int" else self._texts("image_id")

    def __reduce__(self) -> tuple:
        return RecordStore, (str(self.folder), self.datasets_root, self.info["data"])

    def __len__(self) -> int:
        return self._count

    def _name(self, place: int) -> tuple[str, str]:
        """The file name below the root, and the key."""
        offsets, text = self._names
        name = str(text[offsets[place] : offsets[place + 1]], "utf-8")
        if self._key_rule == "tail":
            return name, tail(self._prefix + name)
        if self._keys is None:
            return name, name
        offsets, text = self._keys
        return name, str(text[offsets[place] : offsets[place + 1]], "utf-8")

    def file_name(self, place: int) -> str:
        """Path of the image file at a place, without building the record."""
        return self._prefix + self._name(place)[0]

    def _image_id(self, place: int, name: str, key: str) -> Hashable:
        if self._id_rule == "int":
            return self._ids[place]
        if self._ids is None:
            return key if self._id_rule == "key" else name
        offsets, text = self._ids
        value = str(text[offsets[place] : offsets[place + 1]], "utf-8")
        return json.loads(value) if self._id_rule == "json" else value

    def __getitem__(self, index: int | slice) -> Any:
        """The record at a place; of a slice, a list of records."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(self._count))]
        place = operator.index(index)
        if place < 0:
            place += self._count
        if not 0 <= place < self._count:
            raise IndexError(f"{self.folder}: image {index} of {self._count}")
        name, key = self._name(place)
        gt, pseudo = self._boxes["gt_boxes"], self._boxes["pseudo_boxes"]
        class_id = self._class[place]
        record = object.__new__(ImageRecord)  # without validating again
        record.__dict__.update(
            image_id=self._image_id(place, name, key),
            file_name=self._prefix + name,
            width=self._width[place],
            height=self._height[place],
            key=key,
            class_id=None if class_id < 0 else class_id,
            gt_boxes=gt[1][gt[0][place] : gt[0][place + 1]],
            pseudo_boxes=pseudo[1][pseudo[0][place] : pseudo[0][place + 1]],
        )
        return record

    def boxes(self, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """All boxes (B, 4) of a kind, and where each image's start (N + 1,), without a copy."""
        offsets, boxes = self._boxes[kind]
        return boxes, np.asarray(offsets)

    def indices_with_boxes(self, kind: str) -> Sequence[int]:
        """Places of the images that have a box of the kind: int64 (M,), or a range of them all."""
        has = np.diff(self.boxes(kind)[1]) > 0
        return range(self._count) if has.all() else np.flatnonzero(has)

    def count_with_boxes(self, kind: str) -> int:
        """Number of images that have a box of the kind."""
        return int(np.count_nonzero(np.diff(self.boxes(kind)[1])))

    def sizes(self) -> np.ndarray:
        """Widths and heights (N, 2) in pixels."""
        return np.stack([np.asarray(self._width), np.asarray(self._height)], 1)

    def class_ids(self) -> np.ndarray:
        """Classes (N,), -1 where an image has none; without a copy."""
        return np.asarray(self._class)

    def positions(self, keys: Sequence[str]) -> np.ndarray:
        """Place of the image of each key (K,), -1 where there is none; one pass over all keys."""
        wanted: dict[str, list[int]] = {}
        for number, key in enumerate(keys):
            wanted.setdefault(key, []).append(number)
        places = np.full(len(keys), -1, dtype=np.int64)
        for place in range(self._count):
            for number in wanted.get(self._name(place)[1], ()):
                places[number] = place
        return places


def count_with_boxes(records: Sequence[ImageRecord], kind: str) -> int:
    """Number of records with a box of the kind, by arrays where the records are a store."""
    if isinstance(records, RecordStore):
        return records.count_with_boxes(kind)
    return sum(1 for record in records if len(getattr(record, kind)))


def indices_with_boxes(records: Sequence[ImageRecord], kind: str) -> Sequence[int]:
    """Places of the records with a box of the kind, by arrays where the records are a store."""
    if isinstance(records, RecordStore):
        return records.indices_with_boxes(kind)
    return [place for place, record in enumerate(records) if len(getattr(record, kind))]


def stale_because(info: dict[str, Any], sources: Iterable[Path], datasets_root: Path) -> list[str]:
    """What of a store's sources is not as it was, in words; empty if nothing."""
    return changes(info["sources"], [fingerprint(path, datasets_root) for path in sources])


def find_store(name: str, sources: Sequence[Path], datasets_root: Path) -> RecordStore | None:
    """The data set's store, if there is one and its sources are as they were when it was made.

    Otherwise None, and a warning says why, unless there is none.

    Args:
        sources: files and folders that the data set's records are read from.
    """
    folder = stores_folder(datasets_root) / name
    if not (folder / INFO_FILE).is_file():
        return None
    try:
        store = RecordStore(folder, datasets_root)
        changed = stale_because(store.info, sources, datasets_root)
        problem = some(changed)
    except InputError as error:
        problem = str(error)
    except (KeyError, TypeError) as error:
        problem = f"{folder / INFO_FILE}: is not as WEND writes it ({error!r})"
    if not problem:
        logger.info("%s: %d images from the store %s", name, len(store), folder)
        return store
    logger.warning(
        "%s: read from its files, not from the store %s: %s. Run 'wend data import %s'",
        *(name, folder, problem, name),
    )
    return None
