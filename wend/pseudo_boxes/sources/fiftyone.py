"""Detections and polygons of FiftyOne's exports: samples, and simple lists of labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wend.errors import InputError, MissingFileError, shown, some
from wend.files import is_number, read_json
from wend.formats.mask_boxes import Box, mask_box
from wend.images.paths import find_files
from wend.pseudo_boxes.registry import box_source
from wend.pseudo_boxes.source_boxes import PseudoBoxes
from wend.pseudo_boxes.sources.labelled import LabelledBoxes, check_option

EXPORT = (
    'FiftyOne\'s samples.json {"samples": [{"filepath", FIELD: {"detections": [...]}}]} or '
    'labels.json {"classes", "labels": {NAME: [{"label", "bounding_box"}]}}'
)
FILES = ("samples.json", "labels.json")
LISTS = ("detections", "polylines")  # of a field
SINGLE = {"Detection": "bounding_box", "Polyline": "points"}  # class of a field -> what it has
Image = tuple[str, str, list]  # where it stands, its path, its detections or polylines


@box_source("fiftyone")
def read_fiftyone(
    path: str | Path, field: str | None = None, label: str | int | None = None
) -> PseudoBoxes:
    """Read the detections, or the polygons, of an export of FiftyOne's.

    Files: ``samples.json``, or ``samples/*.json`` with ``use_dirs``, of ``FiftyOneDataset``
    (fiftyone 1.22.1, utils/data/exporters.py:2354-2430), what ``write_json`` of a data set or view
    writes, or ``labels.json`` of ``FiftyOneImageDetectionDataset`` (:3381-3403), whose images are
    named without their endings.

    Frame: fractions; ``bounding_box`` is ``[x, y, width, height]`` of the image, from its top left
    corner, and the points of a polyline are ``[x, y]``, whose box is taken. ``confidence`` is the
    score; all boxes have one, or none. A detection's own mask lies in its box and is not read.

    Args:
        path: the folder of the export, or the file.
        field: the samples' field; by default the only one that holds detections or polylines.
        label: the label to take, as the file has it, or "all"; by default there may be only one.

    Raises:
        MissingFileError, InputError: no such file, or an entry is malformed; the message names it.
    """
    path = Path(path)
    check_option(path, "field", field, str)
    collected = LabelledBoxes(path, label, "confidence")
    for place, name, objects in _images(_files(path), field):
        collected.begin(place, name)
        for number, value in enumerate(objects):
            where = f"{place}, detection {number}"
            if not isinstance(value, Mapping):
                raise InputError(f"{where}: expected an object, got {shown(value)}")
            box = _box_of_points(where, value) if "points" in value else _box(where, value)
            collected.add(where, value.get("label"), box, value.get("confidence"))
    return collected.finish("fraction")


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    for name in FILES:
        if (path / name).is_file():
            return [path / name]
    samples = path / "samples" if (path / "samples").is_dir() else path
    names = find_files(samples, ".json") if samples.is_dir() and samples.name == "samples" else []
    if not names:
        raise MissingFileError(
            f"{path}: holds no {' or '.join(FILES)} and no samples/*.json; expected {EXPORT}"
        )
    return [samples / name for name in names]


def _images(files: list[Path], field: str | None) -> Iterator[Image]:
    """The images of an export with their detections."""
    samples: list[tuple[str, Mapping[str, Any]]] = []
    for file in files:
        content = read_json(file, EXPORT)
        if isinstance(content, Mapping) and isinstance(content.get("labels"), Mapping):
            if field is not None:
                raise InputError(
                    f"{file}: field {field!r}: its images have no fields; leave it out"
                )
            for name, detections in content["labels"].items():
                where = f"{file}, labels {name!r}"
                yield where, name, _list(where, detections)
            continue
        listed = content.get("samples") if isinstance(content, Mapping) else None
        if listed is None and isinstance(content, Mapping) and "filepath" in content:
            samples.append((str(file), content))  # a file for each sample
        elif isinstance(listed, list) and all(isinstance(each, Mapping) for each in listed):
            samples += [(f"{file}, samples[{i}]", sample) for i, sample in enumerate(listed)]
        else:
            raise InputError(f"{file}: expected {EXPORT}, got {shown(content, 100)}")
    if samples:
        yield from _of_field(samples, _chosen_field(files[0], samples, field))


def _of_field(samples: list[tuple[str, Mapping[str, Any]]], field: str) -> Iterator[Image]:
    for where, sample in samples:
        value = sample.get(field)
        if value is not None and not _has_boxes(value):
            raise InputError(
                f"{where}: field {field!r}: expected Detections "
                f'{{"detections": [...]}} or Polylines, got {shown(value, 100)}'
            )
        yield where, sample.get("filepath", ""), _list(where, _objects(value))


def _has_boxes(value: object) -> bool:
    """Whether a field's value is of objects with boxes or polygons, or one of them."""
    return isinstance(value, Mapping) and (
        any(name in value for name in LISTS) or value.get("_cls") in SINGLE
    )


def _objects(value: Mapping[str, Any] | None) -> object:
    """What should be the list of a field's objects."""
    if value is None:
        return []
    return next((value[name] for name in LISTS if name in value), [value])


def _chosen_field(
    file: Path, samples: list[tuple[str, Mapping[str, Any]]], field: str | None
) -> str:
    """The field asked for, or the only one that holds detections in any sample."""
    fields = {
        name: None for _, sample in samples for name, value in sample.items() if _has_boxes(value)
    }
    if field is None and len(fields) != 1:
        raise InputError(
            f"{file}: expected one field with detections, got {some(fields) or 'none'}; choose "
            f"one, such as field: predictions"
        )
    if field is not None and not any(field in sample for _, sample in samples):
        raise InputError(
            f"{file}: no sample has the field {field!r}; fields with detections: "
            f"{some(fields) or 'none'}"
        )
    return field or next(iter(fields))


def _list(where: str, detections: object) -> list:
    if detections is None:
        return []
    if not isinstance(detections, list):
        raise InputError(f"{where}: expected a list of detections, got {shown(detections)}")
    return detections


def _box(where: str, detection: Mapping[str, Any]) -> Box:
    box = detection.get("bounding_box")
    if not (
        isinstance(box, list) and len(box) == 4 and all(map(is_number, box)) and min(box[2:]) >= 0
    ):
        raise InputError(
            f'{where}: expected "bounding_box": [x, y, w, h], fractions of the image with w, h >= '
            f"0, got {shown(box)}"
        )
    x, y, width, height = map(float, box)
    return x, y, x + width, y + height


def _box_of_points(where: str, polyline: Mapping[str, Any]) -> Box:
    """The box of a polyline's parts; 0, 0, 0, 0 where there are none."""
    parts = polyline["points"]
    if not isinstance(parts, list) or not all(isinstance(part, list) for part in parts):
        raise InputError(f'{where}: expected "points": [[[x, y], ...], ...], got {shown(parts)}')
    flat = [[number for point in part for number in point] for part in parts if _are_points(part)]
    if len(flat) < len(parts):
        raise InputError(f'{where}: expected "points": [[[x, y], ...], ...], got {shown(parts)}')
    return mask_box([part for part in flat if part], f"{where}: points") or (0.0, 0.0, 0.0, 0.0)


def _are_points(part: list) -> bool:
    return all(isinstance(p, list) and len(p) == 2 and all(map(is_number, p)) for p in part)
