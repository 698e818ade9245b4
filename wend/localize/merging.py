"""The boxes of all images, of what shards did: ``wend boxes merge``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wend import __version__
from wend.errors import InputError
from wend.localize.found import BOXES_STEP, FORMAT, LEFTOVERS, from_row, part_folder
from wend.localize.whole import write_whole
from wend.localize.writers import is_done
from wend.partial import differences
from wend.parts import Parts
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet


@dataclass(frozen=True)
class Unmerged:
    """What shards of a method have done.

    Attributes:
        parts: whose settings are those that the shards share.
        output, split: where the whole belongs.
    """

    parts: Parts
    output: Path
    split: str

    @classmethod
    def read(cls, output: str | Path, split: str) -> Unmerged:
        """Read the parts of an unfinished run.

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
                f"{folder}: was made by WEND {made_by}, this is {__version__}; merge with that "
                f"version"
            )
        return cls(parts, Path(output), split)

    def check(self, data_set: DataSet, images: Mapping[str, Any]) -> None:
        """Raise InputError unless all boxes of the images are there, and the whole is not."""
        parts = self.parts
        check_images(parts.folder, parts.settings, images)
        if is_done(self.output, self.split, data_set.keys, parts.settings):
            raise InputError(
                f"{self.output}: is there already, whole; {parts.folder} can be removed"
            )
        parts.of_all(data_set.keys, BOXES_STEP)


def check_images(folder: Path, settings: Mapping[str, Any], images: Mapping[str, Any]) -> None:
    """Raise InputError unless the settings of what a folder holds are of these images."""
    changed = differences({key: settings.get(key) for key in images}, dict(images))
    if changed:
        raise InputError(f"{folder}: is of other images ({changed})")


def merge(
    methods: Sequence[Unmerged], data_set: DataSet, images: Mapping[str, Any]
) -> list[BoxTable]:
    """Write the boxes of all images by each method, or none where any is not done.

    Args:
        images: they in words, as of :func:`wend.localize.whole.describe_images`.

    Returns:
        The boxes of each method, in original pixels, scored.

    Raises:
        InputError: boxes are missing or of other images, or a whole is there already.
    """
    with ExitStack() as stack:
        for method in methods:
            stack.enter_context(method.parts)
        for method in methods:
            method.check(data_set, images)
        return [write_whole(m.output, m.split, data_set, m.parts) for m in methods]
