"""A classifier's predictions for a data set's images, and the true classes' ranks in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from wend.errors import InputError, some
from wend.structures.data_set import DataSet
from wend.structures.records import ImageId


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
