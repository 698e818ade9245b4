"""A folder of any images as a data set: what ``--images`` names."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path

from wend.errors import MissingFileError
from wend.files import expand_user
from wend.formats.folder import load_folder
from wend.images.opening import NAMES
from wend.images.paths import find_images, outside
from wend.images.sizes import SizeReader
from wend.structures.data_set import DataSet
from wend.structures.records import EXIF

# photographs that people have and that are not read; raw ones of cameras last
UNREAD = frozenset(
    ".heic .heif .avif .jxl .jp2 .jfif .jpe .psd .dng .cr2 .cr3 .nef .arw .raf .orf .rw2".split()
)
logger = logging.getLogger(__name__)


def read_image_folder(
    folder: str, output: str, exif: str | None, max_megapixels: float, *, keep_unreadable: bool
) -> DataSet:
    """All images below a folder, but for those in the output; no image has a class.

    Args:
        exif: as in a data set's declaration; None: not said, so that images are taken as stored,
            and it is said where that matters.
        keep_unreadable: images whose header cannot be read are in ``DataSet.unreadable``, not an
            error.

    Raises:
        InputError: there is no such folder, or no image, or one cannot be read.
    """
    root = expand_user(folder)
    if not root.is_dir():
        there = "is a file" if root.exists() else "there is no such folder"
        raise MissingFileError(f"--images {folder}: {there}; expected a folder of images")
    names, others = find_images(root)
    paths = outside(names, root, Path(output))
    counts = ", ".join(f"{number} {ending}" for ending, number in sorted(others.items()))
    if not paths:
        raise MissingFileError(
            f"--images {folder}: there is no image ({NAMES}, by the ending of its name)"
            + (f", but other files: {counts}" if others else "")
            + _conversion(others)
        )
    if others:
        logger.info("%s: other files, passed over: %s", folder, counts)
    if len(paths) < len(names):
        logger.info("%s: %d images in %s, passed over", folder, len(names) - len(paths), output)
    unread = _conversion(others)
    if unread:
        logger.warning("%s%s", folder, unread)
    reader = SizeReader(keep_unreadable=keep_unreadable, exif=exif or EXIF[0])
    data_set = load_folder(root, classes="none", sizes=reader, paths=paths)
    data_set = replace(data_set, exif=reader.exif, max_megapixels=max_megapixels)
    if exif is None:
        _say_turned(folder, data_set)
    return data_set


def _conversion(others: Counter[str]) -> str:
    """What to do about photographs of other formats; empty where there are none."""
    unread = sum(number for ending, number in others.items() if ending in UNREAD)
    if not unread:
        return ""
    return (
        f": {unread} photographs are of formats that are not read; convert them to JPEG first, "
        f"such as by ImageMagick: magick mogrify -auto-orient -format jpg *.heic"
    )


def _say_turned(folder: str, data_set: DataSet) -> None:
    """Log that images are turned by EXIF where nobody said what to do about it."""
    from wend.reports.boxes_numbers import exif_numbers

    numbers = exif_numbers(data_set)
    if numbers["turned"]:
        logger.warning(
            "%s: EXIF turns %d of %d images, which are taken as stored, so that their boxes lie "
            "otherwise than viewers, Detectron2 and wend auto show them: --exif apply turns them, "
            "--exif ignore says that it is meant",
            *(folder, numbers["turned"], numbers["looked_at"]),
        )
