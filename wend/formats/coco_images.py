"""The images that a COCO JSON lists, below a folder, with its boxes as truth."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from wend.errors import BadImageError, InputError, MissingImageError, some
from wend.formats.coco import read_coco_truth
from wend.formats.listed_files import find_files_of
from wend.images.paths import require_folder
from wend.images.sizes import SizeReader
from wend.structures.data_set import DataSet, unreadable_error

logger = logging.getLogger(__name__)
MISSING = ("error", "skip")


def load_coco_images(
    images: str | Path,
    annotations: str | Path,
    classes: str = "auto",
    missing_images: str = "error",
    sizes: SizeReader | None = None,
) -> DataSet:
    """Read the images that a COCO JSON lists, with its boxes as truth.

    Args:
        images: folder below which its images lie. A ``file_name`` that is not a path there finds
            its file as a pseudo box finds its image: :func:`wend.structures.names.match_names`.
        annotations: the JSON.
        classes: "auto" or "none", as of :func:`wend.formats.coco.read_coco_truth`.
        missing_images: "error", or "skip" the images whose files are not there.
        sizes: reads the headers of images whose size the JSON does not state.

    Returns:
        Images in the JSON's order; ``key`` is the path below the folder.

    Raises:
        MissingFileError, InputError: not COCO's JSON, an image that is not there (with a
            ``SizeReader`` that keeps unreadable images it is one of these), two entries of one
            file, or none of the images is there.
    """
    if missing_images not in MISSING:
        raise InputError(
            f"missing_images must be one of {', '.join(MISSING)}, got {missing_images!r}"
        )
    root = require_folder(images, "the images of the COCO JSON")
    listed, reader = read_coco_truth(annotations, classes), sizes or SizeReader()
    names = listed.file_names
    located = find_files_of(annotations, names, root)
    absent = [row for row, path in enumerate(located) if path is None]
    errors: list[BadImageError] = [
        MissingImageError(f"{root / names[row]}: there is no such image file") for row in absent
    ]
    skip = missing_images == "skip" and len(absent) < len(names)
    if absent and not skip and not reader.keep_unreadable:
        raise unreadable_error(errors, len(names))
    unreadable = dict(zip(absent, errors, strict=True))
    paths = [name if path is None else path for name, path in zip(names, located, strict=True)]
    files = [str(root / path) for path in paths]
    image_sizes = listed.sizes.copy()
    image_sizes[absent] = 0
    unknown = np.flatnonzero(image_sizes[:, 0] == 0)
    unknown = unknown[np.isin(unknown, absent, invert=True)]
    if len(unknown):
        logger.info(
            "%s: sizes of %d of %d images are not stated (%s); read from their headers",
            *(annotations, len(unknown), len(names), some(names[row] for row in unknown.tolist())),
        )
        task = f"{root.name}: image sizes"
        image_sizes[unknown], bad = reader.read([files[row] for row in unknown.tolist()], task)
        unreadable |= {int(unknown[i]): error for i, error in bad.items()}
    data_set = replace(
        listed,
        file_names=files,
        keys=paths,
        sizes=image_sizes,
        files=(),
        unreadable=unreadable,
    )
    logger.info("%s: %d images", annotations, len(names))
    if not absent or not skip:
        return data_set
    logger.warning(
        "%s: %d of %d images are not below %s and are skipped (%s)",
        *(annotations, len(absent), len(names), root, some(names[row] for row in absent)),
    )
    return data_set.take(np.setdiff1d(np.arange(len(names)), absent))
