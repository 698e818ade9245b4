"""The boxes of all images, of what shards did: ``wend boxes merge``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wend import __version__
from wend.errors import InputError
from wend.localize.found import FORMAT, LEFTOVERS, from_row, part_folder
from wend.localize.whole import write_whole
from wend.localize.writers import is_done
from wend.partial import differences
from wend.parts import Parts
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet


def parts_to_merge(output: str | Path, split: str) -> Parts:
    """The parts of a method's unfinished run, whatever the settings that they share.

    Raises:
        InputError: there are none, or another version made them.
    """
    folder = part_folder(output, split)
    place = Path(output) / split
    parts: Parts = Parts.of_folder(
        *(place, folder, FORMAT, from_row, LEFTOVERS), doing="wend boxes merge"
    )
    made_by = parts.settings["versions"]["wend"]
    if made_by != __version__:
        raise InputError(
            f"{folder}: was made by WEND {made_by}, this is {__version__}; merge with that version"
        )
    return parts


def check_images(parts: Parts, images: Mapping[str, Any]) -> None:
    """Raise InputError unless parts are of images.

    Args:
        images: they in words, as of :func:`wend.localize.whole.describe_images`.
    """
    changed = differences({key: parts.settings.get(key) for key in images}, dict(images))
    if changed:
        raise InputError(f"{parts.folder}: is of other images ({changed})")


def merge_parts(parts: Parts, data_set: DataSet, output: str | Path, split: str) -> BoxTable:
    """Write the boxes of all images; returns them, in original pixels, scored.

    Raises:
        InputError: images are missing, or the whole is there already.
    """
    with parts:
        if is_done(output, split, data_set.keys, parts.settings):
            raise InputError(f"{output}: is there already, whole; {parts.folder} can be removed")
        return write_whole(output, split, data_set, parts)
