"""The truth of ImageNet's images by file name without ending, from XML or the peers' lists."""

from __future__ import annotations

import logging
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from wend.errors import InputError, MissingFileError
from wend.files import read_lines
from wend.formats.kaggle import WNID, is_kaggle, read_kaggle
from wend.formats.voc import VocImage, class_name, find_voc, read_voc
from wend.formats.wsoleval import IDS, is_wsoleval, read_lists, read_names
from wend.images.paths import check_relative
from wend.images.threads import map_in_threads
from wend.numerals import decimal_number
from wend.structures.box_table import BoxTable
from wend.structures.checks import as_boxes

logger = logging.getLogger(__name__)
LINES = (
    "'<wnid>/<image> <class> <x0> <y0> <x1> <y1> ...' (TS-CAM), '<wnid>/<image> <width> <height> ; "
    "<x0> <y0> <x1> <y1> ...' (BAS) or '<path> <class> <wnid>' (C2AM)"
)


@dataclass(frozen=True, eq=False)
class Truth:
    """The truth that a source states for one image.

    Attributes:
        wnid, label: its class, as a WordNet id or as a 0-based number.
        size: (width, height) in pixels.
        boxes: (M, 4) xyxy in original pixels.
        where: file and line, for messages.
    """

    wnid: str | None = None
    label: int | None = None
    size: tuple[int, int] | None = None
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    where: str = ""


def stem_and_wnid(path: str) -> tuple[str, str | None]:
    """File name without ending, and the WordNet id of its folder; either slash separates."""
    parts = [part for part in re.split(r"[\\/]+", path) if part]
    folder = parts[-2] if len(parts) > 1 else ""
    return parts[-1].rsplit(".", 1)[0] if parts else "", (
        folder if WNID.fullmatch(folder) else None
    )


def _numbers(texts: list[str], where: str, whole: bool) -> list[float]:
    try:
        values = [decimal_number(text) for text in texts]
        if whole and not all(0 <= value < 2**31 and value == int(value) for value in values):
            raise ValueError
    except ValueError:
        raise InputError(
            f"{where}: expected numbers, got {' '.join(texts)!r}; see {LINES}"
        ) from None
    return values


def _parse_line(line: str, where: str) -> tuple[str, Truth]:
    head, semicolon, tail = line.partition(";")
    parts, boxes = head.split(), tail.split()
    stem, wnid = stem_and_wnid(parts[0]) if parts else ("", None)
    label = size = None
    if semicolon and len(parts) == 3:
        width, height = map(int, _numbers(parts[1:], where, whole=True))
        size = (width, height)
    elif not semicolon and len(parts) == 3 and WNID.fullmatch(parts[2]):
        if wnid not in (None, parts[2]):
            raise InputError(f"{where}: {parts[0]!r} is not of {parts[2]}")
        wnid, label = parts[2], int(_numbers(parts[1:2], where, whole=True)[0])
    elif not semicolon and len(parts) >= 2:
        label, boxes = int(_numbers(parts[1:2], where, whole=True)[0]), parts[2:]
    else:
        hint = ""
        if len(parts) == 1 and parts[0].isdecimal():
            hint = (
                ". Bare numbers, as in the devkit's ILSVRC2012_validation_ground_truth.txt, are of "
                "another order of the classes and name no image; use the XML files or one of these "
                "lists"
            )
        raise InputError(f"{where}: expected {LINES}, got {line!r}{hint}")
    if len(boxes) % 4:
        raise InputError(f"{where}: expected four numbers per box, got {len(boxes)}: {line!r}")
    if size is not None and min(size) < 1:
        raise InputError(f"{where}: expected a width and height from 1, got {size}")
    rows = np.array(_numbers(boxes, where, whole=False)).reshape(-1, 4)
    return stem, Truth(wnid, label, size, as_boxes(rows, where), where)


def _read_kaggle(path: Path) -> dict[str, Truth]:
    truths = {}
    for name, labels, boxes in read_kaggle(path):
        stem, wnid = stem_and_wnid(name)
        wnid = labels[0] if wnid is None and len(set(labels)) == 1 else wnid
        truths[stem] = Truth(wnid, None, None, boxes, f"{path}, image {name}")
    return truths


def read_list_file(path: str | Path) -> dict[str, Truth]:
    """TS-CAM's, BAS's or C2AM's list, one line per image.

    Raises:
        MissingFileError, InputError: a malformed line or an image twice; file and line are named.
    """
    truths: dict[str, Truth] = {}
    for number, line in enumerate(read_lines(path, f"lines {LINES}"), 1):
        if line.strip():
            stem, truth = _parse_line(line, f"{path}, line {number}")
            if stem in truths:
                raise InputError(f"{truth.where}: {stem} stands already in {truths[stem].where}")
            truths[stem] = truth
    if not truths:
        raise InputError(f"{path}: is empty; expected lines {LINES}")
    return truths


def _read_wsoleval(folder: Path) -> dict[str, Truth]:
    listed = read_names(folder)
    names = [check_relative(name, f"{folder / IDS}, image {name!r}") for name in listed]
    lists = read_lists(folder, listed)
    if lists.masks is not None:
        raise InputError(f"{folder}: holds masks, not boxes; is it OpenImages' folder?")
    count = len(names)
    sizes = [None] * count if lists.sizes is None else [(w, h) for w, h in lists.sizes.tolist()]
    labels = [None if label < 0 else label for label in lists.class_ids.tolist()]
    boxes = BoxTable.empty(count) if lists.boxes is None else lists.boxes
    truths: dict[str, Truth] = {}
    for name, label, size, own_boxes in zip(names, labels, sizes, boxes, strict=True):
        stem, wnid = stem_and_wnid(name)
        if stem in truths:
            raise InputError(f"{folder}: two listed images have the name {stem}")
        truths[stem] = Truth(wnid, label, size, own_boxes, f"{folder}, image {name}")
    return truths


def _of_voc(path: Path, voc: VocImage) -> Truth:
    folder = path.parent.name
    wnid = folder if WNID.fullmatch(folder) else class_name(voc)
    if wnid is not None and not WNID.fullmatch(wnid):
        wnid = None
    return Truth(wnid, None, voc.size, voc.boxes, str(path))


def _read_xml(folder: Path) -> dict[str, Truth]:
    files = find_voc(folder)
    images = list(map_in_threads(read_voc, list(files.values()), f"{folder.name}: XML files"))
    truths = {
        stem: _of_voc(path, voc) for (stem, path), voc in zip(files.items(), images, strict=True)
    }
    other = Counter(
        name != truth.wnid
        for truth, voc in zip(truths.values(), images, strict=True)
        for name in voc.names
    )
    logger.info(
        "%s: %d XML files, %d boxes (%d of them of another class than their image; all are kept)",
        folder,
        len(truths),
        other.total(),
        other[True],
    )
    return truths


def read_truth(source: str | Path) -> dict[str, Truth]:
    """Truth by file name without ending, from a folder of XML or lists, or a list file.

    Raises:
        MissingFileError, InputError: there is none of these, or it is malformed.
    """
    source = Path(source)
    if source.is_dir():
        return _read_wsoleval(source) if is_wsoleval(source) else _read_xml(source)
    if source.is_file():
        return _read_kaggle(source) if is_kaggle(source) else read_list_file(source)
    raise MissingFileError(
        f"{source}: there is no such file or folder; expected a folder of VOC's XML files or of "
        f"wsolevaluation's lists, Kaggle's LOC_*_solution.csv, or a file of lines {LINES}"
    )
