"""C2AM's and PSOL's files: JSON objects of one box an image, ``[x, y, w, h]`` in fractions.

A plain file goes from bytes to columns without a Python object that outlives its file; anything
unusual in a file (a key twice, escapes, a bad value) is left to the exact reader, which is slower
and names what is wrong.
"""

from __future__ import annotations

import logging
import os
import re
import unicodedata
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import orjson
from tqdm import tqdm

from wend.errors import InputError, MissingFileError, shown, some
from wend.files import is_number, read_json
from wend.pseudo_boxes.collect import Collected, Columns
from wend.pseudo_boxes.columns import PseudoBoxes, path_key
from wend.pseudo_boxes.registry import box_source
from wend.structures.records import image_key

logger = logging.getLogger(__name__)
TOLERANCE = 1e-5  # of the image: rounding of x + w by the writer, not a box outside
WHAT = 'an object {"<path>/<class>/<image>": [x, y, w, h]}'
_DIGITS = re.compile(r"(\d+)")
THREADS = 2  # parsing holds the interpreter's lock, opening files and NumPy do not
BATCH = 32  # files read at a time


class _Pairs(list):
    """A JSON object as its (key, value) pairs, so that a key that stands there twice is seen."""


def _natural(name: str) -> list:
    """Sort key: ``2_0_bbox.json`` before ``10_0_bbox.json``."""
    return [int(part) if part.isdecimal() else part for part in _DIGITS.split(name)]


def _read_bytes(file: str) -> bytes:
    """The file's bytes, in half the system calls of ``Path.read_bytes``."""
    handle = os.open(file, os.O_RDONLY)
    try:
        return os.read(handle, os.fstat(handle).st_size)
    finally:
        os.close(handle)


def _numbers(values: Collection[list]) -> np.ndarray | None:
    """Boxes (n, 4) if each value is four numbers (or null, which becomes NaN), else None."""
    if {*map(len, values)} - {4}:
        return None
    flat = np.fromiter(chain.from_iterable(values), np.float64, 4 * len(values))
    likely = ((flat == 0) | (flat == 1)).nonzero()[0].tolist()  # true and false look like these
    if likely:
        values = list(values)
        if any(type(values[i >> 2][i & 3]) is bool for i in likely):
            return None
    return flat.reshape(-1, 4)


def _read_plain(files: Sequence[str]) -> Columns | None:
    """Columns of files in which nothing is unusual; None for any others."""
    paths, parts = [], [np.zeros((0, 4))]
    try:
        for file in files:
            data = _read_bytes(file)
            pairs = orjson.loads(data)
            # orjson keeps the last of equal keys without a word. Two quotes for each key left: no
            # key stood there twice, none holds an escaped quote, no value is or holds text.
            if type(pairs) is not dict or data.count(b'"') != 2 * len(pairs):
                return None
            numbers = _numbers(pairs.values())
            if numbers is None:
                return None
            first = next(iter(pairs), "")
            root = first[: first.rfind("/", 0, max(first.rfind("/"), 0)) + 1]
            paths += map(str.removeprefix, pairs, repeat(root))
            parts.append(numbers)
    except (OSError, TypeError, ValueError, OverflowError):  # ValueError: also orjson's
        return None
    boxes, keys = _corners(np.concatenate(parts)), _split_keys(paths)
    return None if keys is None or boxes is None else Columns(*keys, boxes)


def _split_keys(paths: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Chars, lengths and hashes of :class:`Columns` if each path is ``<part>/<part>``."""
    text = "".join(paths)
    if "\\" in text or "\0" in text:
        return None
    if text.isascii():
        lengths = np.fromiter(map(len, paths), np.int32, len(paths))
    else:
        paths = [unicodedata.normalize("NFC", path) for path in paths]
        text = "".join(paths)
        lengths = np.array([len(path.encode()) for path in paths], dtype=np.int32)
    data = np.frombuffer(text.encode(), dtype=np.uint8)
    slashes = (data == ord("/")).nonzero()[0]
    ends = lengths.cumsum()
    starts = ends - lengths
    if len(slashes) != len(paths) or (slashes <= starts).any() or (slashes >= ends - 1).any():
        return None
    if (data[starts] == ord(".")).any() or (data[slashes + 1] == ord(".")).any():
        return None  # perhaps a part "." or ".."
    return data, lengths, np.fromiter(map(hash, paths), np.int64, len(paths))


def _corners(xywh: np.ndarray) -> np.ndarray | None:
    """Boxes (n, 4) as xyxy, in place; None if one leaves 0..1 by more than rounding, or is NaN."""
    least = xywh.min(initial=0)
    if not (least >= 0 or (least >= -TOLERANCE and xywh[:, 2:].min() >= 0)):
        return None
    xywh[:, 2:] += xywh[:, :2]
    most = xywh.max(initial=0)
    if not most <= 1 + TOLERANCE:
        return None
    return xywh.clip(0, 1, out=xywh) if least < 0 or most > 1 else xywh


def _read_exact(file: str) -> Columns:
    """A file's columns, repetitions and all; InputError that names file and key."""
    pairs = read_json(file, WHAT, object_pairs_hook=_Pairs)
    if not isinstance(pairs, _Pairs):
        raise InputError(f"{file}: expected {WHAT}, got another JSON value; is it such a file?")
    boxes = np.zeros((len(pairs), 4))
    for i, (path, value) in enumerate(pairs):
        where = f"{file}: key {path!r}"
        if not (isinstance(value, list) and len(value) == 4 and all(map(is_number, value))):
            raise InputError(
                f"{where}: expected four finite numbers [x, y, w, h], got {shown(value)}"
            )
        boxes[i] = value
        if _corners(boxes[i : i + 1]) is None:
            raise InputError(
                f"{where}: box [x, y, w, h] = {value} leaves 0..1; these files hold fractions of "
                f"the image's width and height. Are these pixels, or another source's file?"
            )
    names = [_class_key(file, path) for path, _ in pairs]
    keys = [name.encode() for name in names]
    lengths = np.array([len(key) for key in keys], dtype=np.int64)
    hashes = np.fromiter(map(hash, names), np.int64, len(names))
    return Columns(np.frombuffer(b"".join(keys), dtype=np.uint8), lengths, hashes, boxes)


def _class_key(file: str, path: str) -> str:
    key = image_key(path)
    if "/" not in key or ".." in key.split("/"):
        raise InputError(f"{file}: key {path!r}: expected a path .../<class>/<image>")
    return path_key(key, f"{file}: key {path!r}")


def _read_files(files: Sequence[str], source: str) -> PseudoBoxes:
    found = Collected()
    batches = [files[start : start + BATCH] for start in range(0, len(files), BATCH)]
    progress = tqdm(total=len(files), desc="pseudo boxes", unit="file", leave=False, disable=None)
    with progress, ThreadPoolExecutor(THREADS) as pool:
        read = zip(batches, pool.map(_read_plain, batches), strict=True)
        for number, (batch, columns) in enumerate(read, 1):
            for one in [columns] if columns is not None else map(_read_exact, batch):
                found.add(one, len(batches) / number)
            progress.update(len(batch))
    return found.finish(source)


def _json_files(folder: Path, whose: str, pattern: str) -> list[str]:
    """Names of the folder's ``*.json``, by the numbers in them."""
    if not folder.is_dir():
        raise MissingFileError(
            f"{folder}: there is no such folder; expected {whose} ({pattern}) there"
        )
    return sorted((name for name in os.listdir(folder) if name.endswith(".json")), key=_natural)


@box_source("c2am")
def read_c2am(path: str | Path) -> PseudoBoxes:
    """Read C2AM's ``pseudo_boxes`` folder: many ``<i>_<rank>_bbox.json``.

    Frame: fractions of the whole image. Each file is one object: key = the image's path on the
    machine that wrote it, value = ``[x, y, w, h]`` (C2AM e6a46c9, WSOL/utils.py:202-222). Nothing
    found is ``[1/30, 1/30, 0, 0]``, without area. Keys become ``<class folder>/<file name>``.

    Raises:
        MissingFileError: no folder, or no such file in it.
        InputError: a file is no whole JSON object, or a value is no box within 0..1.
    """
    folder = Path(path)
    names = _json_files(folder, "C2AM's pseudo boxes", "*_bbox.json")
    if not names:
        raise MissingFileError(f"{folder}: holds no *.json; expected C2AM's *_bbox.json files")
    return _read_files([f"{folder}/{name}" for name in names], str(folder))


@box_source("psol")
def read_psol(path: str | Path) -> PseudoBoxes:
    """Read PSOL's DDT boxes: a folder with ``<class>_bbox.json`` for each class.

    Frame: fractions of the whole image (PSOL, generate_box_imagenet.py:117-145). Values and keys
    are as C2AM's; with a relative data folder a key is ``<class>/<path>``, which PSOL's own loader
    does not find and this one does. Nothing found is ``[0, 0, 1, 1]``, the whole image.
    ``<class>_trans.json`` are DDT's projections, not boxes: they are left unread.

    Raises:
        MissingFileError: no folder, or no ``*_bbox.json`` in it.
        InputError: as :func:`read_c2am`.
    """
    folder = Path(path)
    names = _json_files(folder, "PSOL's DDT boxes", "<class>_bbox.json")
    found = [name for name in names if name.endswith("_bbox.json")]
    others = [name for name in names if not name.endswith(("_bbox.json", "_trans.json"))]
    trans = len(names) - len(found) - len(others)
    if not found:
        raise MissingFileError(
            f"{folder}: holds no <class>_bbox.json"
            + (f", only {trans} <class>_trans.json, which are DDT's projections" if trans else "")
            + "; expected the folder that PSOL's generate_box_imagenet.py wrote"
        )
    if others:
        logger.warning("%s: %d other *.json not read (%s)", folder, len(others), some(others))
    logger.info("%s: %d *_bbox.json, %d *_trans.json not read", folder, len(found), trans)
    return _read_files([f"{folder}/{name}" for name in found], str(folder))
