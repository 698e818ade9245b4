"""Ground truth in PASCAL VOC's XML, one file per image, as ImageNet's bounding boxes come.

``<annotation>`` with ``<size><width/><height/></size>`` and for each object ``<object><name/>
<bndbox><xmin/><ymin/><xmax/><ymax/></bndbox></object>``. Coordinates are taken as they stand:
wsolevaluation and BAS do so, PSOL and C2AM subtract 1 from all four (utils/IoU.py:12-15).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from wend.errors import InputError, MissingFileError, shown
from wend.images.paths import require_folder
from wend.numerals import decimal_number
from wend.structures.checks import as_boxes

CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True, eq=False)
class VocImage:
    """One XML file.

    Attributes:
        size: (width, height) in pixels, or None where the file gives none or zeros.
        names: the objects' class names (M).
        boxes: (M, 4) xyxy in original pixels, as they stand.
    """

    size: tuple[int, int] | None
    names: tuple[str, ...]
    boxes: np.ndarray


def _parse(path: Path) -> ElementTree.Element:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: there is no such file; expected VOC's XML") from error
    if b"<!ENTITY" in data or b"<\0!\0E\0N" in data or b"\0<\0!\0E\0N" in data:
        raise InputError(f"{path}: declares XML entities, which no VOC file does; it is not read")
    try:
        root = ElementTree.fromstring(data)  # noqa: S314  # entities are refused above
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InputError(f"{path}: not a whole XML file ({error}); expected VOC's XML") from error
    if root.tag != "annotation":
        raise InputError(f"{path}: expected an <annotation> of VOC's XML, got <{root.tag}>")
    return root


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
    root = _parse(path)
    names, boxes = [], []
    for number, element in enumerate(root.findall("object"), 1):
        box = _only(path, element, "bndbox")
        if box is None:
            raise InputError(f"{path}: object {number} has no <bndbox>")
        names.append((element.findtext("name") or "").strip())
        boxes.append([_number(path, box, tag) for tag in CORNERS])
    return VocImage(_size(path, root), tuple(names), as_boxes(boxes, str(path)))


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
