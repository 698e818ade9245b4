"""Writing a store (see :mod:`wend.datasets.store`): all of it or nothing, the old one stays till
then.

The data go to a new file; replacing ``store.json`` is the moment at which the new store counts.
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
from tqdm import tqdm

from wend import __version__
from wend.datasets.store import FORMAT, INFO_FILE, KINDS, tail
from wend.errors import InputError, some
from wend.files import atomic_write, write_json
from wend.structures.records import ImageRecord

LOCK_FILE = ".lock"
MAX_INT32 = np.iinfo(np.int32).max


def _root(names: Sequence[str], datasets_root: Path) -> tuple[str, dict[str, Any]]:
    """The longest ``.../`` that all names start with, and how ``store.json`` says it."""
    common = os.path.commonprefix([min(names), max(names)])  # noqa: RUF071  (up to a "/", below)
    head, slash, _ = common.rpartition("/")
    prefix, above = head + slash, os.path.join(str(datasets_root), "")
    below = prefix.startswith(above)
    return prefix, {"below_datasets_root": below, "path": prefix[len(above) * below :]}


def _check_unique(what: str, column: str, values: Sequence[Hashable]) -> None:
    if len(set(values)) != len(values):
        seen: set = set()
        twice = [value for value in values if value in seen or seen.add(value)]
        raise InputError(
            f"{what}: {len(twice)} images share their {column} with another ({some(twice)}); each "
            f"image of a data set must have its own"
        )


def _id_column(what: str, ids: list) -> tuple[str, list]:
    """The rule by which image ids are kept, and the values to keep."""
    plain = [int(one) if isinstance(one, np.integer) else one for one in ids]
    kinds = set(map(type, plain))
    if not kinds <= {int, str}:
        odd = next(one for one in plain if type(one) not in (int, str))
        raise InputError(f"{what}: image id {odd!r}: expected a whole number or a text")
    if kinds == {int} and -(2**63) <= min(plain) and max(plain) < 2**63:
        return "int", plain
    return ("str", plain) if kinds == {str} else ("json", [json.dumps(one) for one in plain])


def _integers(what: str, column: str, values: list, low: int) -> pa.Array:
    array = np.asarray(values)
    if array.dtype.kind not in "iu" or array.min() < low or array.max() >= 2**63:
        raise InputError(f"{what}: {column}: expected whole numbers from {low} in all records")
    return pa.array(array.astype(np.int32 if array.max() <= MAX_INT32 else np.int64))


def _texts(what: str, values: list[str]) -> pa.Array:
    small = 4 * sum(map(len, values)) <= MAX_INT32  # UTF-8: at most four bytes a character
    try:
        return pa.array(values, pa.string() if small else pa.large_string())
    except UnicodeEncodeError as error:
        raise InputError(f"{what}: {error.object!r}: is not Unicode; rename the file") from error


def _boxes(each: Sequence[np.ndarray]) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum([len(boxes) for boxes in each])])
    values = pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(each).reshape(-1)), 4)
    if offsets[-1] <= MAX_INT32:
        return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values)
    return pa.LargeListArray.from_arrays(pa.array(offsets.astype(np.int64)), values)


def _name_columns(
    what: str, names: list[str], keys: list[str], ids: list, prefix: str
) -> tuple[dict[str, pa.Array], dict[str, str]]:
    """File names; keys and ids only where they do not follow from the names; and the rules."""
    below = [name[len(prefix) :] for name in names]
    columns, rules = {"file_name": _texts(what, below)}, {}
    if [tail(name) for name in names] == keys:
        rules["key"] = "tail"
    elif below == keys:
        rules["key"] = "file_name"
    else:
        rules["key"], columns["key"] = "column", _texts(what, keys)
    if ids == keys:
        rules["image_id"] = "key"
    elif ids == below:
        rules["image_id"] = "file_name"
    else:
        rules["image_id"], kept = _id_column(what, ids)
        is_int = rules["image_id"] == "int"
        columns["image_id"] = pa.array(kept, pa.int64()) if is_int else _texts(what, kept)
    return columns, rules


def _to_arrow(
    what: str, records: Sequence[ImageRecord], datasets_root: Path
) -> tuple[pa.RecordBatch, dict[str, Any]]:
    """All records as one Arrow batch, and what ``store.json`` says of it."""
    rows = [
        (r.file_name, r.key, r.image_id, r.width, r.height, r.class_id, r.gt_boxes, r.pseudo_boxes)
        for r in tqdm(records, desc=f"{what}: records", unit="image", leave=False, disable=None)
    ]
    if not rows:
        raise InputError(f"{what}: has no image; there is nothing to import")
    names, keys, ids, widths, heights, classes, *boxes = map(list, zip(*rows, strict=True))
    del rows
    if (lowest := min((c for c in classes if c is not None), default=0)) < 0:
        raise InputError(f"{what}: class_id: expected numbers from 0, got {lowest}")
    _check_unique(what, "key", keys)
    _check_unique(what, "image id", ids)
    prefix, root = _root(names, datasets_root)
    columns, rules = _name_columns(what, names, keys, ids, prefix)
    columns["width"] = _integers(what, "width", widths, 1)
    columns["height"] = _integers(what, "height", heights, 1)
    classes = [-1 if c is None else c for c in classes]
    columns["class_id"] = _integers(what, "class_id", classes, -1)
    counts = {"images": len(names)}
    for kind, each in zip(KINDS, boxes, strict=True):
        columns[kind] = _boxes(each)
        counts[kind] = sum(map(len, each))
        counts[f"images_with_{kind}"] = sum(1 for one in each if len(one))
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    return batch, {"root": root, "rules": rules, "counts": counts}


def _layout(path: Path) -> dict[str, tuple[str, int, int]]:
    """Column (``<name>`` for values, ``<name>.offsets``) -> memoryview's type, first byte, length.

    Asked of Arrow itself, which maps the file without a copy.
    """
    found = {}
    with pa.memory_map(str(path)) as file:
        base = file.read_buffer().address
        batch = pa.ipc.open_file(file).get_batch(0)

        def add(name: str, kind: str, buffer: pa.Buffer | None, length: int) -> None:
            found[name] = (kind, buffer.address - base if length else 0, length)

        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            buffers, number = column.buffers(), len(column)
            if pa.types.is_integer(column.type):
                add(name, "iq"[column.type.bit_width // 64], buffers[1], number)
                continue
            large = pa.types.is_large_list(column.type) or pa.types.is_large_string(column.type)
            add(f"{name}.offsets", "iq"[large], buffers[1], number + 1)
            end = memoryview(buffers[1]).cast("iq"[large])[number]
            if name in KINDS:
                add(name, "d", buffers[-1], 4 * end)
            else:
                add(name, "B", buffers[-1], end)
    return found


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
    records: Sequence[ImageRecord],
    datasets_root: str | Path,
    *,
    name: str = "",
    sources: Sequence[dict[str, Any]] = (),
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write records as a store; until all is written an older store there stays as it is.

    Args:
        folder: new, or a store.
        datasets_root: folder of the data sets; below it images are found again if it moves.
        name: the data set's, for messages.
        sources: fingerprints of what the records were read from, taken before.
        more: further entries of ``store.json``.

    Returns:
        What ``store.json`` holds.

    Raises:
        InputError: no records, two with the same id or key, another import at work.
        OSError: the disk is full or not writable.
    """
    folder = Path(folder)
    batch, about = _to_arrow(name or folder.name, records, Path(datasets_root))
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
