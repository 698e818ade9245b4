"""The boxes of all images, of the parts that processes have made: the end of every run."""

from __future__ import annotations

import logging
import os
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from wend.errors import InputError, some
from wend.files import is_plain_name, write_json
from wend.localize.cost import total
from wend.localize.found import BOXES_STEP
from wend.localize.refine.refinement import LEAST_IOU
from wend.localize.signs import settle
from wend.localize.writers import cost_path, found_table, write_boxes
from wend.parts import Parts, digest_of_keys
from wend.structures.box_table import BoxTable
from wend.structures.boxes import paired_iou
from wend.structures.data_set import DataSet

logger = logging.getLogger(__name__)


def check_split(split: str) -> None:
    """Raise InputError unless it can be a folder's name."""
    if not is_plain_name(split):
        raise InputError(f"--split: expected a folder's name such as train, got {split!r}")


def describe_images(data_set: DataSet, dataset: str | None, folder: str | None) -> dict[str, Any]:
    """The images as settings, their names as a digest, so that a resumed run has the same ones.

    Args:
        dataset, folder: the data set's name, or the folder of the images.
    """
    source = (
        {"dataset": dataset} if dataset else {"images": Path(os.path.abspath(folder or "")).name}
    )
    turned = {} if data_set.exif == "ignore" else {"exif": data_set.exif}
    return source | {
        "num_images": len(data_set),
        "keys_sha256": digest_of_keys(data_set.keys),
        **turned,
    }


def write_whole(output: str | Path, split: str, data_set: DataSet, parts: Parts) -> BoxTable:
    """Write the boxes, remove the parts, and log how many there are and are right, and their cost.

    Returns:
        The boxes of the data set's images, in original pixels, scored.

    Raises:
        InputError: the parts do not hold all images, or none could be read.
    """
    settings = parts.settings
    parts.of_all(data_set.keys, BOXES_STEP)
    done = settle(parts.done, settings.get("sign", ""))
    rows = {key: done[key] for key in data_set.keys}
    errors = [message for message in rows.values() if isinstance(message, str)]
    found_boxes = {key: row for key, row in rows.items() if not isinstance(row, str)}
    if not found_boxes:
        raise InputError(f"none of {len(rows)} images could be read ({some(errors, 1)})")
    boxes_per_image = settings.get("boxes", 1)
    cost = total(parts.done.values())
    write_json(cost_path(output, split), cost.as_json(), indent=1)
    for path in write_boxes(output, split, data_set, found_boxes, settings, boxes_per_image):
        logger.info("written: %s", path)
    parts.remove()
    located = list(chain.from_iterable(found_boxes.values()))
    whole = sum(box.whole_image for box in located)
    logger.info(
        "%d images: %d boxes, of which %d are the whole image because nothing was found; %d images "
        "could not be read",
        *(len(rows), len(located), whole, len(errors)),
    )
    if "refine" in settings:
        unrefined = sum(box.unrefined for box in located)
        logger.info(
            "%s: %d boxes are of refined regions; %d are not, since theirs would be empty, or have "
            "an IoU below %g with what they were",
            *(settings["refine"], len(located) - whole - unrefined, unrefined, LEAST_IOU),
        )
    if errors:
        logger.warning("left out: %s", some(errors, 20))
    boxes = found_table(data_set, found_boxes)
    _log_accuracy(data_set, boxes)
    if cost.images:
        logger.info("cost: %s", cost.in_words())
    return boxes


def _log_accuracy(data_set: DataSet, boxes: BoxTable) -> None:
    """Log how many boxes are right, where the truth is known; at most one box per image."""
    known = data_set.truth.with_boxes
    if not len(known):
        return
    best = np.zeros(len(data_set))  # of the true boxes; 0 where no box was found
    owner = data_set.truth.owner
    paired = boxes.counts[owner] > 0
    iou = paired_iou(boxes.boxes[boxes.offsets[owner[paired]]], data_set.truth.boxes[paired])
    np.maximum.at(best, owner[paired], iou)
    logger.info(
        "%.1f %% of the %d images with known truth have a box with IoU > 0.5 (mean IoU %.3f)",
        100 * np.mean(best[known] > 0.5),
        len(known),
        np.mean(best[known]),
    )
