"""CVAT's own XML, "CVAT for images 1.1"."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

from wend.errors import InputError, MissingFileError, shown, some
from wend.files import is_number
from wend.formats.mask_boxes import Box
from wend.formats.xml_files import read_xml
from wend.numerals import decimal_number
from wend.pseudo_boxes.registry import box_source
from wend.pseudo_boxes.source_boxes import PseudoBoxes
from wend.pseudo_boxes.sources.labelled import LabelledBoxes, stated_size

FILE = "annotations.xml"
SIDES = [
    f"{side}{corner}{face}" for face in "12" for corner in ("tl", "bl", "tr", "br") for side in "xy"
]
NO_REGION = ("points", "polyline", "skeleton")  # of which no box is an object's
PASSED_OVER = ("tag", "attribute")  # what an image as a whole has


@box_source("cvat")
def read_cvat(path: str | Path, label: str | int | None = None) -> PseudoBoxes:
    """Read ``annotations.xml`` of CVAT's export "CVAT for images 1.1".

    Frame: pixels of ``width`` and ``height`` of the image as shown, turned by its EXIF orientation;
    they become fractions by them. ``rotation`` is in degrees clockwise about the shape's centre;
    boxes are those of turned rectangles, ellipses, polygons, cuboids (both faces) and masks, whose
    ``left, top, width, height`` are of whole pixels (cvat a01a8a8,
    cvat/apps/dataset_manager/formats/cvat.py, ``dump_as_cvat_annotation``). Points, lines and
    skeletons are no regions: they are counted with the boxes of zero area. CVAT has no scores; an
    attribute ``score`` of a shape, as ``wend boxes export`` writes it, is one.

    Args:
        path: the file, or the folder that holds it, unpacked.
        label: the label to take, or "all"; by default there may be only one.

    Raises:
        MissingFileError, InputError: no such file, "CVAT for video", whose tracks name no images,
            or a shape is malformed; the message names image and shape.
    """
    path = Path(path)
    file = path / FILE if path.is_dir() else path
    if path.is_dir() and not file.is_file():
        raise MissingFileError(f"{path}: holds no {FILE}; expected CVAT's export, unpacked")
    root = read_xml(file, "CVAT's", "annotations")
    if root.find("track") is not None:
        raise InputError(
            f'{file}: is "CVAT for video 1.1", whose tracks name no images; export "CVAT for '
            f'images 1.1"'
        )
    collected = LabelledBoxes(path, label, "score")
    for image in root.iterfind("image"):
        where = f"{file}, image {shown(image.get('name'))}"
        sides = [
            None if image.get(n) is None else _number(where, image, n) for n in ("width", "height")
        ]
        collected.begin(where, image.get("name"), stated_size(where, *sides))
        shapes = [shape for shape in image if shape.tag not in PASSED_OVER]
        for number, shape in enumerate(shapes):
            here = f"{where}, shape {number}"
            collected.add(here, shape.get("label"), _box(here, shape), _score(here, shape))
    return collected.finish("pixel")


def _number(where: str, element: Element, name: str) -> float:
    return _as_number(f"{where}: <{element.tag}>: {name}", element.get(name, ""))


def _as_number(where: str, text: str) -> float:
    try:
        number = decimal_number(text.strip())
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error
    if not is_number(number):
        raise InputError(f"{where}: expected a number of pixels, got {shown(text)}")
    return number


def _score(where: str, shape: Element) -> float | None:
    marks = [each for each in shape.iterfind("attribute") if each.get("name") == "score"]
    text = (marks[0].text or "").strip() if marks else ""
    return _as_number(f"{where}: attribute score", text) if text else None


def _box(where: str, shape: Element) -> Box:
    """The box of a shape in pixels; 0, 0, 0, 0 of what is no region."""
    if shape.tag in NO_REGION:
        return 0.0, 0.0, 0.0, 0.0
    if shape.tag == "polygon":
        return _around(_points(where, shape))
    if shape.tag not in ("box", "ellipse", "mask", "cuboid"):
        kinds = some(("box", "polygon", "ellipse", "mask", "cuboid", *NO_REGION), 12)
        raise InputError(f"{where}: expected one of {kinds}, got <{shape.tag}>")
    if shape.tag == "cuboid":
        numbers = [_number(where, shape, name) for name in SIDES]
        return _around(list(zip(numbers[::2], numbers[1::2], strict=True)))
    if shape.tag == "mask":
        left, top, width, height = (
            _number(where, shape, name) for name in ("left", "top", "width", "height")
        )
        return left, top, left + width, top + height
    turn = _number(where, shape, "rotation") if shape.get("rotation") is not None else 0.0
    cosine, sine = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    if shape.tag == "ellipse":
        x, y, *radii = (_number(where, shape, name) for name in ("cx", "cy", "rx", "ry"))
        halves = (
            math.hypot(radii[0] * cosine, radii[1] * sine),
            math.hypot(radii[0] * sine, radii[1] * cosine),
        )
    else:
        x0, y0, x1, y1 = (_number(where, shape, name) for name in ("xtl", "ytl", "xbr", "ybr"))
        if x1 < x0 or y1 < y0 or not turn:
            return x0, y0, x1, y1  # one that ends before it starts is refused with all others
        x, y, width, height = (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0
        halves = (
            (width * abs(cosine) + height * abs(sine)) / 2,
            (width * abs(sine) + height * abs(cosine)) / 2,
        )
    return x - halves[0], y - halves[1], x + halves[0], y + halves[1]


def _points(where: str, shape: Element) -> list[tuple[float, float]]:
    text = shape.get("points", "")
    try:
        pairs = [
            [_as_number(where, number) for number in pair.split(",")] for pair in text.split(";")
        ]
    except InputError:
        pairs = []
    if len(pairs) < 2 or any(len(pair) != 2 for pair in pairs):
        raise InputError(f'{where}: expected points="x,y;x,y;...", got {shown(text, 100)}')
    return [(x, y) for x, y in pairs]


def _around(points: Sequence[tuple[float, float]]) -> Box:
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)
