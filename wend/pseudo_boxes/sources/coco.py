"""Boxes in COCO's JSON: CutLER's and MaskCut's data sets, detectors' results."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, DecodeError, Raw, Struct, UnsetType, to_builtins

from wend.errors import InputError, shown, some
from wend.formats.coco_json import (
    DATA_SET,
    RESULTS,
    Bit,
    Box,
    Boxes,
    CocoFile,
    Id,
    Image,
    Number,
    Row,
)
from wend.formats.mask_boxes import MASK, mask_box, mask_size
from wend.pseudo_boxes.keys import path_key
from wend.pseudo_boxes.registry import box_source
from wend.pseudo_boxes.report import Count
from wend.pseudo_boxes.source_boxes import PseudoBoxes
from wend.structures.boxes import xywh_to_xyxy
from wend.structures.coded import CodedColumn, Encoder

BOXES_OF = ("bbox", "masks")
_NO_SIZE = (0.0, 0.0)


class MaskSize(Struct, gc=False):
    """The size of a run-length code; its counts are passed over."""

    size: Any = None


_MASK_SIZE = msgspec.json.Decoder(MaskSize)


class BoxOrMask(Box, kw_only=True, gc=False):
    """A row whose ``bbox`` is read; the error where it has none names the other choice.

    Of a mask only the size is looked at: it is that of the image that ``bbox`` has pixels of.
    """

    segmentation: Raw | UnsetType = UNSET

    @classmethod
    def expected(cls, field: str | None) -> str:
        """The expected value of a field, for messages."""
        text = super().expected(field)
        advice = "not read unless with boxes: masks"
        return text.replace("not read", advice) if field == "bbox" else text


class Mask(Row, kw_only=True, gc=False):
    """A row whose ``segmentation`` is read; a ``bbox`` may be absent."""

    image_id: Id
    segmentation: Any
    category_id: Id | UnsetType | None = UNSET
    score: Number | UnsetType | None = UNSET
    iscrowd: bool | Bit | UnsetType | None = UNSET

    @classmethod
    def expected(cls, field: str | None) -> str:
        """The expected value of a field, for messages."""
        return f'"segmentation": {MASK}' if field == "segmentation" else super().expected(field)


@box_source("coco")
def read_coco(
    path: str | Path,
    images: str | Path | None = None,
    category_id: int | str | None = None,
    boxes: str = "bbox",
    scores: bool = True,
) -> PseudoBoxes:
    """Read boxes in COCO's JSON: a data set (CutLER's, MaskCut's), or a detector's results.

    Frame: pixels of the size that the JSON states for the image, which may differ from the file's
    (of a resized copy), so they become fractions by that size. Where only run-length codes state
    sizes, those count; where they say that width and height of their image are exchanged, too
    (MaskCut writes images so, CutLER cca0a27, maskcut/maskcut.py:384, and its loader exchanges them
    again, cutler/data/detection_utils.py:189-199). Images without stated sizes: pixels of the
    original image. Several boxes per image; ``score`` is kept, best first. Images come by
    ``file_name``.

    Args:
        path: a data set ``{"images", "annotations"}``, or a list of results.
        images: of results whose ``image_id`` are numbers: the COCO JSON that has their images.
            Text ids are taken as paths.
        category_id: the category to take, or "all"; by default there may be only one.
        boxes: "bbox", or "masks": the boxes of ``segmentation``, run-length codes or polygons
            (:mod:`wend.formats.mask_boxes`), for files without ``bbox``; an empty mask has no area.
        scores: False leaves them unread, as is needed where only some boxes have one: CutLER's
            rounds of self-training mix detections with MaskCut's masks
            (cutler/tools/get_self_training_ann.py:140-172).

    Raises:
        MissingFileError, InputError: not there, or an entry is malformed; the message names it.
    """
    if boxes not in BOXES_OF:
        raise InputError(f"{path}: boxes: expected {' or '.join(BOXES_OF)}, got {shown(boxes)}")
    if not isinstance(scores, bool):
        raise InputError(f"{path}: scores: expected true or false, got {shown(scores)}")
    file = CocoFile.open(path, f"{DATA_SET} or {RESULTS}")
    is_data_set = file.has_list("annotations") and file.has_list("images")
    if not is_data_set and not file.is_list:
        raise InputError(f"{path}: expected {DATA_SET} or {RESULTS}, got another JSON value")
    name = "annotations" if is_data_set else ""
    read = _read_masks if boxes == "masks" else _read_boxes
    rows_of_file, mask_sizes = read(file, name)
    if not scores:
        unread = np.full(len(rows_of_file.scores), np.nan)
        rows_of_file = replace(rows_of_file, scores=unread)
    listed = file if is_data_set else None
    if listed is None and images is not None:
        listed = CocoFile.open(images, DATA_SET)
        if not listed.has_list("images"):
            raise InputError(f"{images}: expected {DATA_SET}, got no images")
    elif listed is None and not all(isinstance(i, str) for i in rows_of_file.image_ids.values):
        raise InputError(
            f"{path}: its image_id are numbers; name the COCO JSON that has the images: "
            f"images: <file>"
        )
    return _of_rows(path, rows_of_file, listed, mask_sizes, category_id)


def _of_rows(
    path: str | Path,
    boxes: Boxes,
    listed: CocoFile | None,
    mask_sizes: np.ndarray,
    category_id: int | str | None,
) -> PseudoBoxes:
    """The chosen rows by their images, those of a file or those that the rows name.

    Args:
        mask_sizes: (N, 2) width and height that each row's mask states, 0 where none.
    """
    if listed is not None:
        keys, sizes, index = _read_images(listed)
    else:
        index = {name: i for i, name in enumerate(boxes.image_ids.values)}
        keys, sizes = [path_key(name, f"{path}: image_id") for name in index], None
    owners = boxes.owners(index)
    sizes, exchanged = _sizes_of_masks(boxes, owners, sizes, mask_sizes, len(keys))
    rows = np.flatnonzero(~boxes.crowd & _of_category(boxes, category_id))
    unscored = np.isnan(boxes.scores[rows])
    if unscored.any() and not unscored.all():
        raise boxes.file.error(
            boxes.name,
            int(rows[np.argmax(unscored)]),
            '"score": a finite number, as other boxes have (scores: false leaves them unread)',
            None,
        )
    rows = rows[np.argsort(owners[rows], kind="stable")]
    corners = xywh_to_xyxy(boxes.xywh[rows])
    if sizes is not None:
        with np.errstate(over="ignore"):  # from_entries refuses what is infinite
            corners /= np.tile(sizes, 2)[owners[rows]]
    crowds = int(boxes.crowd.sum())
    counts = {"crowd": Count(crowds)} if crowds else {}
    if len(exchanged):
        counts["exchanged"] = Count.from_indices(keys, exchanged)
    return PseudoBoxes.from_entries(
        str(path),
        "pixel" if sizes is None else "fraction",
        keys,
        np.bincount(owners[rows], minlength=len(keys)),
        corners,
        None if unscored.all() else boxes.scores[rows],
        sizes,
        counts,
    )


def _read_boxes(file: CocoFile, name: str) -> tuple[Boxes, np.ndarray]:
    """The boxes (N), and the width and height (N, 2) that each one's mask states, or 0, 0."""
    sizes: list[tuple[float, float]] = []

    def add_sizes(rows: list[BoxOrMask]) -> None:
        for row in rows:
            mask = row.segmentation
            if isinstance(mask, Raw) and not row.iscrowd:
                sizes.append(_size_of_code(mask))
            else:
                sizes.append(_NO_SIZE)

    boxes = file.boxes(name, BoxOrMask, add_sizes)
    return boxes, np.array(sizes, dtype=np.float64).reshape(-1, 2)


def _size_of_code(mask: Raw) -> tuple[float, float]:
    if memoryview(mask)[:1] != b"{":
        return _NO_SIZE
    try:
        return mask_size({"size": _MASK_SIZE.decode(mask).size}) or _NO_SIZE
    except DecodeError:  # no mask, which no one asked for
        return _NO_SIZE


def _read_masks(file: CocoFile, name: str) -> tuple[Boxes, np.ndarray]:
    """The boxes of masks (N), and the width and height (N, 2) that each mask states, or 0, 0."""
    image_ids, category_ids = Encoder(), Encoder()
    images, categories = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    corners: list[tuple[float, ...]] = []
    sizes: list[tuple[float, float]] = []
    scores: list[float] = []
    crowd: list[bool] = []
    for rows in file.blocks(name, Mask):
        images.append(image_ids.encode([row.image_id for row in rows]))
        given = [None if row.category_id is UNSET else row.category_id for row in rows]
        categories.append(category_ids.encode(given))
        scores += [row.score if isinstance(row.score, float) else np.nan for row in rows]
        crowd += [row.iscrowd in (1, True) for row in rows]
        for row in rows:
            where = file.entry(name, len(corners))
            is_crowd = crowd[len(corners)]
            box = None if is_crowd else mask_box(row.segmentation, f"{where}: segmentation")
            corners.append(box or (0.0, 0.0, 0.0, 0.0))
            sizes.append((None if is_crowd else mask_size(row.segmentation)) or _NO_SIZE)
    xyxy = np.fromiter(chain.from_iterable(corners), np.float64).reshape(-1, 4)
    boxes = Boxes(
        file,
        name,
        CodedColumn(image_ids.values, np.concatenate(images)),
        CodedColumn(category_ids.values, np.concatenate(categories)),
        np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], 1),
        np.array(scores, dtype=np.float64),
        np.array(crowd, dtype=bool),
    )
    return boxes, np.array(sizes, dtype=np.float64).reshape(-1, 2)


def _sizes_of_masks(
    boxes: Boxes, owners: np.ndarray, sizes: np.ndarray | None, stated: np.ndarray, number: int
) -> tuple[np.ndarray | None, np.ndarray]:
    """Sizes (E, 2) of images: as the file states them, which masks must agree with, or as masks do.

    Args:
        owners: (N,) index of each row's image.
        sizes: (E, 2) as the file states them, or None.
        stated: (N, 2) as each row's mask states them, 0, 0 where it states none.
        number: E images.

    Returns:
        The sizes, None where neither states them all; and the indices of those images whose width
        and height are exchanged in the file, as all of their masks say.
    """
    rows = np.flatnonzero(stated[:, 0] > 0)
    exchanged = np.zeros(number, dtype=bool)
    if sizes is None:
        if len(rows) < np.count_nonzero(~boxes.crowd) or not len(rows):
            return None, np.flatnonzero(exchanged)
        sizes = np.ones((number, 2))  # of images without boxes, which no one looks at
        sizes[owners[rows]] = stated[rows]
    else:
        turned = (stated[rows] == sizes[owners[rows], ::-1]).all(1)
        exchanged[owners[rows]] = True
        exchanged[owners[rows[~turned]]] = False
        exchanged &= sizes[:, 0] != sizes[:, 1]
        sizes = np.where(exchanged[:, None], sizes[:, ::-1], sizes)
    other = (stated[rows] != sizes[owners[rows]]).any(1)
    if other.any():
        row = int(rows[np.argmax(other)])
        width, height = sizes[owners[row]].tolist()
        raise boxes.file.error(
            boxes.name,
            row,
            f'"segmentation" of the size of its image and its other masks, [{height:g}, {width:g}]',
            stated[row, ::-1].tolist(),
        )
    return sizes, np.flatnonzero(exchanged)


def _read_images(file: CocoFile) -> tuple[list[str], np.ndarray | None, dict[Id, int]]:
    """Keys (E,), stated sizes (E, 2) or None, and image id -> index."""
    images, index = file.images(Image)
    keys = [
        path_key(image.path, f"{file.entry('images', number)}: file_name")
        for number, image in enumerate(images)
    ]
    sizes = np.array([image.size for image in images], dtype=np.float64).reshape(-1, 2)
    stated = sizes[:, 0] > 0
    if not stated.any():
        return keys, None, index
    if not stated.all():
        expected = (
            "width and height > 0, as other images have (where no image has them, boxes are pixels "
            "of the original images)"
        )
        first = int(np.argmin(stated))
        raise file.error("images", first, expected, to_builtins(images[first]))
    return keys, sizes, index


def _of_category(boxes: Boxes, category_id: int | str | None) -> np.ndarray:
    """Whether each box (N,) is of the category asked for."""
    if category_id == "all":
        return np.ones(len(boxes.xywh), dtype=bool)
    if category_id is not None:
        chosen = np.array([category == category_id for category in boxes.category_ids], dtype=bool)
        if len(chosen) and not chosen.any():
            raise InputError(
                f"{boxes.file.path}: category_id {shown(category_id)}: no box is of that category; "
                f"they are of {some(map(shown, dict.fromkeys(boxes.category_ids)))}"
            )
        return chosen
    categories = {
        category: None
        for category, is_crowd in zip(boxes.category_ids, boxes.crowd.tolist(), strict=True)
        if not is_crowd
    }
    if len(categories) > 1:
        raise InputError(
            f"{boxes.file.path}: holds boxes of {len(categories)} categories "
            f"({some(map(shown, categories))}), expected one; choose one with category_id, or "
            f"category_id: all"
        )
    return np.ones(len(boxes.xywh), dtype=bool)
