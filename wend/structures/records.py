"""A row of a data set, and a classifier's predictions for its images.

All boxes are ``x0, y0, x1, y1`` in the image's original pixels (as stored, not rotated by EXIF),
float64, shape (N, 4). Each type is validated once, when it is made.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from wend.errors import InputError, some
from wend.structures.checks import as_boxes

if TYPE_CHECKING:
    from wend.structures.data_set import DataSet

ImageId = Hashable  # an int where the source numbers its images, else the listed file name


def image_key(path: str) -> str:
    """``<class folder>/<file name>``: the last two parts of a path, whatever its root."""
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]
    return "/".join(parts[-2:])


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
    """

    image_id: ImageId
    file_name: str
    width: int
    height: int
    key: str = ""
    class_id: int | None = None
    gt_boxes: np.ndarray = field(default_factory=_empty_boxes)
    pseudo_boxes: np.ndarray = field(default_factory=_empty_boxes)

    def __post_init__(self) -> None:
        if not self.key:
            object.__setattr__(self, "key", image_key(self.file_name))
        if not (self.width > 0 and self.height > 0):
            raise InputError(f"{self.file_name}: size {self.width}x{self.height} is not positive")
        for name in ("gt_boxes", "pseudo_boxes"):
            boxes = as_boxes(getattr(self, name), f"{self.file_name}, {name}")
            object.__setattr__(self, name, boxes)

    @classmethod
    def trusted(cls, **values: Any) -> ImageRecord:
        """A record of values that were checked before, as columns of a table are."""
        record = object.__new__(cls)
        record.__dict__.update(values)
        return record


class ClassPredictions:
    """A classifier's best classes of each image of a data set.

    Args:
        class_ids: image id -> predicted 0-based classes, best first (the paper's EfficientNet-B7).
        source: where they come from, for messages (a file name).
    """

    def __init__(
        self, class_ids: Mapping[ImageId, Sequence[int]], source: str = "class predictions"
    ) -> None:
        self.source = source
        self.class_ids = {image_id: tuple(ids) for image_id, ids in class_ids.items()}
        for image_id, ids in self.class_ids.items():
            whole = all(isinstance(i, (int, np.integer)) and not isinstance(i, bool) for i in ids)
            if not ids or not whole or min(ids) < 0 or len(set(ids)) != len(ids):
                raise InputError(
                    f"{source}: image {image_id!r}: expected distinct class numbers from 0, best "
                    f"first, got {list(ids)!r}"
                )

    def __len__(self) -> int:
        return len(self.class_ids)

    def check_covers(self, data_set: DataSet) -> None:
        """Raise InputError unless each image has a class and at least five predicted ones."""
        number = len(data_set)
        missing = [i for i in data_set.image_ids if i not in self.class_ids]
        if missing:
            raise InputError(
                f"{self.source}: {len(missing)} of {number} images have no class prediction "
                f"({some(missing)}); make the file again for this data set"
            )
        unlabelled = [
            data_set.image_ids[i] for i in np.flatnonzero(data_set.class_ids < 0).tolist()
        ]
        if unlabelled:
            raise InputError(
                f"{self.source}: Top-1 and Top-5 Loc need the true class, and {len(unlabelled)} "
                f"images have none ({some(unlabelled)}); leave WEND.CLASS_PREDICTIONS empty"
            )
        short = [i for i in data_set.image_ids if len(self.class_ids[i]) < 5]
        if short:
            raise InputError(
                f"{self.source}: {len(short)} images have fewer than the five classes that Top-5 "
                f"Loc needs ({some(short)}); write the five best classes of each image"
            )

    def ranks(self, data_set: DataSet) -> np.ndarray:
        """0-based rank (I,) of each image's true class in its list; if absent, its length."""
        self.check_covers(data_set)
        lists = (self.class_ids[i] for i in data_set.image_ids)
        return np.array(
            [
                ids.index(class_id) if class_id in ids else max(len(ids), 5)
                for class_id, ids in zip(data_set.class_ids.tolist(), lists, strict=True)
            ],
            dtype=np.int64,
        )
