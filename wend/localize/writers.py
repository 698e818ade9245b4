"""Files of the boxes of ``wend pseudo-boxes``: C2AM's layout and COCO's JSON.

``<output>/<split>/pseudo_boxes/<i>_0_bbox.json`` hold ``{"wend/<split>/<class>/<image>": [x, y, w,
h]}`` in fractions of the image, as C2AM (e6a46c9, WSOL/utils.py:202-222) has them;
``<output>/<split>/pseudo_boxes.json`` is a COCO data set with a score for each box, in original
pixels, and says in ``info`` how it was made. Both appear whole or not at all.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wend.errors import InputError
from wend.files import read_json, remove_unfinished, whole_folder, write_json
from wend.formats.coco import to_coco
from wend.localize.boxes import FoundBox
from wend.partial import differences
from wend.structures.box_table import BoxTable
from wend.structures.boxes import xyxy_to_xywh
from wend.structures.data_set import DataSet
from wend.structures.records import image_key

BOXES_PER_FILE = 512
DESCRIPTION = "boxes found without box labels, written by WEND"
FoundBoxes = Mapping[str, Sequence[FoundBox]]  # key -> an image's boxes
logger = logging.getLogger(__name__)


def output_paths(output: str | Path, split: str) -> tuple[Path, Path]:
    """The folder in C2AM's layout and the COCO JSON."""
    folder = Path(output) / split
    return folder / "pseudo_boxes", folder / "pseudo_boxes.json"


def cost_path(output: str | Path, split: str) -> Path:
    """What the boxes cost, which differs from run to run, as the boxes do not."""
    return Path(output) / split / "cost.json"


def page_path(output: str | Path, split: str) -> Path:
    """The page of pictures."""
    return Path(output) / split / "pseudo_boxes.html"


def found_table(data_set: DataSet, found_boxes: FoundBoxes) -> BoxTable:
    """Boxes by the images' keys as a table of a data set's images, in original pixels, scored."""
    counts = [len(found_boxes.get(key, ())) for key in data_set.keys]
    rows = _in_order(data_set, found_boxes)
    fractions = np.array([row.box for row in rows], dtype=np.float64).reshape(-1, 4)
    scores = np.array([row.score for row in rows], dtype=np.float64)
    images = np.repeat(np.arange(len(data_set)), counts)
    boxes = fractions * np.tile(data_set.sizes, 2)[images]
    return BoxTable.from_rows(images, boxes, scores, len(data_set))


def _in_order(data_set: DataSet, found_boxes: FoundBoxes) -> list[FoundBox]:
    """The boxes of all images one after the other; those of an image have falling scores."""
    return [
        located
        for key in data_set.keys
        for located in sorted(found_boxes.get(key, ()), key=lambda each: -each.score)
    ]


def _to_coco(data_set: DataSet, found_boxes: FoundBoxes, settings: dict[str, Any]) -> dict:
    """All images with their boxes and scores; ``"whole_image": true`` where nothing was found.

    ``"unrefined": true`` where a refinement was not taken.

    An image whose header cannot be read is not among them: it has no size.
    """
    if data_set.unreadable:
        data_set = data_set.take(np.setdiff1d(np.arange(len(data_set)), list(data_set.unreadable)))
    info = {"description": DESCRIPTION, "settings": settings}
    content = to_coco(data_set, found_table(data_set, found_boxes), info)
    rows = _in_order(data_set, found_boxes)
    for annotation, row in zip(content["annotations"], rows, strict=True):
        if row.whole_image:
            annotation["whole_image"] = True
        if row.unrefined:
            annotation["unrefined"] = True
    return content


def _c2am_path(split: str, key: str) -> str:
    return f"wend/{split}/{key}"


def unfit_for_c2am(keys: Sequence[str], split: str, boxes_per_image: int) -> str:
    """Why C2AM's layout cannot hold the boxes; empty where it can.

    Args:
        boxes_per_image: that an image may have.
    """
    if boxes_per_image > 1:
        return "C2AM's files hold one box per image"
    if len({image_key(_c2am_path(split, key)) for key in keys}) < len(keys):
        return (
            f"C2AM's files name an image by its folder and file name, which some of the "
            f"{len(keys)} images share"
        )
    return ""


def write_boxes(
    output: str | Path,
    split: str,
    data_set: DataSet,
    found_boxes: FoundBoxes,
    settings: dict[str, Any],
    boxes_per_image: int = 1,
) -> list[Path]:
    """Write both forms; C2AM's only where it can hold the boxes (:func:`unfit_for_c2am`).

    Args:
        found_boxes: key -> boxes; an image without one is listed in the COCO JSON only.
        settings: how the boxes were made, JSON values.
        boxes_per_image: that an image may have.

    Returns:
        What was written.
    """
    folder, coco = output_paths(output, split)
    remove_unfinished(coco)
    write_json(coco, _to_coco(data_set, found_boxes, settings))
    unfit = unfit_for_c2am(data_set.keys, split, boxes_per_image)
    if unfit:
        logger.warning("%s: not written: %s; use %s", folder, unfit, coco)
        return [coco]
    fractions = np.array([row.box for (row,) in found_boxes.values()]).reshape(-1, 4)
    paths = [_c2am_path(split, key) for key in found_boxes]
    rows = list(zip(paths, xyxy_to_xywh(fractions).tolist(), strict=True))
    with whole_folder(folder) as unfinished:
        for start in range(0, len(rows), BOXES_PER_FILE):
            file = unfinished / f"{start // BOXES_PER_FILE}_0_bbox.json"
            write_json(file, dict(rows[start : start + BOXES_PER_FILE]))
    return [coco, folder]


def is_done(
    output: str | Path,
    split: str,
    keys: Sequence[str],
    settings: dict[str, Any],
) -> bool:
    """Whether the output of the images of these keys is there already, from the same settings.

    Raises:
        InputError: something is there that was made otherwise.
    """
    folder, coco = output_paths(output, split)
    advice = "name another --output or remove it"
    if not coco.exists():
        if folder.exists():
            raise InputError(f"{folder}: is there already, and {coco} is not beside it; {advice}")
        return False
    content = read_json(coco, "boxes written by wend pseudo-boxes")
    info = content.get("info") if isinstance(content, dict) else None
    old = info.get("settings") if isinstance(info, dict) else None
    if not isinstance(old, dict):
        raise InputError(f"{coco}: is there already, not from wend pseudo-boxes; {advice}")
    if old != settings:
        raise InputError(
            f"{coco}: is there already, made with other settings ({differences(old, settings)}); "
            f"{advice}"
        )
    return folder.exists() or bool(unfit_for_c2am(keys, split, settings.get("boxes", 1)))
