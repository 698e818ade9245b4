"""The predicted class of each box of a detections file, as a class of the data set.

A COCO result has a ``category_id`` whether it means a class or not, and detectors of one class
write 0 or 1 there. So several classes are an error unless it is said what they are: "use" them, one
box per predicted class, or "ignore" them.

Shape letter: N = rows.
"""

from __future__ import annotations

import logging

import numpy as np

from wend.errors import InputError, shown, some
from wend.evaluation.class_pairs import check_classes
from wend.evaluation.detection_rows import DetectionRows
from wend.structures.coded import CodedColumn
from wend.structures.data_set import DataSet

BOX_CLASSES = ("use", "ignore")
logger = logging.getLogger(__name__)


def row_classes(rows: DetectionRows, data_set: DataSet, choice: str | None) -> np.ndarray | None:
    """The class (N,) of each row; None for class-agnostic boxes.

    Args:
        choice: "use", "ignore", or None where nothing was said: then several classes are an error.

    Raises:
        InputError: the choice is none, or the rows' classes are not those of a data set.
    """
    if choice not in (None, *BOX_CLASSES):
        raise InputError(f"classes of boxes: expected one of {BOX_CLASSES}, got {choice!r}")
    column = rows.classes
    if choice == "use":
        if column is None:
            raise InputError(
                f"{rows.source}: has no column {rows.class_name}, which should hold the predicted "
                f"class of each box"
            )
        check_classes(data_set)
        return _as_classes(rows, column, data_set)
    if choice is None and column is not None and len(column.values) > 1:
        raise InputError(
            f"{rows.source}: {rows.class_name} has {len(column.values)} values "
            f"({some(map(shown, column.values))}); say what they are: --box-classes use (the "
            f"predicted class of each box, for Top-1 and Top-5 Loc of class-box pairs) or ignore "
            f"(boxes are ranked whatever their class)"
        )
    if choice == "ignore" and column is not None and len(column.values) > 1:
        logger.info(
            "%s: boxes of %d classes count whatever their class; %s is not looked at",
            *(rows.source, len(column.values), rows.class_name),
        )
    return None


def _as_classes(rows: DetectionRows, column: CodedColumn, data_set: DataSet) -> np.ndarray:
    name = rows.class_name
    if name == "category_id" and data_set.category_ids:
        number_of = {category: i for i, category in enumerate(data_set.category_ids)}
        expected = f"a category of {data_set.name} ({some(data_set.category_ids)})"
    else:
        number_of = {value: value for value in column.values if _is_class(value)}
        expected = f"a class of {data_set.name}, a whole number from 0"
    class_ids = column.look_up(number_of)
    if len(class_ids) and class_ids.min() < 0:
        first = int(np.argmax(class_ids < 0))
        raise InputError(
            f"{rows.at(first)}: expected as {name} {expected}, got {shown(column[first])}"
        )
    _check_range(rows, class_ids, data_set)
    return class_ids


def _is_class(value: object) -> bool:
    return isinstance(value, int) and 0 <= value < 2**31


def _check_range(rows: DetectionRows, class_ids: np.ndarray, data_set: DataSet) -> None:
    """Raise InputError for classes counted from 1; warn of classes that no image has."""
    true = np.unique(data_set.class_ids)
    number = len(true)
    predicted, count = np.unique(class_ids, return_counts=True)
    complete = number > 1 and true[-1] == number - 1  # 0 .. number - 1
    if complete and len(predicted) and predicted[0] > 0 and predicted[-1] == number:
        raise InputError(
            f"{rows.source}: the classes of the boxes are {predicted[0]} to {predicted[-1]}, those "
            f"of {data_set.name} 0 to {number - 1}; are they counted from 1? Subtract 1"
        )
    strange = ~np.isin(predicted, true)
    if len(strange) and strange.all() and set(predicted.tolist()) <= set(data_set.category_ids):
        raise InputError(
            f"{rows.source}: the classes of the boxes ({some(predicted.tolist())}) are ids of "
            f"categories of {data_set.name}, whose classes are counted from 0 in the order of "
            f"these ids; write the classes, or detections as COCO results with category_id"
        )
    if strange.any():
        logger.warning(
            "%s: %d of %d boxes are of classes that no image of %s has (%s)",
            rows.source,
            int(count[strange].sum()),
            len(class_ids),
            data_set.name,
            some(predicted[strange].tolist()),
        )
