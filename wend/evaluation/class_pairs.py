"""Detections with a class for each box: class-box pairs, ranked by score.

CAM methods (TS-CAM, GenPromp) and ILSVRC's own evaluation predict a box for each of the best
classes. Two things follow from the pairs: the boxes of an image's own class, which GT-known
metrics rank, and the rank of that class among the predicted ones, each counted once.

Shape letters: I = images, B = boxes (pairs), b = boxes of their images' own classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from wend.errors import InputError, some
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet


@dataclass(frozen=True, eq=False)
class ClassPairs:
    """What follows from the classes of detections.

    Attributes:
        own: the boxes of each image's own class, best first; I images.
        position: (b,) 0-based rank of each among all pairs of its image.
        class_rank: (I,) 0-based rank of the image's class among its different predicted ones; where
            it is not among them their number, at least 5.
    """

    own: BoxTable
    position: np.ndarray
    class_rank: np.ndarray


_computed: WeakKeyDictionary[BoxTable, WeakKeyDictionary[DataSet, ClassPairs]]
_computed = WeakKeyDictionary()


def class_pairs(data_set: DataSet, detections: BoxTable) -> ClassPairs | None:
    """The pairs of a data set's detections; None where these have no classes.

    Computed once while both are held.

    Raises:
        InputError: some images have no class.
    """
    if detections.class_ids is None:
        return None
    known = _computed.setdefault(detections, WeakKeyDictionary())
    if data_set not in known:
        check_classes(data_set)
        known[data_set] = _class_pairs(data_set.class_ids, detections, detections.class_ids)
    return known[data_set]


def check_classes(data_set: DataSet) -> None:
    """Raise InputError unless each image has a class."""
    unlabelled = np.flatnonzero(data_set.class_ids < 0)
    if len(unlabelled):
        raise InputError(
            f"detections with a class for each box need the images' true classes, and "
            f"{len(unlabelled)} of {len(data_set)} images have none "
            f"({some(data_set.image_ids[i] for i in unlabelled.tolist())}); score the boxes "
            f"without their classes (--box-classes ignore)"
        )


def _class_pairs(true: np.ndarray, detections: BoxTable, class_ids: np.ndarray) -> ClassPairs:
    """The pairs, given true classes (I,) and predicted ones (B,)."""
    owner = detections.owner
    is_own = class_ids == true[owner]
    own = detections.keep(is_own)
    is_new = np.zeros(len(owner), dtype=bool)  # the first pair of its class in its image
    order = np.lexsort((class_ids, owner))  # stable: best first within a class
    step = (np.diff(owner[order]) != 0) | (np.diff(class_ids[order]) != 0)
    is_new[order[np.append(np.ones(min(1, len(order)), bool), step)]] = True
    seen = np.concatenate([[0], np.cumsum(is_new)])  # before each pair, and after the last
    start = seen[detections.offsets]
    class_rank = np.maximum(np.diff(start), 5)
    images = own.with_boxes
    first = np.flatnonzero(is_own)[own.offsets[images]]
    class_rank[images] = seen[first] - start[images]
    return ClassPairs(own, detections.rank[is_own], class_rank)
