"""LabelMe's JSON, a file for each image, as AnyLabeling's and X-AnyLabeling's models write it."""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wend.errors import InputError, MissingFileError, shown, some
from wend.files import is_number, read_json
from wend.formats.mask_boxes import Box
from wend.images.paths import find_files, require_folder
from wend.images.threads import map_in_threads
from wend.pseudo_boxes.registry import box_source
from wend.pseudo_boxes.source_boxes import PseudoBoxes
from wend.pseudo_boxes.sources.labelled import LabelledBoxes, stated_size

FILE = (
    'LabelMe\'s {"shapes": [{"label", "points": [[x, y], ...], "shape_type"}], "imagePath", '
    '"imageWidth", "imageHeight"}'
)
CORNERS = ("rectangle", "polygon", "oriented_rectangle", "rotation", "quadrilateral", "cuboid")
NO_REGION = ("point", "points", "line", "linestrip")  # of which no box is an object's


@box_source("labelme")
def read_labelme(path: str | Path, label: str | int | None = None) -> PseudoBoxes:
    """Read the JSON files of LabelMe, AnyLabeling or X-AnyLabeling in and below a folder.

    Frame: pixels of the image as shown, turned by its EXIF orientation (labelme 6.3.1,
    _label_file.py); fractions are made by ``imageWidth`` and ``imageHeight``, if the files have
    them. Boxes are those of the corners of a rectangle, polygon or turned rectangle, of the circle,
    and of a ``mask``, whose second point is its last pixel (labelme 6.3.1,
    _automation/_suppression.py:165-190). Points and lines are no regions: they are counted with the
    boxes of zero area. ``score`` is the score, which X-AnyLabeling's models write (87da339,
    views/labeling/shape.py:134); all shapes have one, or none.

    An image is named by ``imagePath``, from the folder of its JSON.

    Args:
        path: the folder, or one file.
        label: the label to take, or "all"; by default there may be only one.

    Raises:
        MissingFileError, InputError: no files, or a shape is malformed; the message names both.
    """
    path = Path(path)
    if path.is_file():
        folder, names = path.parent, [path.name]
    else:
        folder = require_folder(path, "LabelMe's JSON files, one for each image")
        names = find_files(folder, ".json")
    if not names:
        raise MissingFileError(f"{folder}: holds no *.json; expected {FILE}")
    task = f"{folder.name}: LabelMe's files"
    collected = LabelledBoxes(path, label, "score")
    contents = map_in_threads(lambda name: _read(folder / name), names, task)
    for name, content in zip(names, contents, strict=True):
        image = content.get("imagePath") or Path(name).with_suffix("").name
        if not isinstance(image, str):
            raise InputError(f'{folder / name}: expected "imagePath" as text, got {shown(image)}')
        image = image.replace("\\", "/")
        if not re.match("[A-Za-z]:", image):
            image = posixpath.join(posixpath.dirname(name), image)
        where = str(folder / name)
        size = stated_size(where, content.get("imageWidth"), content.get("imageHeight"))
        collected.begin(where, posixpath.normpath(image), size)
        for number, shape in enumerate(content["shapes"]):
            where = f"{folder / name}, shape {number}"
            if not isinstance(shape, Mapping):
                raise InputError(f"{where}: expected an object, got {shown(shape)}")
            collected.add(where, shape.get("label"), _box(where, shape), shape.get("score"))
    return collected.finish("pixel")


def _read(file: Path) -> Mapping[str, Any]:
    content = read_json(file, FILE)
    if not isinstance(content, Mapping) or not isinstance(content.get("shapes"), list):
        raise InputError(f"{file}: expected {FILE}, got {shown(content, 100)}")
    return content


def _box(where: str, shape: Mapping[str, Any]) -> Box:
    """The box of a shape in pixels; 0, 0, 0, 0 of what is no region."""
    kind, points = shape.get("shape_type") or "polygon", shape.get("points")
    if not (
        isinstance(points, list)
        and points
        and all(isinstance(p, list) and len(p) == 2 and all(map(is_number, p)) for p in points)
    ):
        raise InputError(f'{where}: expected "points": [[x, y], ...], got {shown(points)}')
    if kind in NO_REGION:
        return 0.0, 0.0, 0.0, 0.0
    xs, ys = [float(x) for x, _ in points], [float(y) for _, y in points]
    if kind in CORNERS and len(points) > 1:
        return min(xs), min(ys), max(xs), max(ys)
    if kind == "mask" and len(points) == 2:
        return min(xs), min(ys), max(xs) + 1, max(ys) + 1
    if kind == "circle" and len(points) == 2:
        radius = math.hypot(xs[1] - xs[0], ys[1] - ys[0])
        return xs[0] - radius, ys[0] - radius, xs[0] + radius, ys[0] + radius
    raise InputError(
        f'{where}: expected a "shape_type" of {some((*CORNERS, "mask", "circle", *NO_REGION), 12)} '
        f"with its points, got {shown(kind)} with {len(points)}"
    )
