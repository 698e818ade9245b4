"""Found boxes as files: C2AM's layout and COCO's JSON.

``<output>/<split>/pseudo_boxes/<i>_0_bbox.json`` hold ``{"wend/<split>/<class>/<image>": [x, y, w,
h]}`` in fractions of the image, as C2AM (e6a46c9, WSOL/utils.py:202-222) has them;
``<output>/<split>/pseudo_boxes.json`` is a COCO data set with a score for each box, in original
pixels, and says in ``info`` how it was made. Both appear whole or not at all.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wend.errors import InputError
from wend.files import read_json, write_json
from wend.formats.coco import CATEGORY_ID, CATEGORY_NAME
from wend.localize.boxes import FoundBox
from wend.partial import differences
from wend.structures.records import ImageRecord, image_key

BOXES_PER_FILE = 512
DESCRIPTION = "boxes found without box labels, written by WEND"
logger = logging.getLogger(__name__)


def output_paths(output: str | Path, split: str) -> tuple[Path, Path]:
    """The folder in C2AM's layout and the COCO JSON."""
    folder = Path(output) / split
    return folder / "pseudo_boxes", folder / "pseudo_boxes.json"


def _xywh(box: Sequence[float]) -> list[float]:
    x0, y0, x1, y1 = box
    return [x0, y0, x1 - x0, y1 - y0]


def to_coco(
    records: Sequence[ImageRecord], found: Mapping[str, FoundBox], settings: dict[str, Any]
) -> dict:
    """All images, and one box with its score for each that has one, in original pixels.

    A box that is the whole image for want of another has ``"whole_image": true``.
    """
    images, annotations = [], []
    for record in records:
        image = {"id": record.image_id, "file_name": record.key}
        image |= {"width": record.width, "height": record.height}
        if record.class_id is not None:
            image["class_id"] = int(record.class_id)
        images.append(image)
        one = found.get(record.key)
        if one is None:
            continue
        scale = (record.width, record.height, record.width, record.height)
        xywh = _xywh([fraction * size for fraction, size in zip(one.box, scale, strict=True)])
        row = {"id": len(annotations) + 1, "image_id": record.image_id, "category_id": CATEGORY_ID}
        row |= {"bbox": xywh, "area": xywh[2] * xywh[3], "iscrowd": 0, "score": one.score}
        annotations.append(row | ({"whole_image": True} if one.whole_image else {}))
    categories = [{"id": CATEGORY_ID, "name": CATEGORY_NAME}]
    info = {"description": DESCRIPTION, "settings": settings}
    return {"info": info, "images": images, "annotations": annotations, "categories": categories}


def _c2am_path(split: str, key: str) -> str:
    return f"wend/{split}/{key}"


def fits_c2am(records: Sequence[ImageRecord], split: str) -> bool:
    """Whether folder and file name, all that C2AM's readers look at, tell the images apart."""
    return len({image_key(_c2am_path(split, r.key)) for r in records}) == len(records)


def write_boxes(
    output: str | Path,
    split: str,
    records: Sequence[ImageRecord],
    found: Mapping[str, FoundBox],
    settings: dict[str, Any],
) -> list[Path]:
    """Write both forms; C2AM's only where it can tell the images apart (:func:`fits_c2am`).

    Args:
        found: key -> box; an image without one is listed in the COCO JSON only.
        settings: how the boxes were made, JSON values.

    Returns:
        What was written.
    """
    folder, coco = output_paths(output, split)
    write_json(coco, to_coco(records, found, settings))
    if not fits_c2am(records, split):
        logger.warning(
            "%s: not written: C2AM's files name an image by its folder and file name, which some "
            "of the %d images share; use %s",
            folder,
            len(records),
            coco,
        )
        return [coco]
    rows = [(_c2am_path(split, key), _xywh(one.box)) for key, one in found.items()]
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        for start in range(0, len(rows), BOXES_PER_FILE):
            file = unfinished / f"{start // BOXES_PER_FILE}_0_bbox.json"
            write_json(file, dict(rows[start : start + BOXES_PER_FILE]))
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)  # only there after a failure
    return [coco, folder]


def is_done(
    output: str | Path, split: str, records: Sequence[ImageRecord], settings: dict[str, Any]
) -> bool:
    """Whether the output is there already, from the same settings.

    Raises:
        InputError: something is there that was made otherwise.
    """
    folder, coco = output_paths(output, split)
    advice = "name another --output or remove it"
    if not coco.exists():
        if folder.exists():
            raise InputError(f"{folder}: is there already, and {coco} is not beside it; {advice}")
        return False
    there = read_json(coco, "boxes written by wend pseudo-boxes")
    info = there.get("info") if isinstance(there, dict) else None
    old = info.get("settings") if isinstance(info, dict) else None
    if not isinstance(old, dict):
        raise InputError(f"{coco}: is there already, not from wend pseudo-boxes; {advice}")
    if old != settings:
        raise InputError(
            f"{coco}: is there already, made with other settings ({differences(old, settings)}); "
            f"{advice}"
        )
    return folder.exists() or not fits_c2am(records, split)
