"""Writing a store (see :mod:`wend.datasets.store`), as a whole or not at all.

The old store stays until the new one is whole. The data go to a new file; replacing ``store.json``
is the moment at which the new store counts.
"""

from __future__ import annotations

import fcntl
import json
import os
import uuid
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from wend import __version__
from wend.datasets.store import FORMAT, INFO_FILE, KINDS, SCORED, SCORES_OF, tail
from wend.errors import InputError, some
from wend.files import atomic_write, write_json
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.structures.masks import MaskFiles

LOCK_FILE = ".lock"
MAX_INT32 = np.iinfo(np.int32).max


def _root(names: Sequence[str], datasets_root: Path) -> tuple[str, dict[str, Any]]:
    """The longest ``.../`` that all names start with, and how ``store.json`` says it."""
    common = os.path.commonprefix([min(names), max(names)])  # noqa: RUF071  (up to a "/", below)
    head, slash, _ = common.rpartition("/")
    prefix, above = head + slash, os.path.join(str(datasets_root), "")
    below = prefix.startswith(above)
    return prefix, {"below_datasets_root": below, "path": prefix[len(above) * below :]}


def _check_unique(name: str, column: str, values: Sequence[Hashable]) -> None:
    if len(set(values)) != len(values):
        seen: set = set()
        twice: list = []
        for value in values:
            (twice.append if value in seen else seen.add)(value)
        raise InputError(
            f"{name}: {len(twice)} images share their {column} with another ({some(twice)}); each "
            f"image of a data set must have its own"
        )


def _id_column(name: str, ids: list) -> tuple[str, list]:
    """The rule by which image ids are kept, and the values to keep."""
    plain = [int(value) if isinstance(value, np.integer) else value for value in ids]
    kinds = set(map(type, plain))
    if not kinds <= {int, str}:
        odd = next(value for value in plain if type(value) not in (int, str))
        raise InputError(f"{name}: image id {odd!r}: expected a whole number or a text")
    if kinds == {int} and -(2**63) <= min(plain) and max(plain) < 2**63:
        return "int", plain
    return ("str", plain) if kinds == {str} else ("json", [json.dumps(value) for value in plain])


def _integers(values: np.ndarray) -> pa.Array:
    small = values.max(initial=0) <= MAX_INT32
    return pa.array(np.asarray(values, dtype=np.int32 if small else np.int64))


def _texts(name: str, values: list[str]) -> pa.Array:
    small = 4 * sum(map(len, values)) <= MAX_INT32  # UTF-8: at most four bytes a character
    try:
        return pa.array(values, pa.string() if small else pa.large_string())
    except UnicodeEncodeError as error:
        raise InputError(f"{name}: {error.object!r}: is not Unicode; rename the file") from error


def _per_image(table: BoxTable, values: pa.Array) -> pa.Array:
    """A value of each box as a list of each image's."""
    if table.offsets[-1] <= MAX_INT32:
        return pa.ListArray.from_arrays(pa.array(table.offsets.astype(np.int32)), values)
    return pa.LargeListArray.from_arrays(pa.array(table.offsets.astype(np.int64)), values)


def _boxes(table: BoxTable) -> pa.Array:
    values = pa.FixedSizeListArray.from_arrays(pa.array(table.boxes.reshape(-1)), 4)
    return _per_image(table, values)


def _mask_column(
    name: str, masks: Sequence[MaskFiles], datasets_root: Path
) -> tuple[pa.Array, dict[str, Any]]:
    """Each image's mask files as JSON, without the prefix that ``store.json`` has."""
    files = [file for each in masks for file in (*each.objects, each.ignored) if file is not None]
    prefix, root = _root(files, datasets_root) if files else ("", _root([""], datasets_root)[1])
    start = len(prefix)
    texts = [
        json.dumps([[f[start:] for f in each.objects], each.ignored and each.ignored[start:]])
        for each in masks
    ]
    return _texts(name, texts), root


def _name_columns(
    name: str, names: list[str], keys: list[str], ids: list, prefix: str
) -> tuple[dict[str, pa.Array], dict[str, str]]:
    """File names; keys and ids only where they do not follow from the names; and the rules."""
    below = [name[len(prefix) :] for name in names]
    columns, rules = {"file_name": _texts(name, below)}, {}
    if [tail(name) for name in names] == keys:
        rules["key"] = "tail"
    elif below == keys:
        rules["key"] = "file_name"
    else:
        rules["key"], columns["key"] = "column", _texts(name, keys)
    if ids == keys:
        rules["image_id"] = "key"
    elif ids == below:
        rules["image_id"] = "file_name"
    else:
        rules["image_id"], kept = _id_column(name, ids)
        is_int = rules["image_id"] == "int"
        columns["image_id"] = pa.array(kept, pa.int64()) if is_int else _texts(name, kept)
    return columns, rules


def _to_arrow(
    name: str, data_set: DataSet, datasets_root: Path
) -> tuple[pa.RecordBatch, dict[str, Any]]:
    """The data set as one Arrow batch, and what ``store.json`` says of it."""
    if not len(data_set):
        raise InputError(f"{name}: has no image; there is nothing to import")
    data_set.require_readable()
    names, keys = list(data_set.file_names), list(data_set.keys)
    ids = list(data_set.image_ids)
    _check_unique(name, "key", keys)
    _check_unique(name, "image id", ids)
    prefix, root = _root(names, datasets_root)
    columns, rules = _name_columns(name, names, keys, ids, prefix)
    columns["width"] = _integers(data_set.sizes[:, 0])
    columns["height"] = _integers(data_set.sizes[:, 1])
    columns["class_id"] = _integers(data_set.class_ids)
    counts = {"images": len(names)}
    for kind, table in zip(KINDS, (data_set.truth, data_set.pseudo_boxes), strict=True):
        columns[kind] = _boxes(table)
        if table.scores is not None:
            columns[SCORES_OF[kind]] = _per_image(table, pa.array(table.scores))
        counts[kind] = len(table.boxes)
        counts[f"images_with_{kind}"] = len(table.with_boxes)
    if data_set.masks is not None:
        columns["masks"], root["masks"] = _mask_column(name, data_set.masks, datasets_root)
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    about = {"root": root, "rules": rules, "counts": counts, "exif": data_set.exif, SCORED: True}
    return batch, {**about, "left_out": dict(data_set.left_out)}


def _layout(path: Path) -> dict[str, tuple[str, int, int]]:
    """Column (``<name>`` for values, ``<name>.offsets``) -> memoryview's type, first byte, length.

    Asked of Arrow itself, which maps the file without a copy.
    """
    layout = {}
    with pa.memory_map(str(path)) as file:
        base = file.read_buffer().address
        batch = pa.ipc.open_file(file).get_batch(0)

        def add(name: str, kind: str, buffer: pa.Buffer | None, length: int) -> None:
            start = buffer.address - base if buffer is not None and length else 0
            layout[name] = (kind, start, length)

        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            buffers, number = column.buffers(), len(column)
            if pa.types.is_integer(column.type):
                add(name, "iq"[column.type.bit_width // 64], buffers[1], number)
                continue
            large = pa.types.is_large_list(column.type) or pa.types.is_large_string(column.type)
            add(f"{name}.offsets", "iq"[large], buffers[1], number + 1)
            offsets = memoryview(buffers[1])
            end = (offsets.cast("q") if large else offsets.cast("i"))[number]
            if name in KINDS:
                add(name, "d", buffers[-1], 4 * end)
            elif name in SCORES_OF.values():
                add(name, "d", buffers[-1], end)
            else:
                add(name, "B", buffers[-1], end)
    return layout


@contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK_FILE, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{folder}: another import is writing it; wait for its end") from None
        yield


def write_store(
    folder: str | Path,
    data_set: DataSet,
    datasets_root: str | Path,
    *,
    name: str = "",
    sources: Sequence[dict[str, Any]] = (),
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write a data set as a store; until all is written an older store there stays as it is.

    Args:
        folder: new, or a store.
        datasets_root: folder of the data sets; below it images are found again if it moves.
        name: the data set's, for messages.
        sources: fingerprints of what the data set was read from, taken before.
        more: further entries of ``store.json``.

    Returns:
        What ``store.json`` holds.

    Raises:
        InputError: no image, two with the same id or key, one whose header cannot be read, another
            import at work.
        OSError: the disk is full or not writable.
    """
    folder = Path(folder)
    batch, about = _to_arrow(name or folder.name, data_set, Path(datasets_root))
    with _only_writer(folder):
        path = folder / f"records-{uuid.uuid4().hex[:12]}.arrow"
        try:
            with atomic_write(path, "wb") as file:
                with pa.ipc.new_file(file, batch.schema) as writer:
                    writer.write_batch(batch)
                file.flush()
                os.fsync(file.fileno())
            info = {
                "format": FORMAT,
                "wend": __version__,
                "name": name,
                "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "data": path.name,
                "bytes": path.stat().st_size,
                **about,
                **(more or {}),
                "sources": list(sources),
                "columns": _layout(path),
            }
            write_json(folder / INFO_FILE, info, indent=1)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        for old in [*folder.glob("records-*.arrow"), *folder.glob(".records-*")]:
            if old != path:  # also what a killed import left; who has it open keeps it
                old.unlink(missing_ok=True)
    return info
