"""Label Studio's JSON: what people drew, or what a model backend predicted."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wend.errors import InputError, shown, some
from wend.files import is_number, read_json
from wend.formats.mask_boxes import Box, mask_size
from wend.pseudo_boxes.registry import box_source
from wend.pseudo_boxes.source_boxes import PseudoBoxes
from wend.pseudo_boxes.sources.labelled import LabelledBoxes, check_option

TASKS = (
    'Label Studio\'s export "JSON", a list of {"data": {"image": path}, "annotations": '
    '[{"result": [...]}], "predictions": [{"result": [...]}]}'
)
RESULTS = ("annotations", "predictions")
KEYS = ("x", "y", "width", "height")
UPLOADS = r"^/data/upload/\d+/"  # Label Studio's own folder, which no image lay in


@box_source("label_studio")
def read_label_studio(
    path: str | Path,
    results: str | None = None,
    image: str = "image",
    label: str | int | None = None,
) -> PseudoBoxes:
    """Read Label Studio's export "JSON" (not "JSON-MIN").

    Frame: per cent of the image as shown, turned by its EXIF orientation, from its top left corner
    (docs/source/guide/export.md, "Units of image annotations"); they become fractions. Rectangles
    may be turned about their top left corner, ``rotation`` degrees clockwise; of those, of ellipses
    and of polygons the box is taken. ``score`` of a region is its score. Choices, texts and
    relations are no boxes and passed over; a brush's mask, in a code of Label Studio's own, is an
    error: export "COCO" or "PNG" instead.

    Args:
        path: the JSON.
        results: "annotations" or "predictions"; by default those that the file has.
        image: the key of ``data`` that names the image.
        label: the label to take, or "all"; by default there may be only one.

    Raises:
        MissingFileError, InputError: not there, or a task is malformed; the message names it.
    """
    if results not in (None, *RESULTS):
        raise InputError(f"{path}: results: expected {' or '.join(RESULTS)}, got {shown(results)}")
    check_option(path, "image", image, str)
    tasks = read_json(path, TASKS)
    if not isinstance(tasks, list):
        raise InputError(f"{path}: expected {TASKS}, got {shown(tasks, 100)}")
    for number, task in enumerate(tasks):
        if not isinstance(task, Mapping) or not isinstance(task.get("data"), Mapping):
            raise InputError(f"{path}, task {number}: expected {TASKS}, got {shown(task, 100)}")
    chosen = results or _only_results(path, tasks)
    collected = LabelledBoxes(path, label, "score")
    for number, task in enumerate(tasks):
        where = f"{path}, task {number}"
        if not isinstance(task["data"].get(image), str):
            raise InputError(
                f"{where}: expected the image's path under {image!r} of its data, which has "
                f"{some(task['data'])}; name the key with image"
            )
        collected.begin(where, re.sub(UPLOADS, "", task["data"][image]))
        for here, region in _regions(where, task, chosen):
            box = _box(here, region)
            for each in _labels(here, region["value"]):
                collected.add(here, each, box, region.get("score"))
    return collected.finish("fraction")


def _only_results(path: str | Path, tasks: list) -> str:
    held = [name for name in RESULTS if any(_sets(task.get(name)) for task in tasks)]
    if len(held) > 1:
        raise InputError(
            f"{path}: holds annotations and predictions; choose with results: annotations, or "
            f"results: predictions"
        )
    return held[0] if held else RESULTS[0]


def _sets(listed: object) -> list[Mapping[str, Any]]:
    """The sets of regions of a task that were not cancelled and hold any."""
    sets = listed if isinstance(listed, list) else []
    sets = [
        each for each in sets if isinstance(each, Mapping)
    ]  # an export may hold their ids alone
    return [each for each in sets if each.get("result") and not each.get("was_cancelled")]


def _regions(
    where: str, task: Mapping[str, Any], results: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each region of a task that has a box, and where it stands."""
    sets = _sets(task.get(results))
    if len(sets) > 1:
        raise InputError(
            f"{where}: expected one of {results} with boxes, got {len(sets)}; keep the one that "
            f"counts"
        )
    regions = sets[0]["result"] if sets else []
    if not isinstance(regions, list):
        raise InputError(f"{where}, {results}: expected result: a list, got {shown(regions)}")
    labelled = {_region_id(region) for region in regions if _has_labels(region)} - {None}
    for number, region in enumerate(regions):
        here = f"{where}, {results}, result {number}"
        value = region.get("value") if isinstance(region, Mapping) else None
        if not isinstance(value, Mapping):
            if isinstance(region, Mapping) and region.get("type") == "relation":
                continue
            raise InputError(f'{here}: expected {{"type", "value"}}, got {shown(region, 100)}')
        if "rle" in value:
            raise InputError(
                f"{here}: is a brush's mask, in a code of Label Studio's own; export COCO, whose "
                f"masks are read by source: coco with boxes: masks"
            )
        if not _has_labels(region) and _region_id(region) in labelled:
            continue  # the same region's shape, text or choices once more
        if "points" in value or ("x" in value and value.keys() & {"width", "radiusX"}):
            if is_number(turn := region.get("image_rotation") or 0) and turn % 360:
                raise InputError(
                    f"{here}: of an image that was turned by {turn} degrees by hand; its frame is "
                    f"not known here"
                )
            yield here, region


def _has_labels(region: object) -> bool:
    value = region.get("value") if isinstance(region, Mapping) else None
    return isinstance(value, Mapping) and any(value[key] for key in value if _is_labels(key))


def _is_labels(key: str) -> bool:
    return key.endswith("labels")


def _region_id(region: object) -> str | None:
    """What the results of one region share; None where it has none."""
    number = region.get("id") if isinstance(region, Mapping) else None
    return number if isinstance(number, str) else None


def _labels(where: str, value: Mapping[str, Any]) -> list:
    """The labels of a region, which stand under a key such as rectanglelabels; [None] if none."""
    labels = next((value[key] for key in value if _is_labels(key)), None) or [None]
    if not isinstance(labels, list):
        raise InputError(f"{where}: expected its labels as a list, got {shown(labels)}")
    return labels


def _box(where: str, region: Mapping[str, Any]) -> Box:
    """The box of a region in fractions of the image."""
    value = region["value"]
    points = value.get("points")
    if "x" in value and "height" not in value and "radiusX" not in value:
        return 0.0, 0.0, 0.0, 0.0  # a key point, whose width is that of its mark
    if points is not None:
        if not isinstance(points, list) or len(points) < 2 or not all(map(_is_point, points)):
            raise InputError(f'{where}: expected "points": [[x, y], ...], got {shown(points)}')
        xs, ys = [x for x, _ in points], [y for _, y in points]
    else:
        is_ellipse = "radiusX" in value
        names = ("x", "y", "radiusX", "radiusY") if is_ellipse else KEYS
        numbers = [value.get(name) for name in names]
        turn = value.get("rotation") or 0
        if not all(map(is_number, (*numbers, turn))) or min(numbers[2:]) < 0:  # type: ignore[operator, type-var]
            raise InputError(
                f"{where}: expected {', '.join(names)} as numbers in per cent of the image, got "
                f"{shown(dict(value), 100)}"
            )
        x, y, width, height = map(float, numbers)  # type: ignore[arg-type]
        aspect = _aspect(where, region) if turn else 1.0
        cosine, sine = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        # an edge of the box, or the half of an axis, turned where the image has its own shape
        right = (width * cosine, width * sine * aspect)
        down = (-height * sine / aspect, height * cosine)
        if is_ellipse:
            half = [math.hypot(*sides) for sides in zip(right, down, strict=True)]
            xs, ys = [x - half[0], x + half[0]], [y - half[1], y + half[1]]
        else:
            xs = [x, x + right[0], x + down[0], x + right[0] + down[0]]
            ys = [y, y + right[1], y + down[1], y + right[1] + down[1]]
    return min(xs) / 100, min(ys) / 100, max(xs) / 100, max(ys) / 100


def _is_point(point: object) -> bool:
    return isinstance(point, list) and len(point) == 2 and all(map(is_number, point))


def _aspect(where: str, region: Mapping[str, Any]) -> float:
    """Width over height of the image, in which a turn is a turn."""
    width, height = region.get("original_width"), region.get("original_height")
    size = mask_size({"size": [height, width]})
    if size is not None:
        return size[0] / size[1]
    raise InputError(
        f"{where}: is turned, so that its image's original_width and original_height are needed, "
        f"got {shown(width)} and {shown(height)}"
    )
