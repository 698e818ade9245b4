"""Ground truth in PASCAL VOC's XML, one file per image, as ImageNet's bounding boxes come.

``<annotation>`` with ``<size><width/><height/></size>`` and for each object ``<object><name/>
<bndbox><xmin/><ymin/><xmax/><ymax/></bndbox></object>``. Coordinates are taken as they stand:
wsolevaluation and BAS do so, PSOL and C2AM subtract 1 from all four (utils/IoU.py:12-15). VOC's own
are pixels counted from 1 with the last one included, which reach from xmin - 1 to xmax here.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from wend.errors import InputError, MissingFileError, shown
from wend.formats.xml_files import read_xml
from wend.images.paths import find_files, require_folder
from wend.images.threads import map_in_threads
from wend.numerals import decimal_number
from wend.structures.box_table import BoxTable
from wend.structures.checks import as_boxes
from wend.structures.data_set import DataSet
from wend.structures.records import image_key

logger = logging.getLogger(__name__)
CORNERS = ("xmin", "ymin", "xmax", "ymax")
MARKS = ("difficult", "truncated")


@dataclass(frozen=True, eq=False)
class VocImage:
    """One XML file.

    Attributes:
        size: (width, height) in pixels, or None where the file gives none or zeros.
        names: the objects' class names (M).
        boxes: (M, 4) xyxy in original pixels, as they stand.
        marked: how many of them are marked ``difficult``, and how many ``truncated``.
    """

    size: tuple[int, int] | None
    names: tuple[str, ...]
    boxes: np.ndarray
    marked: tuple[int, int] = (0, 0)


def _only(path: Path, element: ElementTree.Element, tag: str) -> ElementTree.Element | None:
    elements = element.findall(tag)
    if len(elements) > 1:
        raise InputError(f"{path}: <{element.tag}>: expected one <{tag}>, got {len(elements)}")
    return elements[0] if elements else None


def _number(path: Path, element: ElementTree.Element, tag: str) -> float:
    child = _only(path, element, tag)
    text = (child.text or "").strip() if child is not None else ""
    try:
        return decimal_number(text)
    except ValueError:
        raise InputError(
            f"{path}: <{element.tag}>: expected a number as <{tag}>, got {shown(text)}"
        ) from None


def _size(path: Path, root: ElementTree.Element) -> tuple[int, int] | None:
    element = _only(path, root, "size")
    if element is None:
        return None
    size = [_number(path, element, tag) for tag in ("width", "height")]
    if not all(0 <= value < 2**31 and value == int(value) for value in size):
        raise InputError(f"{path}: <size>: expected width and height as whole numbers, got {size}")
    return (int(size[0]), int(size[1])) if min(size) > 0 else None


def read_voc(path: str | Path) -> VocImage:
    """Read one file.

    Raises:
        MissingFileError, InputError: not VOC's XML, or a box that is none; the message names it.
    """
    path = Path(path)
    root = read_xml(path, "VOC's", "annotation")
    names, boxes, marked = [], [], [0, 0]
    for number, element in enumerate(root.findall("object"), 1):
        box = _only(path, element, "bndbox")
        if box is None:
            raise InputError(f"{path}: object {number} has no <bndbox>")
        names.append((element.findtext("name") or "").strip())
        boxes.append([_number(path, box, tag) for tag in CORNERS])
        for mark, tag in enumerate(MARKS):
            marked[mark] += (element.findtext(tag) or "").strip() == "1"
    difficult, truncated = marked
    table = as_boxes(boxes, str(path))
    return VocImage(_size(path, root), tuple(names), table, (difficult, truncated))


def load_voc(folder: str | Path) -> DataSet:
    """The truth of a folder's XML files alone, without the images.

    All objects are true boxes, those marked ``difficult`` and ``truncated`` too. An image's class
    is the index of its objects' name among the sorted names of all, if they have only one.

    Returns:
        Images in the order of the paths of their XML files; ``image_id`` and ``file_name`` are the
        path below the folder without ``.xml``; the size is 0, 0 where the XML states none.

    Raises:
        MissingFileError, InputError: no folder, no XML in it, or a file that is not VOC's.
    """
    root = require_folder(folder, "VOC's XML files")
    paths = find_files(root, ".xml")
    if not paths:
        raise MissingFileError(f"{root}: holds no *.xml; expected VOC's XML files there")
    task = f"{root.name}: XML files"
    images = list(map_in_threads(read_voc, [root / path for path in paths], task))
    names = [path[: -len(".xml")] for path in paths]
    known = sorted({name for image in images for name in image.names})
    number_of: dict[str | None, int] = {name: number for number, name in enumerate(known)}
    logger.info(
        "%s: %d XML files, %d objects of %d classes (%d difficult, %d truncated; all are kept)",
        *(root, len(paths), sum(len(image.names) for image in images), len(known)),
        *(sum(image.marked[mark] for image in images) for mark in range(len(MARKS))),
    )
    return DataSet(
        name=root.name,
        image_ids=names,
        file_names=names,
        keys=[image_key(name) for name in names],
        sizes=np.array([image.size or (0, 0) for image in images], dtype=np.int64),
        class_ids=np.array([number_of.get(class_name(image), -1) for image in images]),
        truth=BoxTable.from_arrays([image.boxes for image in images]),
        pseudo_boxes=BoxTable.empty(len(images)),
    )


def find_voc(folder: str | Path) -> dict[str, Path]:
    """The XML files in and below a folder (flat, or in a folder per class), by name without ending.

    Raises:
        MissingFileError, InputError: no folder, no XML in it, or one name twice.
    """
    folder = require_folder(folder, "VOC's XML files, flat or in a folder for each class")
    paths: dict[str, Path] = {}
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        for name in sorted(files):
            if name.lower().endswith(".xml"):
                path, stem = Path(parent, name), name[:-4]
                if stem in paths:
                    raise InputError(
                        f"{path}: there is also {paths[stem]}; expected one XML file per image"
                    )
                paths[stem] = path
    if not paths:
        raise MissingFileError(f"{folder}: holds no *.xml; expected VOC's XML files there")
    return paths


def class_name(voc: VocImage, known: Sequence[str] | None = None) -> str | None:
    """The one class name of a file's objects; None if there is none, or several."""
    names = {name for name in voc.names if known is None or name in known}
    return names.pop() if len(names) == 1 else None
