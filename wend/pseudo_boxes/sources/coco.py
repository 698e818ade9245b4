"""Boxes in COCO's JSON: CutLER's and MaskCut's data sets, detectors' results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from msgspec import to_builtins

from wend.errors import InputError, shown, some
from wend.formats.coco_json import DATA_SET, RESULTS, Boxes, CocoFile, Id, Image
from wend.pseudo_boxes.keys import path_key
from wend.pseudo_boxes.registry import box_source
from wend.pseudo_boxes.report import Count
from wend.pseudo_boxes.source_boxes import PseudoBoxes
from wend.structures.boxes import xywh_to_xyxy


@box_source("coco")
def read_coco(
    path: str | Path, images: str | Path | None = None, category_id: int | str | None = None
) -> PseudoBoxes:
    """Read boxes in COCO's JSON: a data set (CutLER's, MaskCut's), or a detector's results.

    Frame: pixels of the size that the JSON states for the image, which may differ from the file's
    (MaskCut's boxes may be of a resized copy), so they become fractions by that size. Images
    without stated sizes: pixels of the original image. Several boxes per image; ``score`` is kept,
    best first. Images come by ``file_name``; ``segmentation`` is not read.

    Args:
        path: a data set ``{"images", "annotations"}``, or a list of results.
        images: of results whose ``image_id`` are numbers: the COCO JSON that has their images.
            Text ids are taken as paths.
        category_id: the category to take, or "all"; by default there may be only one.

    Raises:
        MissingFileError, InputError: not there, or an entry is malformed; the message names it.
    """
    file = CocoFile.open(path, f"{DATA_SET} or {RESULTS}")
    if file.has_list("annotations") and file.has_list("images"):
        boxes, listed = file.boxes("annotations"), file
    elif file.is_list:
        boxes, listed = file.boxes(""), None
        if images is not None:
            listed = CocoFile.open(images, DATA_SET)
            if not listed.has_list("images"):
                raise InputError(f"{images}: expected {DATA_SET}, got no images")
        elif not all(isinstance(image_id, str) for image_id in boxes.image_ids.values):
            raise InputError(
                f"{path}: its image_id are numbers; name the COCO JSON that has the images: "
                f"images: <file>"
            )
    else:
        raise InputError(f"{path}: expected {DATA_SET} or {RESULTS}, got another JSON value")
    if listed is not None:
        keys, sizes, index = _read_images(listed)
    else:
        index = {name: i for i, name in enumerate(boxes.image_ids.values)}
        keys, sizes = [path_key(name, f"{path}: image_id") for name in index], None
    owners = boxes.owners(index)
    rows = np.flatnonzero(~boxes.crowd & _of_category(boxes, category_id))
    unscored = np.isnan(boxes.scores[rows])
    if unscored.any() and not unscored.all():
        raise boxes.file.error(
            boxes.name,
            int(rows[np.argmax(unscored)]),
            '"score": a finite number, as other boxes have',
            None,
        )
    rows = rows[np.argsort(owners[rows], kind="stable")]
    corners = xywh_to_xyxy(boxes.xywh[rows])
    if sizes is not None:
        with np.errstate(over="ignore"):  # from_entries refuses what is infinite
            corners /= np.tile(sizes, 2)[owners[rows]]
    crowds = int(boxes.crowd.sum())
    return PseudoBoxes.from_entries(
        str(path),
        "pixel" if sizes is None else "fraction",
        keys,
        np.bincount(owners[rows], minlength=len(keys)),
        corners,
        None if unscored.all() else boxes.scores[rows],
        sizes,
        {"crowd": Count(crowds)} if crowds else {},
    )


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
