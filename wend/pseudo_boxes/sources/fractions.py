"""C2AM's and PSOL's files: JSON objects of one box per image, ``[x, y, w, h]`` in fractions.

A file goes from bytes to columns, and no Python object of it outlives it.
"""

from __future__ import annotations

import logging
import os
import re
import unicodedata
from array import array
from collections.abc import Collection, Sequence
from itertools import chain, compress
from pathlib import Path

import msgspec
import numpy as np
from tqdm import tqdm

from wend.errors import InputError, MissingFileError, shown, some
from wend.files import parse_json, read_utf8
from wend.formats.coco_json import Number
from wend.pseudo_boxes.keys import Keys, checked_path
from wend.pseudo_boxes.registry import box_source
from wend.pseudo_boxes.report import EXAMPLES, Count
from wend.pseudo_boxes.source_boxes import PseudoBoxes
from wend.structures.records import image_key

logger = logging.getLogger(__name__)
TOLERANCE = 1e-5  # of the image: rounding of x + w by the writer, not a box outside
WHAT = 'an object {"<path>/<class>/<image>": [x, y, w, h]}'
FourNumbers = tuple[Number, Number, Number, Number]
_DECODER = msgspec.json.Decoder(dict[str, FourNumbers])
_DIGITS = re.compile(r"(\d+)")
ODD_PARTS = ("\\", "\0", ":", "\n.", "/.", "\n/", "/\n")  # in keys, a line each: to be looked at


class _Pairs(list):
    """A JSON object as its (key, value) pairs, so that a key that stands there twice is seen."""


def _natural(name: str) -> list:
    """Sort key: ``2_0_bbox.json`` before ``10_0_bbox.json``."""
    return [int(part) if part.isdecimal() else part for part in _DIGITS.split(name)]


def _read_pairs(file: str) -> tuple[list[str], Collection[Sequence[float]]]:
    """Keys and values ``x, y, w, h`` of a file, with repeated keys."""
    data = read_utf8(file, WHAT)
    try:
        boxes = _DECODER.decode(data)
        # msgspec keeps the last of equal keys without a word. Two quotes for each key left: no key
        # stood there twice.
        if data.count(b'"') == 2 * len(boxes):
            return list(boxes), boxes.values()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    pairs = parse_json(data, file, WHAT, object_pairs_hook=_Pairs)
    if not isinstance(pairs, _Pairs):
        raise InputError(f"{file}: expected {WHAT}, got another JSON value; is it such a file?")
    for path, value in pairs:
        try:
            msgspec.convert(value, FourNumbers)
        except (msgspec.ValidationError, UnicodeEncodeError):  # half a surrogate pair
            raise InputError(
                f"{file}: key {path!r}: expected four finite numbers [x, y, w, h], got "
                f"{shown(value)}"
            ) from None
    return [path for path, _ in pairs], [value for _, value in pairs]


def _corners(file: str, paths: Sequence[str], values: Collection[Sequence[float]]) -> np.ndarray:
    """Boxes (n, 4) as xyxy, cut at 0 and 1; refused where one leaves them by more than rounding."""
    flat = np.fromiter(chain.from_iterable(values), np.float64, 4 * len(paths))
    boxes = flat.reshape(-1, 4)
    inside = (boxes[:, 2:] >= 0).all(1)
    boxes[:, 2:] += boxes[:, :2]
    inside &= ((boxes >= -TOLERANCE) & (boxes <= 1 + TOLERANCE)).all(1)
    if not inside.all():
        first = int(np.argmin(inside))
        raise InputError(
            f"{file}: key {paths[first]!r}: box [x, y, w, h] = {list(list(values)[first])} leaves "
            f"0..1; these files hold fractions of the image's width and height. Are these pixels, "
            f"or another source's file?"
        )
    return boxes.clip(0, 1, out=boxes)


def _class_keys(file: str, paths: Sequence[str]) -> list[str]:
    """Keys ``<class folder>/<file name>`` of paths: at once where all are plain."""
    root = paths[0].rsplit("/", 2)[:-2] if paths else []  # of the machine that wrote the file
    prefix = "/".join([*root, ""])
    keys = [path.removeprefix(prefix) for path in paths]
    text = "\n".join(["", *keys, ""])
    counts = (text.count("\n") - 1, text.count("/"))
    if counts == (len(keys), len(keys)) and not any(part in text for part in ODD_PARTS):
        return keys if text.isascii() else [unicodedata.normalize("NFC", key) for key in keys]
    return [_class_key(file, path) for path in paths]


def _class_key(file: str, path: str) -> str:
    where = f"{file}: key {path!r}"
    key = image_key(checked_path(path, where))  # first: only its front may be a drive
    if "/" not in key or ".." in key.split("/"):
        raise InputError(f"{where}: expected a path .../<class>/<image>")
    return key


def _read_files(files: Sequence[str], source: str) -> PseudoBoxes:
    """Read the boxes of all files; 1.28 million take hardly more memory than the result."""
    import pyarrow as pa

    chars, rows = bytearray(), bytearray()
    empty: list[str] = []
    lengths, hashes = array("i"), array("q")
    for file in tqdm(files, desc="pseudo boxes", unit="file", leave=False, disable=None):
        paths, values = _read_pairs(file)
        keys, boxes = _class_keys(file, paths), _corners(file, paths, values)
        area = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
        if not area.all():
            empty += compress(keys, ~area)
            keys, boxes = list(compress(keys, area)), boxes[area]
        encoded = "".join(keys).encode()
        chars += encoded
        lengths.extend(map(len, keys if encoded.isascii() else map(str.encode, keys)))
        hashes.extend(map(hash, keys))
        rows += boxes.tobytes()
    ends = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=ends[1:])
    buffers = (pa.py_buffer(ends), pa.py_buffer(chars))
    return PseudoBoxes.from_entries(
        source,
        "fraction",
        Keys(pa.LargeStringArray.from_buffers(len(lengths), *buffers), np.array(hashes)),
        np.ones(len(lengths), dtype=np.int8),
        np.frombuffer(rows).reshape(-1, 4),
        counts={"zero_area": Count(len(empty), tuple(dict.fromkeys(empty[:EXAMPLES])))},
    )


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
    bbox = [name for name in names if name.endswith("_bbox.json")]
    others = [name for name in names if not name.endswith(("_bbox.json", "_trans.json"))]
    trans = len(names) - len(bbox) - len(others)
    if not bbox:
        raise MissingFileError(
            f"{folder}: holds no <class>_bbox.json"
            + (f", only {trans} <class>_trans.json, which are DDT's projections" if trans else "")
            + "; expected the folder that PSOL's generate_box_imagenet.py wrote"
        )
    if others:
        logger.warning("%s: %d other *.json not read (%s)", folder, len(others), some(others))
    logger.info("%s: %d *_bbox.json, %d *_trans.json not read", folder, len(bbox), trans)
    return _read_files([f"{folder}/{name}" for name in bbox], str(folder))
