"""Detections that come image by image, from an engine or a user, as a table of a data set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from wend.errors import InputError, some
from wend.structures.box_table import BoxTable
from wend.structures.checks import as_boxes, as_scores
from wend.structures.data_set import DataSet
from wend.structures.records import ImageId

Row = tuple[ImageId, np.ndarray, np.ndarray]  # image id, boxes (P, 4), scores (P,)


def _checked(image_id: ImageId, boxes: object, scores: object) -> Row:
    name = f"detections of image {image_id!r}"
    boxes = as_boxes(boxes, name)
    return image_id, boxes, as_scores(scores, len(boxes), name)


def detection_table(
    data_set: DataSet,
    detections: Mapping[ImageId, tuple[object, object]] | Iterable[tuple[ImageId, object, object]],
) -> BoxTable:
    """Detections by image id as a table of the data set's images.

    Args:
        data_set: whose images they are.
        detections: for each of its images once, in any order, boxes (P, 4) ``x0, y0, x1, y1`` in
            original pixels and scores (P,), higher is better: a mapping image id -> (boxes,
            scores), or tuples such as of ``zip(image_ids, boxes, scores)``. P may be 0.

    Returns:
        The table, best first within each image; equal scores keep their order.

    Raises:
        InputError: an image of the data set is missing or there twice, one is unknown, or
            something is no box or no score.
    """
    if isinstance(detections, Mapping):
        detections = ((image_id, *pair) for image_id, pair in detections.items())
    rows = [_checked(*row) for row in detections]
    index_of = data_set.index_of_id
    by_index: list[Row | None] = [None] * len(data_set)
    twice, unknown = [], []
    for row in rows:
        index = index_of.get(row[0])
        if index is None:
            unknown.append(row[0])
        elif by_index[index] is not None:
            twice.append(row[0])
        else:
            by_index[index] = row
    problems = {
        "missing": [data_set.image_ids[i] for i, row in enumerate(by_index) if row is None],
        "there more than once": twice,
        "not of the data set": unknown,
    }
    said = [f"{len(ids)} {problem} ({some(ids)})" for problem, ids in problems.items() if ids]
    if said:
        raise InputError(
            f"detections must hold each of the {len(data_set)} images of the data set once: "
            + "; ".join(said)
        )
    return _joined(np.arange(len(data_set)), by_index, len(data_set))


def _joined(images: np.ndarray, rows: list[Row], num_images: int) -> BoxTable:
    counts = [len(boxes) for _, boxes, _ in rows]
    boxes = np.concatenate([np.zeros((0, 4)), *(boxes for _, boxes, _ in rows)])
    scores = np.concatenate([np.zeros(0), *(scores for _, _, scores in rows)])
    return BoxTable.from_rows(np.repeat(images, counts), boxes, scores, num_images)


class DetectionCollector:
    """Gathers an engine's detections image by image.

    Args:
        data_set: whose images they are.

    Attributes:
        rows: what was added, for other processes: ``collector.rows += others``.
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
        """All that was added; see :func:`detection_table`."""
        return detection_table(self.data_set, self.rows)
