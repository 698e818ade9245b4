"""Pseudo boxes: files of a method that finds boxes without box labels -> boxes of our records.

A reader returns :class:`PseudoBoxes`, keyed by ``<class folder>/<file name>``, in the frame that
its files use; :func:`attach_pseudo_boxes` takes them to original pixels and counts what happened.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from wend.boxes import xywh_to_xyxy
from wend.errors import InputError, MissingFileError, some
from wend.files import is_number, read_json
from wend.records import ImageRecord, image_key

logger = logging.getLogger(__name__)
TOLERANCE = 1e-5  # of the image: rounding of x + w by the writer, not a box outside


@dataclass(frozen=True)
class PseudoBoxes:
    """Boxes of many images as a reader found them.

    Attributes:
        source: folder or file they come from.
        boxes: ``<class folder>/<file name>`` -> (P, 4) xyxy, fractions of the image's size.
        num_dropped: boxes without area, left out ("nothing found" of C2AM is ``[1/30,1/30,0,0]``).
        num_repeated: further boxes for an image with the same values, left out.
        num_conflicting: further boxes for an image with other values; the last one read counts.
    """

    source: str
    boxes: dict[str, np.ndarray]
    num_dropped: int = 0
    num_repeated: int = 0
    num_conflicting: int = 0


@dataclass(frozen=True)
class AttachReport:
    """What became of a source's boxes.

    Attributes:
        matched: images with a pseudo box.
        missing: images without one.
        surplus: images of the source that the data set does not have.
        dropped, repeated, conflicting: see :class:`PseudoBoxes`.
    """

    source: str
    matched: int
    missing: int
    surplus: int
    dropped: int
    repeated: int
    conflicting: int

    def __str__(self) -> str:
        return (
            f"{self.source}: {self.matched} images matched, {self.missing} images without a pseudo "
            f"box, {self.surplus} boxes without an image, {self.dropped} boxes without area "
            f"dropped, {self.repeated} repeated, {self.conflicting} conflicting"
        )


class _Pairs(list):
    """A JSON object as its (key, value) pairs, so that a key that stands there twice is seen."""


def _natural(path: Path) -> list:
    """Sort key: ``2_0_bbox.json`` before ``10_0_bbox.json``."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)]


def _fraction_box(value: object, where: str) -> np.ndarray:
    """Check C2AM's ``[x, y, w, h]`` and return it as xyxy within 0..1."""
    if not (isinstance(value, list) and len(value) == 4 and all(map(is_number, value))):
        raise InputError(f"{where}: expected four finite numbers [x, y, w, h], got {value!r}")
    box = xywh_to_xyxy(np.array(value, dtype=np.float64))
    if min(value[2:]) < 0 or box.min() < -TOLERANCE or box.max() > 1 + TOLERANCE:
        raise InputError(
            f"{where}: box [x, y, w, h] = {value} leaves 0..1; C2AM's boxes are fractions of the "
            f"image's width and height. Are these pixels, or another source's file?"
        )
    return box.clip(0, 1)


def read_c2am(folder: str | Path) -> PseudoBoxes:
    """Read C2AM's ``pseudo_boxes`` folder: many ``<i>_<rank>_bbox.json``.

    Each file is one object: key = the image's path on the machine that wrote it, value =
    ``[x, y, w, h]`` as fractions of the whole image (C2AM e6a46c9, WSOL/utils.py:202-222).

    Raises:
        MissingFileError: no folder, or no such file in it.
        InputError: a file is no whole JSON object, or a value is no box within 0..1.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MissingFileError(
            f"{folder}: there is no such folder; expected C2AM's pseudo boxes (*_bbox.json) there"
        )
    files = sorted(folder.glob("*.json"), key=_natural)
    if not files:
        raise MissingFileError(f"{folder}: holds no *.json; expected C2AM's *_bbox.json files")
    boxes: dict[str, np.ndarray] = {}
    dropped = repeated = conflicting = 0
    what = 'an object {"<path>/<class>/<image>": [x, y, w, h]}'
    for file in tqdm(files, desc="pseudo boxes", unit="file", leave=False, disable=None):
        pairs = read_json(file, what, object_pairs_hook=_Pairs)
        if not isinstance(pairs, _Pairs):
            raise InputError(f"{file}: expected {what}, got another JSON value; is it C2AM's file?")
        for path, value in pairs:
            key = image_key(path)
            if "/" not in key or ".." in key.split("/"):
                raise InputError(f"{file}: key {path!r}: expected a path .../<class>/<image>")
            box = _fraction_box(value, f"{file}: key {path!r}")
            if (box[2:] <= box[:2]).any():
                dropped += 1
                continue
            if key in boxes:
                same = np.array_equal(boxes[key][0], box)
                repeated += same
                conflicting += not same
            boxes[key] = box[None]
    return PseudoBoxes(str(folder), boxes, dropped, int(repeated), int(conflicting))


def attach_pseudo_boxes(
    records: Sequence[ImageRecord], pseudo_boxes: PseudoBoxes
) -> tuple[list[ImageRecord], AttachReport]:
    """Give each record its pseudo boxes, in original pixels, and log the counts.

    Raises:
        InputError: two records share a key, or no record has a box.
    """
    by_key = {record.key: record for record in records}
    if len(by_key) != len(records):
        raise InputError(
            f"{len(records) - len(by_key)} images share class folder and file name with another "
            f"one; pseudo boxes could not be told apart"
        )
    attached = []
    for record in records:
        fractions = pseudo_boxes.boxes.get(record.key, np.zeros((0, 4)))
        scale = [record.width, record.height, record.width, record.height]
        attached.append(replace(record, pseudo_boxes=fractions * scale))
    matched = sum(1 for record in attached if len(record.pseudo_boxes))
    report = AttachReport(
        source=pseudo_boxes.source,
        matched=matched,
        missing=len(records) - matched,
        surplus=sum(1 for key in pseudo_boxes.boxes if key not in by_key),
        dropped=pseudo_boxes.num_dropped,
        repeated=pseudo_boxes.num_repeated,
        conflicting=pseudo_boxes.num_conflicting,
    )
    if not matched:
        raise InputError(
            f"{pseudo_boxes.source}: none of its {len(pseudo_boxes.boxes)} images "
            f"({some(pseudo_boxes.boxes, 2)}) is one of the data set's {len(records)} "
            f"({some(by_key, 2)}); are they of another data set or split?"
        )
    logger.info("%s", report)
    return attached, report
