"""Records and detections of many images as a few arrays: what the arithmetic runs on.

Shape letters: I = images, B = detected boxes of all images, G = true boxes of all images.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from wend.errors import InputError, some
from wend.structures.records import ClassPredictions, Detections, ImageId, ImageRecord


def align(records: Sequence[ImageRecord], detections: Iterable[Detections]) -> list[Detections]:
    """Detections in the records' order.

    Raises:
        InputError: an image of the records is missing or there twice, or one is unknown.
    """
    by_id: dict = {}
    twice = []
    for one in detections:
        if one.image_id in by_id:
            twice.append(one.image_id)
        by_id[one.image_id] = one
    known = {record.image_id for record in records}
    if len(known) != len(records):
        raise InputError(f"the data set has {len(records)} records but {len(known)} image ids")
    problems = {
        "missing": [r.image_id for r in records if r.image_id not in by_id],
        "there more than once": twice,
        "not of the data set": [i for i in by_id if i not in known],
    }
    said = [f"{len(ids)} {what} ({some(ids)})" for what, ids in problems.items() if ids]
    if said:
        raise InputError(
            f"detections must hold each of the {len(records)} images of the data set once: "
            + "; ".join(said)
        )
    return [by_id[record.image_id] for record in records]


@dataclass(frozen=True, eq=False)
class BoxArrays:
    """Truth and detections of I images; any protocol can score them.

    Attributes:
        image_ids: I of them, the records'.
        keys: ``<class folder>/<file>`` of each.
        class_ids: true classes (I,), -1 where an image has none.
        sizes: widths and heights (I, 2), original pixels.
        truth: true boxes (G, 4), image by image, original pixels.
        truth_start: (I + 1,); image i's are ``truth[truth_start[i] : truth_start[i + 1]]``.
        boxes: detected boxes (B, 4), image by image and best first within each.
        box_start: (I + 1,), likewise.
        class_rank: 0-based place (I,) of the true class in the class predictions, or None.
    """

    image_ids: tuple[ImageId, ...]
    keys: tuple[str, ...]
    class_ids: np.ndarray
    sizes: np.ndarray
    truth: np.ndarray
    truth_start: np.ndarray
    boxes: np.ndarray
    box_start: np.ndarray
    class_rank: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.image_ids)


def _joined(parts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Box arrays (n, 4) one after another, and where each starts, with the end at last."""
    start = np.zeros(len(parts) + 1, dtype=np.int64)
    np.cumsum([len(part) for part in parts], out=start[1:])
    return np.concatenate(parts) if parts else np.zeros((0, 4)), start


def pack(
    records: Sequence[ImageRecord],
    detections: Iterable[Detections],
    class_predictions: ClassPredictions | None = None,
) -> BoxArrays:
    """Arrays of records and their detections, which may come in any order.

    Raises:
        InputError: no image, or ids that do not match (see :func:`align`).
    """
    if not records:
        raise InputError("there is no image to evaluate on")
    ordered = align(records, detections)
    truth, truth_start = _joined([r.gt_boxes for r in records])
    boxes, box_start = _joined([d.boxes for d in ordered])
    classes = [-1 if r.class_id is None else r.class_id for r in records]
    return BoxArrays(
        image_ids=tuple(r.image_id for r in records),
        keys=tuple(r.key for r in records),
        class_ids=np.array(classes, dtype=np.int64),
        sizes=np.maximum(np.array([(r.width, r.height) for r in records], dtype=np.float64), 1),
        truth=truth,
        truth_start=truth_start,
        boxes=boxes,
        box_start=box_start,
        class_rank=None if class_predictions is None else class_predictions.ranks(records),
    )
