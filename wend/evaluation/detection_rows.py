"""Rows of a detections file, checked as whole arrays and sorted into a data set's images.

Only the readers of detection files know of rows; everyone else has the table.

Shape letters: N = rows (boxes of all images), I = images of the data set.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wend.errors import InputError, some
from wend.evaluation.class_pairs import class_pairs
from wend.evaluation.per_image import box_scores
from wend.files import MAX_NUMBER
from wend.structures.box_table import BoxTable, GivenBoxes
from wend.structures.boxes import paired_iou, xywh_to_xyxy, xyxy_to_xywh
from wend.structures.coded import CodedColumn
from wend.structures.data_set import DataSet
from wend.structures.frame import ORIGINAL, BoxFrame
from wend.structures.names import clean_path, match_names
from wend.structures.plausibility import FEW, Finding, named_box, other_reading, report
from wend.structures.plausibility import outside as reach_out
from wend.structures.records import ImageId

COLUMNS = ("image_id", "x0", "y0", "x1", "y1", "score")  # of tables; a class and sizes may follow
CLASS_COLUMN = "class_id"
SIZE_COLUMNS = ("width", "height")
OUTSIDE = ("count", "clip", "error")
OUTSIDE_TOLERANCE = 1e-3  # pixels; x + width of a box at the border need not be exact
FRAME_NAMES = {  # where a frame is what is wrong
    "fractions": "--box-frame fractions",
    "copy": "--box-frame squash224, crop224, squashN or cropN-of-M",
}
BLOCK = 1 << 16  # rows looked at at a time: boxes are many
MANY_OUTSIDE = 0.5  # of the boxes
FITS, FITS_BETTER = 0.3, 0.15  # mean IoU with the truth, and how much more than as pixels
logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class DetectionRows:
    """The content of a detections file, row by row, before it is known to fit a data set.

    Attributes:
        source: the file, for messages.
        entry: the word for a row in messages ("entry" or "row"); rows are numbered from 0.
        ids: the distinct image ids.
        codes: (N,) index into ``ids`` of each row.
        boxes: (N, 4) ``x0, y0, x1, y1`` in original pixels, or in a frame that the reader's caller
            knows.
        scores: (N,).
        sizes: (N, 2) width and height of each row's image where the file states them.
        classes: N classes or categories where the file states them.
        class_name: what the file calls them: "class_id" or "category_id".
    """

    source: str
    entry: str
    ids: Sequence[ImageId]
    codes: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    sizes: np.ndarray | None = None
    classes: CodedColumn | None = None
    class_name: str = CLASS_COLUMN

    def at(self, number: int) -> str:
        """The words by which a message points to a row: ``FILE, entry 17 (image 'a.jpg')``."""
        return f"{self.source}, {self.entry} {number} (image {self.ids[self.codes[number]]!r})"


def _id_hint(image_id: object, data_set: DataSet) -> str:
    columns = zip(data_set.keys, data_set.file_names, data_set.image_ids, strict=True)
    for key, file_name, known in columns:
        if image_id in (key, file_name, str(known)):
            return f" Its image {key} has the id {known!r}"
    if len(data_set) and type(image_id) is not type(data_set.image_ids[0]):
        return f" Its ids look like {data_set.image_ids[0]!r}"
    return ""


def _image_index(rows: DetectionRows, data_set: DataSet) -> np.ndarray:
    """Index (N,) of each row's image in the data set."""
    index_of = data_set.index_of_id
    by_code = np.array([index_of.get(image_id, -1) for image_id in rows.ids], dtype=np.int64)
    if len(by_code) and by_code.min() < 0:
        by_code = _image_of_path(rows, data_set, by_code)
    index = by_code[rows.codes]
    if len(index) and index.min() < 0:
        first = int(np.argmax(index < 0))
        image_id = rows.ids[rows.codes[first]]
        raise InputError(
            f"{rows.source}, {rows.entry} {first}: image_id {image_id!r} is not in the data set; "
            f"are the detections of another one?{_id_hint(image_id, data_set)}"
        )
    return index


def _image_of_path(rows: DetectionRows, data_set: DataSet, by_id: np.ndarray) -> np.ndarray:
    """Index of each id's image where ids are paths, whatever root and ending they have.

    Args:
        by_id: index of each id's image, -1 where no image has that very id; returned where ids are
            numbers.

    Raises:
        InputError: an id may mean several images, or two ids mean one.
    """
    if not all(isinstance(image_id, str) for image_id in (*rows.ids, *data_set.image_ids)):
        return by_id
    keys = [clean_path(str(image_id)) for image_id in data_set.image_ids]
    if len(set(keys)) < len(keys):
        return by_id
    by_path = match_names([clean_path(str(i)) for i in rows.ids], keys, rows.source)
    index = np.where(by_id >= 0, by_id, by_path)
    times = np.bincount(index[index >= 0], minlength=len(data_set))
    if times.max(initial=0) > 1:
        twice = int(times.argmax())
        ids = [rows.ids[code] for code in np.flatnonzero(index == twice).tolist()]
        raise InputError(
            f"{rows.source}: {len(ids)} image_ids mean the image {data_set.image_ids[twice]!r} "
            f"({some(map(repr, ids))}); expected one"
        )
    matched = int(((by_id < 0) & (index >= 0)).sum())
    if matched:
        logger.info(
            "%s: %d image_ids are not those of the ground truth but paths of its images",
            *(rows.source, matched),
        )
    return index


def _are_small(values: np.ndarray) -> bool:
    """Whether all are finite and of a size to be reckoned with; boxes are many: makes no array."""
    return not values.size or (-MAX_NUMBER < values.min() and values.max() < MAX_NUMBER)


def _check_values(rows: DetectionRows) -> None:
    boxes, scores = rows.boxes, rows.scores
    if not _are_small(boxes):
        bad = ~(np.abs(boxes) < MAX_NUMBER).all(1)
        raise _bad_value(rows, bad, boxes, "box {} is not four finite numbers")
    turned = (boxes[:, 2] < boxes[:, 0]) | (boxes[:, 3] < boxes[:, 1])
    if turned.any():
        raise _bad_value(rows, turned, boxes, "box {} ends before it starts")
    if not _are_small(scores):
        bad = ~(np.abs(scores) < MAX_NUMBER)
        raise _bad_value(rows, bad, scores, "score {} is not a finite number")


def _bad_value(
    rows: DetectionRows, bad: np.ndarray, values: np.ndarray, problem: str
) -> InputError:
    first = int(np.argmax(bad))
    return InputError(
        f"{rows.at(first)}: {problem.format(values[first].tolist())} ({int(bad.sum())} of "
        f"{len(bad)} {rows.entry} values are like this)"
    )


def _check_sizes(rows: DetectionRows, index: np.ndarray, data_set: DataSet) -> None:
    if rows.sizes is None:
        return
    sizes = data_set.sizes.astype(np.float64)[index]
    bad = (rows.sizes != sizes).any(1)
    if bad.any():
        first = int(np.argmax(bad))
        raise InputError(
            f"{rows.at(first)}: is of an image of {rows.sizes[first].tolist()} pixels, but "
            f"the ground truth says {sizes[first].tolist()} (width, height); detections must be in "
            f"the original pixels of the very images of the ground truth"
        )


def _refuse_outside(
    rows: DetectionRows,
    index: np.ndarray,
    data_set: DataSet,
    outside: str,
    frame: BoxFrame | None,
) -> np.ndarray:
    """Which boxes (N,) reach out of their image; said, or an error, as the user chose.

    Args:
        index: (N,) of each row's image.
        frame: the frame that the rows were given in, for messages.
    """
    sizes = data_set.sizes.astype(np.float64)
    beyond = np.zeros(len(index), dtype=bool)
    for start in range(0, len(index), BLOCK):
        block = slice(start, start + BLOCK)
        beyond[block] = reach_out(rows.boxes[block], sizes[index[block]], OUTSIDE_TOLERANCE)
    if not beyond.any():
        return beyond
    first = int(np.argmax(beyond))
    taken = "" if frame is None else f" (taken from {frame.name} to original pixels)"
    message = (
        f"{rows.at(first)}: box {rows.boxes[first].tolist()}{taken} reaches out of its image of "
        f"{sizes[index[first]].tolist()} pixels, as do {int(beyond.sum())} of {len(beyond)}"
    )
    if outside == "error":
        where = "original pixels" if frame is None else f"the frame {frame.name}"
        raise InputError(
            f"{message}; are the detections in {where}? Choose count or clip to score them"
        )
    if outside == "clip":  # else nothing is changed, and the line below the tables says how many
        logger.warning("%s; they are cut at its border", message)
    elif beyond.sum() >= FEW and beyond.mean() > MANY_OUTSIDE:
        logger.warning(
            "%s; are they of these very images (another split may have the same ids), and in their "
            "pixels?",
            message,
        )
    return beyond


def _clipped(table: BoxTable, data_set: DataSet) -> BoxTable:
    sizes = np.tile(data_set.sizes.astype(np.float64), 2)[table.owner]
    given = table.given
    if given is not None:
        start, end = -given.frame.offset, given.frame.resize - given.frame.offset
        given = replace(given, boxes=np.clip(given.boxes, start, end))
    return replace(table, boxes=np.clip(table.boxes, 0, sizes), given=given)


def _look_at_best(table: BoxTable, data_set: DataSet, source: str, implausible: str | None) -> None:
    """Refuse a file whose numbers are no boxes in original pixels, judged by the best boxes.

    Where the truth is known, only a file whose numbers fit it clearly better when read otherwise is
    certain: a detector may be bad.
    """
    best = table.first(1)
    finding = _in_another_frame(best, data_set) or _read_otherwise(best, data_set)
    if finding is not None:
        report([finding], source, implausible, logger)


def _fit(boxes: np.ndarray, best: BoxTable, data_set: DataSet, rows: np.ndarray) -> float:
    """Mean IoU of some of an image's best boxes (B, 4) with its first true box."""
    truth = data_set.truth
    return float(paired_iou(boxes[rows], truth.boxes[truth.offsets[best.owner[rows]]]).mean())


def _fits_better(otherwise: float, as_read: float) -> bool:
    return otherwise >= max(FITS, as_read + FITS_BETTER)


def _in_another_frame(best: BoxTable, data_set: DataSet) -> Finding | None:
    """The finding that the numbers fit the truth in another frame than the named one."""
    rows = np.flatnonzero(data_set.truth.counts[best.owner] > 0)
    if best.given is None or len(rows) < FEW:
        return None
    given, size = best.given.boxes, np.tile(data_set.sizes.astype(np.float64), 2)[best.owner]
    as_read = _fit(best.boxes, best, data_set, rows)
    for name, boxes in ((ORIGINAL, given), ("fractions", given * size)):
        fit = _fit(boxes, best, data_set, rows)
        if _fits_better(fit, as_read):
            return Finding(
                "frame",
                len(given),
                f"the best boxes of the images, such as {given[0].tolist()}, have a mean IoU of "
                f"{fit:.2f} with the truth in the frame {name}, but of {as_read:.2f} in the frame "
                f"{best.given.frame.name} that was named; give --box-frame {name}",
            )
    return None


def _read_otherwise(best: BoxTable, data_set: DataSet) -> Finding | None:
    """The finding that the numbers are no boxes in original pixels."""
    reading = other_reading(best.boxes, best.owner, data_set.sizes)
    if reading is None:
        return None
    if reading.kind in FRAME_NAMES:
        frames = FRAME_NAMES[reading.kind]
        reading = replace(reading, advice=f"{reading.advice}, or name their frame: {frames}")
    is_other = (reading.boxes != best.boxes).any(1)  # a file may be of such boxes in part
    rows = np.flatnonzero((data_set.truth.counts[best.owner] > 0) & is_other)
    certain = True
    if len(rows) and not reading.whole:
        otherwise, as_pixels = (
            _fit(boxes, best, data_set, rows) for boxes in (reading.boxes, best.boxes)
        )
        certain = _fits_better(otherwise, as_pixels)
    describe = named_box(best, data_set.image_ids, data_set.sizes)
    return reading.finding("best boxes of the images", describe, certain)


def _count_duplicates(table: BoxTable) -> int:
    """Boxes that repeat another's image, coordinates, score and class."""
    scores = box_scores(table)
    tied = scores[1:] == scores[:-1]
    if not tied.any():
        return 0
    image = table.owner
    tied &= image[1:] == image[:-1]
    (rows,) = np.nonzero(np.append(tied, False) | np.append(False, tied))
    if not len(rows):
        return 0
    keys = np.column_stack([image[rows], scores[rows], table.boxes[rows]])
    if table.class_ids is not None:
        keys = np.column_stack([keys, table.class_ids[rows]])
    keys = keys[np.lexsort(keys.T)]
    return int((keys[1:] == keys[:-1]).all(1).sum())


def _class_counts(table: BoxTable, data_set: DataSet, source: str) -> dict:
    """``images_without_true_class`` where boxes have classes, with a warning of what that means."""
    pairs = class_pairs(data_set, table)
    if pairs is None:
        return {}
    without = np.flatnonzero((pairs.own.counts == 0) & (table.counts > 0)).tolist()
    if without:
        logger.warning(
            "%s: %d of %d images have boxes, but none of their own class (%s); each is scored as a "
            "miss",
            source,
            len(without),
            len(data_set),
            some(data_set.image_ids[i] for i in without),
        )
    return {"images_without_true_class": len(without)}


def _warn_of_counts(rows: DetectionRows, counts: dict, without: list[ImageId]) -> None:
    if without:
        logger.warning(
            "%s: %d of %d images have no detection (%s); each is scored as a miss",
            rows.source,
            len(without),
            counts["images"],
            some(without),
        )
    twice = counts["duplicate_rows"]
    if twice and 2 * twice >= counts["rows"] >= 4:
        raise InputError(
            f"{rows.source}: {twice} of {counts['rows']} rows repeat another's image, box and "
            f"score; was the file written or joined twice? Remove the copies"
        )
    if twice:
        logger.warning(
            "%s: %d of %d rows repeat another's image, box and score; they stay and are counted "
            "among the K boxes",
            rows.source,
            twice,
            counts["rows"],
        )


def to_table(
    rows: DetectionRows,
    data_set: DataSet,
    outside: str = "count",
    implausible: str | None = None,
    *,
    frame: BoxFrame | None = None,
    class_ids: np.ndarray | None = None,
) -> tuple[BoxTable, dict]:
    """Check rows against a data set and sort them into its images.

    Args:
        data_set: I images.
        outside: what becomes of boxes that reach out of their image: "count" them and go on,
            "clip" them at its border, or "error".
        implausible: what becomes of a file whose numbers are hardly original pixels
            (:mod:`wend.structures.plausibility`): "error" (None, too), or "count" to
            warn and go on.
        frame: the frame that the rows' boxes are given in; None for original pixels.
        class_ids: (N,) predicted class of each row, or None.

    Returns:
        The table of the I images, empty where there is no row; and the counts ``rows``,
        ``images``, ``images_without_detections``, ``boxes_outside``, ``outside`` (how they were
        treated), ``duplicate_rows``, ``box_frame``, and where boxes have classes
        ``images_without_true_class``.

    Raises:
        InputError: names the file and the row.
    """
    if outside not in OUTSIDE:
        raise InputError(f"boxes outside the image: expected one of {OUTSIDE}, got {outside!r}")
    index = _image_index(rows, data_set)
    _check_values(rows)
    _check_sizes(rows, index, data_set)
    given = rows.boxes
    if frame is not None:
        sizes = data_set.sizes.astype(np.float64)[index]
        rows = replace(rows, boxes=frame.to_original(given, sizes))
    table = BoxTable.from_rows(
        index,
        rows.boxes,
        rows.scores,
        len(data_set),
        class_ids=class_ids,
        given=None if frame is None else GivenBoxes(frame, given),
    )
    _look_at_best(table, data_set, rows.source, implausible)
    beyond = _refuse_outside(rows, index, data_set, outside, frame)
    if outside == "clip" and beyond.any():
        table = _clipped(table, data_set)
    without = [data_set.image_ids[i] for i in np.flatnonzero(table.counts == 0).tolist()]
    counts = {
        "rows": len(index),
        "images": len(data_set),
        "images_without_detections": len(without),
        "boxes_outside": int(beyond.sum()),
        "outside": outside,
        "duplicate_rows": _count_duplicates(table),
        "box_frame": ORIGINAL if frame is None else frame.name,
    }
    _warn_of_counts(rows, counts, without)
    return table, counts | _class_counts(table, data_set, rows.source)


def as_read(data_set: DataSet, detections: BoxTable, source: str) -> tuple[BoxTable, dict]:
    """The table that a reader of detections written as COCO results gets, to the last bit.

    An engine's detections are original pixels, however bad: what is implausible is a warning.

    Args:
        source: the file, for messages.

    Returns:
        The table, and its counts as of :func:`to_table`.
    """
    rows = DetectionRows(
        source=source,
        entry="entry",
        ids=data_set.image_ids,
        codes=detections.owner,
        boxes=xywh_to_xyxy(xyxy_to_xywh(detections.boxes)),
        scores=box_scores(detections),
    )
    return to_table(rows, data_set, implausible="count", class_ids=detections.class_ids)
