"""Detections of FiftyOne's exports: FiftyOneDataset's samples, FiftyOneImageDetectionDataset's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wend.errors import InputError, MissingFileError, shown, some
from wend.files import is_number, read_json
from wend.images.paths import find_files
from wend.pseudo_boxes.keys import path_key
from wend.pseudo_boxes.registry import box_source
from wend.pseudo_boxes.source_boxes import PseudoBoxes
from wend.structures.boxes import xywh_to_xyxy

EXPORT = (
    'FiftyOne\'s samples.json {"samples": [{"filepath", FIELD: {"detections": [...]}}]} or '
    'labels.json {"classes", "labels": {NAME: [{"label", "bounding_box"}]}}'
)
FILES = ("samples.json", "labels.json")
Image = tuple[str, str, list]  # where it stands, its path, its detections


@box_source("fiftyone")
def read_fiftyone(
    path: str | Path, field: str | None = None, label: str | int | None = None
) -> PseudoBoxes:
    """Read the detections of an export of FiftyOne's.

    Files: ``samples.json``, or ``samples/*.json`` with ``use_dirs``, of ``FiftyOneDataset``
    (fiftyone 1.22.1, utils/data/exporters.py:2354-2430), or ``labels.json`` of
    ``FiftyOneImageDetectionDataset`` (:3381-3403), whose images are named without their endings.

    Frame: fractions; ``bounding_box`` is ``[x, y, width, height]`` of the image, from its top left
    corner. ``confidence`` is the score; all boxes have one, or none. Masks are not read.

    Args:
        path: the folder of the export, or the file.
        field: the samples' field; by default the only one that holds detections.
        label: the label to take, as the file has it, or "all"; by default there may be only one.

    Raises:
        MissingFileError, InputError: no such file, or an entry is malformed; the message names it.
    """
    path = Path(path)
    images = list(_images(_files(path), field))
    keys = [path_key(name, where) for where, name, _ in images]
    rows: list[list[float]] = []
    scores: list[float] = []
    labels: dict[Any, None] = {}
    num = np.zeros(len(images), dtype=np.int64)
    first_scored = None
    for index, (place, _, detections) in enumerate(images):
        for number, detection in enumerate(detections):
            where = f"{place}, detection {number}"
            box, its_label, score = _detection(where, detection)
            labels[its_label] = None
            if label not in (None, "all", its_label):
                continue
            first_scored = score is not None if first_scored is None else first_scored
            if (score is not None) != first_scored:
                others = "others have none" if first_scored is False else "as others have"
                raise InputError(f"{where}: expected confidence for all boxes or none; {others}")
            num[index] += 1
            rows.append(box)
            scores.append(np.nan if score is None else score)
    _check_labels(path, label, labels)
    return PseudoBoxes.from_entries(
        str(path),
        "fraction",
        keys,
        num,
        xywh_to_xyxy(np.array(rows, dtype=np.float64).reshape(-1, 4)),
        np.array(scores) if first_scored else None,
    )


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
        if value is not None and not (isinstance(value, Mapping) and "detections" in value):
            raise InputError(
                f"{where}: field {field!r}: expected Detections {{"
                f'"detections": [...]}}, got {shown(value)}'
            )
        yield where, sample.get("filepath", ""), _list(where, value and value["detections"])


def _chosen_field(
    file: Path, samples: list[tuple[str, Mapping[str, Any]]], field: str | None
) -> str:
    """The field asked for, or the only one that holds detections in any sample."""
    fields = {
        name: None
        for _, sample in samples
        for name, value in sample.items()
        if isinstance(value, Mapping) and "detections" in value
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


def _detection(where: str, detection: object) -> tuple[list[float], Any, float | None]:
    """Box as x, y, w, h, its label and score."""
    if not isinstance(detection, Mapping):
        raise InputError(f"{where}: expected an object, got {shown(detection)}")
    box, label = detection.get("bounding_box"), detection.get("label")
    if not (
        isinstance(box, list) and len(box) == 4 and all(map(is_number, box)) and min(box[2:]) >= 0
    ):
        raise InputError(
            f'{where}: expected "bounding_box": [x, y, w, h], fractions of the image with w, h >= '
            f"0, got {shown(box)}"
        )
    if not (label is None or isinstance(label, str | int)):
        raise InputError(f'{where}: expected "label" as text or a number, got {shown(label)}')
    score = detection.get("confidence")
    if score is not None and not is_number(score):
        raise InputError(f'{where}: expected "confidence" as a finite number, got {shown(score)}')
    return [float(number) for number in box], label, score


def _check_labels(path: Path, label: str | int | None, labels: Mapping[Any, None]) -> None:
    shown_labels = some(map(shown, labels))
    if label is None and len(labels) > 1:
        raise InputError(
            f"{path}: holds boxes of {len(labels)} labels ({shown_labels}), expected one; choose "
            f"one with label, or label: all"
        )
    if label not in (None, "all") and labels and label not in labels:
        raise InputError(f"{path}: label {shown(label)}: no box has it; they are of {shown_labels}")
