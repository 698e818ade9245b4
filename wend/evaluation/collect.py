"""Detections that come image by image, from an engine or a user, as a table of a data set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from wend.errors import InputError, some
from wend.structures.box_table import NO_BOXES, BoxTable
from wend.structures.checks import as_boxes, as_scores
from wend.structures.data_set import DataSet
from wend.structures.records import ImageId

Row = tuple[ImageId, np.ndarray, np.ndarray]  # image id, boxes (P, 4), scores (P,)


def _checked(image_id: ImageId, boxes: object, scores: object) -> Row:
    name = f"detections of image {image_id!r}"
    checked = as_boxes(boxes, name)
    return image_id, checked, as_scores(scores, len(checked), name)


def detection_table(
    data_set: DataSet,
    detections: Mapping[ImageId, tuple[object, object]] | Iterable[tuple[ImageId, object, object]],
) -> BoxTable:
    """Detections by image id as a table of the data set's images.

    Args:
        data_set: the images.
        detections: for each of its images once, in any order, boxes (P, 4) ``x0, y0, x1, y1`` in
            original pixels and scores (P,), higher is better: a mapping image id -> (boxes,
            scores), or tuples such as of ``zip(image_ids, boxes, scores)``. P may be 0.

    Returns:
        The table, best first within each image; equal scores keep their order.

    Raises:
        InputError: an image of the data set is missing or there twice, one is unknown, or
            an image has something that is no box or no score.
    """
    if isinstance(detections, Mapping):
        detections = ((image_id, *pair) for image_id, pair in detections.items())
    rows = [_checked(*row) for row in detections]
    index_of = data_set.index_of_id
    by_index: dict[int, Row] = {}
    twice, unknown = [], []
    for row in rows:
        index = index_of.get(row[0])
        if index is None:
            unknown.append(row[0])
        elif index in by_index:
            twice.append(row[0])
        else:
            by_index[index] = row
    problems = {
        "missing": [data_set.image_ids[i] for i in range(len(data_set)) if i not in by_index],
        "there more than once": twice,
        "not of the data set": unknown,
    }
    texts = [f"{len(ids)} {problem} ({some(ids)})" for problem, ids in problems.items() if ids]
    if texts:
        raise InputError(
            f"detections must hold each of the {len(data_set)} images of the data set once: "
            + "; ".join(texts)
        )
    in_order = [by_index[i] for i in range(len(data_set))]
    return BoxTable.from_counts(
        np.array([len(boxes) for _, boxes, _ in in_order], dtype=np.int64),
        np.concatenate([NO_BOXES, *(boxes for _, boxes, _ in in_order)]),
        np.concatenate([np.zeros(0), *(scores for _, _, scores in in_order)]),
    )


class DetectionCollector:
    """Gathers an engine's detections image by image.

    Args:
        data_set: the images.

    Attributes:
        rows: what was added, to be joined with other processes': ``collector.rows += others``.
    """

    def __init__(self, data_set: DataSet) -> None:
        self.data_set = data_set
        self.rows: list[Row] = []

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, image_id: ImageId, boxes: object = (), scores: object = ()) -> None:
        """Add an image's boxes (P, 4) in original pixels and scores (P,), by default none.

        Raises:
            InputError: something is no box or no score.
        """
        self.rows.append(_checked(image_id, boxes, scores))

    def table(self) -> BoxTable:
        """A table of all that was added; see :func:`detection_table`."""
        return detection_table(self.data_set, self.rows)
