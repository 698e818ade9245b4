"""The mask files of an image, as data sets whose truth are pixels name them."""

from __future__ import annotations

from typing import NamedTuple


class MaskFiles(NamedTuple):
    """Where the masks of an image lie.

    Attributes:
        objects: files of its objects' masks; a pixel above 0 in any of them is the object's.
        ignored: file of the pixels that do not count, unless they are the object's; or None.
    """

    objects: tuple[str, ...]
    ignored: str | None = None
