"""A row of a data set: what is known of an image.

All boxes are ``x0, y0, x1, y1`` in the image's original pixels, float64, shape (N, 4): of the image
as stored, or turned by its EXIF orientation, as the data set's policy says. A row is validated
once, when it is made.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wend.errors import InputError
from wend.structures.checks import as_boxes, as_scores

EXIF = ("ignore", "apply")  # a data set's policy on EXIF's orientation of its image files
DECODERS = ("pillow", "simplejpeg", "simplejpeg-scaled")  # see wend.loading.decoders
MAX_MEGAPIXELS = 89.5  # millions of pixels, 2^28 bytes of RGB, at which Pillow begins to warn
ImageId = Hashable  # an int where the source numbers its images, else the listed file name


def image_key(path: str) -> str:
    """``<class folder>/<file name>``: the last two parts of a path, whatever its root."""
    path = path.replace("\\", "/")
    parts = path.rsplit("/", 2)[-2:]
    if "" in parts or "." in parts:
        parts = [part for part in path.split("/") if part not in ("", ".")][-2:]
    return "/".join(parts)


def _empty_boxes() -> np.ndarray:
    return np.zeros((0, 4))


@dataclass(frozen=True, eq=False)
class ImageRecord:
    """One image of a data set.

    Attributes:
        image_id: unique in the data set; COCO results carry it.
        file_name: path of the image file.
        width, height: size in original pixels.
        key: by which pseudo boxes of any root find the image; :func:`image_key` of the file name
            if left empty.
        class_id: 0-based class, or None where images have no class.
        gt_boxes: true boxes (M, 4), for evaluation only; M = 0 where the truth is unknown.
        pseudo_boxes: boxes to train on (P, 4).
        pseudo_scores: (P,) their scores, higher is better; None where they have none.
        exif: "ignore": size, boxes and pixels are of the file as stored; "apply": of the image
            turned by EXIF's orientation.
        max_megapixels: its file is not decoded if it states more pixels, in millions.
    """

    image_id: ImageId
    file_name: str
    width: int
    height: int
    key: str = ""
    class_id: int | None = None
    gt_boxes: np.ndarray = field(default_factory=_empty_boxes)
    pseudo_boxes: np.ndarray = field(default_factory=_empty_boxes)
    exif: str = "ignore"
    pseudo_scores: np.ndarray | None = None
    max_megapixels: float = MAX_MEGAPIXELS

    def __post_init__(self) -> None:
        if not self.key:
            object.__setattr__(self, "key", image_key(self.file_name))
        if not (self.width > 0 and self.height > 0):
            raise InputError(f"{self.file_name}: size {self.width}x{self.height} is not positive")
        if self.exif not in EXIF:
            raise InputError(f"{self.file_name}: exif must be one of {EXIF}, got {self.exif!r}")
        for name in ("gt_boxes", "pseudo_boxes"):
            boxes = as_boxes(getattr(self, name), f"{self.file_name}, {name}")
            object.__setattr__(self, name, boxes)
        if self.pseudo_scores is not None:
            where = f"{self.file_name}, pseudo_scores"
            scores = as_scores(self.pseudo_scores, len(self.pseudo_boxes), where)
            object.__setattr__(self, "pseudo_scores", scores)

    @classmethod
    def trusted(cls, **values: Any) -> ImageRecord:
        """A record of values that were checked before, as columns of a table are."""
        record = object.__new__(cls)
        record.__dict__.update(values)
        return record
