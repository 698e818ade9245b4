"""Boxes as supervision and Autodistill write them: JSONSink's rows, label folders by split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wend.errors import InputError, MissingFileError, shown, some
from wend.files import is_number, read_json, read_lines
from wend.formats.yolo import YoloBoxes, find_yolo, read_yolo
from wend.images.paths import require_folder
from wend.numerals import decimal_number
from wend.pseudo_boxes.registry import box_source
from wend.pseudo_boxes.source_boxes import PseudoBoxes
from wend.pseudo_boxes.sources.labelled import check_choice, check_option
from wend.pseudo_boxes.sources.tables import from_rows
from wend.structures.arrow import strings

ROWS = 'JSONSink\'s list of {"x_min", "y_min", "x_max", "y_max", "class_id", "confidence", ...}'
CORNERS = ("x_min", "y_min", "x_max", "y_max")
SPLITS = ("train", "valid")
CONFIDENCE = "confidence-"


@box_source("supervision")
def read_supervision(
    path: str | Path, image: str = "image", class_id: int | str | None = None
) -> PseudoBoxes:
    """Read the rows of supervision's JSONSink.

    Files: a list of rows, of all frames or images (supervision 0.31.2,
    detection/tools/json_sink.py:107-196). A row does not say its image by itself: the caller of
    ``sink.append(detections, custom_data={"image": path})`` does.

    Frame: pixels of the image that the detector was given. ``confidence`` is the score where the
    rows have it; it is empty text where the detections have none.

    Args:
        path: the file.
        image: the name in ``custom_data`` under which a row has its image's path.
        class_id: the class to take, or "all"; by default there may be only one.

    Raises:
        MissingFileError, InputError: not there, or a row is malformed; the message names it.
    """
    check_option(path, "image", image, str)
    check_option(path, "class_id", class_id)
    rows = read_json(path, ROWS)
    if not isinstance(rows, list):
        raise InputError(f"{path}: expected {ROWS}, got {shown(rows, 100)}")
    names, corners, scores = [], [], []
    classes: dict[Any, None] = {}
    for number, row in enumerate(rows):
        where = f"{path}, row {number}"
        if not isinstance(row, Mapping):
            raise InputError(f"{where}: expected an object, got {shown(row)}")
        values = [row.get(name) for name in CORNERS]
        if not all(map(is_number, values)):
            raise InputError(
                f"{where}: expected finite numbers as {', '.join(CORNERS)}, got {shown(values)}"
            )
        score = row.get("confidence")
        if score not in ("", None) and not is_number(score):
            raise InputError(f'{where}: expected "confidence" as a number, got {shown(score)}')
        if not isinstance(row.get(image), str):
            raise InputError(
                f"{where}: expected the image's path under {image!r}, as "
                f"sink.append(detections, custom_data={{{image!r}: path}}) writes it; the row has "
                f"{some(row, 12)}"
            )
        kind = row.get("class_id")
        if not (kind is None or isinstance(kind, str | int)):
            raise InputError(f'{where}: expected "class_id" as a number, got {shown(kind)}')
        classes[kind] = None
        if class_id in (None, "all", kind):
            names.append(row[image])
            corners.append(values)
            scores.append(np.nan if score is None or score == "" else float(score))
    check_choice(path, "class_id", class_id, classes, "classes")
    marks = np.array(scores, dtype=np.float64)
    unscored = np.isnan(marks)
    if unscored.any() and not unscored.all():
        raise InputError(
            f"{path}: image {names[int(np.argmax(unscored))]!r}: expected a confidence in each "
            f"row, as others have"
        )
    boxes = np.array(corners, dtype=np.float64).reshape(-1, 4)
    return from_rows(str(path), "pixel", strings(names), boxes, None if unscored.all() else marks)


@box_source("autodistill")
def read_autodistill(path: str | Path, confidence: bool | None = None) -> PseudoBoxes:
    """Read the folder that Autodistill's ``label()`` writes, both of its splits together.

    Files: ``train/labels`` and ``valid/labels`` with YOLO's text files, 4/5 and 1/5 of
    the images by chance, and with ``record_confidence=True`` beside each ``<image>.txt`` a
    ``confidence-<image>.txt``, a number for each detection (autodistill 0.1.29,
    detection/detection_base_model.py:42-121, helpers.py:76-160).

    Frame: fractions. A polygon becomes its box. Images are named without their endings, since
    Autodistill writes PNGs as JPEGs.

    Args:
        path: the folder, or its ``train`` or ``valid`` alone.
        confidence: whether the files of confidence are the scores; by default if there are some.

    Raises:
        MissingFileError, InputError: no label files, a line is malformed, or the confidences are
            not as many as the boxes: of masks, Autodistill writes a line for each part and none for
            small ones, so that no one knows which is whose.
    """
    if confidence not in (None, True, False):
        raise InputError(f"{path}: confidence: expected true or false, got {shown(confidence)}")
    folder = require_folder(path, "the folder that Autodistill's label() wrote")
    parts = [folder / split / "labels" for split in SPLITS if (folder / split / "labels").is_dir()]
    if not parts and (folder / "labels").is_dir():
        parts = [folder / "labels"]
    if not parts:
        raise MissingFileError(
            f"{folder}: holds no train/labels and no valid/labels; expected the folder that "
            f"Autodistill's label() wrote (for other folders of YOLO's files: source: yolo)"
        )
    names: list[str] = []
    boxes, scores = [np.zeros((0, 4))], [np.zeros(0)]
    has_scores = False
    for part in parts:
        files, marked = _files(part)
        if not files:
            continue
        labels = read_yolo(part, files)
        names += labels.names
        boxes.append(labels.boxes)
        if confidence is not False and marked:
            has_scores = True
            scores.append(_scores(part, labels, marked))
        else:
            scores.append(np.full(len(labels.boxes), np.nan))
    marks = np.concatenate(scores)
    if confidence and not has_scores:
        raise InputError(
            f"{folder}: confidence: there are no {CONFIDENCE}*.txt; label with "
            f"record_confidence=True"
        )
    if has_scores and np.isnan(marks).any():
        raise InputError(
            f"{folder}: only one of its splits has {CONFIDENCE}*.txt; confidence: false leaves "
            f"them unread"
        )
    return from_rows(
        str(path),
        "fraction",
        strings(names),
        np.concatenate(boxes),
        marks if has_scores else None,
    )


def _files(part: Path) -> tuple[list[str], set[str]]:
    """The label files of a folder, and those of confidence, each beside the one that it is of."""
    files = find_yolo(part)
    marked = {f"{CONFIDENCE}{name}" for name in files} & set(files)
    return [name for name in files if name not in marked], marked


def _scores(part: Path, labels: YoloBoxes, marked: set[str]) -> np.ndarray:
    """The confidence (N,) of each box, in the order of the lines."""
    counts = Counter(labels.names)
    scores: list[float] = []
    for image in labels.images:
        file = part / f"{CONFIDENCE}{image}.txt"
        lines = []
        if file.name in marked:
            lines = [line for line in read_lines(file, "a confidence a line") if line.strip()]
        if len(lines) != counts[image]:
            raise InputError(
                f"{file}: expected {counts[image]} confidences, one for each line of {image}.txt, "
                f"got {len(lines)}; confidence: false reads the boxes without scores"
            )
        try:
            scores += [decimal_number(line.strip()) for line in lines]
        except ValueError as error:
            raise InputError(f"{file}: {error}") from error
    return np.array(scores, dtype=np.float64)
