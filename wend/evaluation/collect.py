"""Detections that come image by image, from an engine or a user, as a table of a data set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from wend.errors import InputError, some
from wend.structures.box_table import BoxTable
from wend.structures.checks import as_boxes, as_scores
from wend.structures.data_set import DataSet
from wend.structures.records import ImageId


class Rows(NamedTuple):
    """Detections of some images.

    Attributes:
        image_ids: of each image.
        table: its boxes in original pixels and their scores, checked.
    """

    image_ids: Sequence[ImageId]
    table: BoxTable


def _of_image(image_id: ImageId, boxes: object, scores: object) -> Rows:
    name = f"detections of image {image_id!r}"
    checked = as_boxes(boxes, name)
    marks = as_scores(scores, len(checked), name)
    return Rows([image_id], BoxTable(np.array([0, len(checked)]), checked, marks))


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
    return _of_data_set(data_set, [_of_image(*row) for row in detections])


def _of_data_set(data_set: DataSet, rows: Sequence[Rows]) -> BoxTable:
    image_ids = [image_id for each in rows for image_id in each.image_ids]
    index_of = data_set.index_of_id
    unknown = [image_id for image_id in image_ids if image_id not in index_of]
    index = np.array([index_of.get(image_id, -1) for image_id in image_ids], dtype=np.int64)
    times = np.bincount(index[index >= 0], minlength=len(data_set))
    again = np.ones(len(index), dtype=bool)
    again[np.unique(index, return_index=True)[1]] = False
    twice = np.flatnonzero(again & (index >= 0))
    problems = {
        "missing": [data_set.image_ids[i] for i in np.flatnonzero(times == 0).tolist()],
        "there more than once": [image_ids[i] for i in twice],
        "not of the data set": unknown,
    }
    texts = [f"{len(ids)} {problem} ({some(ids)})" for problem, ids in problems.items() if ids]
    if texts:
        raise InputError(
            f"detections must hold each of the {len(data_set)} images of the data set once: "
            + "; ".join(texts)
        )
    table = BoxTable.concatenate([each.table for each in rows]).take(np.argsort(index))
    return BoxTable.from_counts(table.counts, table.boxes, table.scored().scores)


class DetectionCollector:
    """Gathers an engine's detections image by image, or batch by batch.

    Args:
        data_set: the images.

    Attributes:
        rows: what was added, to be joined with other processes': ``collector.rows += others``.
    """

    def __init__(self, data_set: DataSet) -> None:
        self.data_set = data_set
        self.rows: list[Rows] = []

    def __len__(self) -> int:
        return sum(len(each.image_ids) for each in self.rows)

    def add(self, image_id: ImageId, boxes: object = (), scores: object = ()) -> None:
        """Add an image's boxes (P, 4) in original pixels and scores (P,), by default none.

        Raises:
            InputError: something is no box or no score.
        """
        self.rows.append(_of_image(image_id, boxes, scores))

    def add_table(
        self,
        image_ids: Sequence[ImageId],
        table: BoxTable,
        readable: Sequence[bool] | None = None,
    ) -> None:
        """Add the boxes of N images.

        Args:
            image_ids: of the N images.
            table: their boxes in original pixels, with scores.
            readable: false for an image whose boxes do not count; None: all do.

        Raises:
            InputError: something is no box or no score, or the table is of more or fewer images.
        """
        if len(table) != len(image_ids):
            raise InputError(
                f"the detector returns something of {len(table)} images for a batch of "
                f"{len(image_ids)} (image {image_ids[0]!r} and following); expected one entry for "
                f"each, in their order"
            )
        if readable is not None and not all(readable):
            table = table.keep(np.asarray(readable)[table.owner])
        scores = table.scored().scores
        assert scores is not None
        try:
            boxes = as_boxes(table.boxes, "")
            marks = as_scores(scores, len(boxes), "")
        except InputError:
            for index, image_id in enumerate(image_ids):  # names the image
                _of_image(image_id, table[index], table.scores_of(index))
            raise
        self.rows.append(Rows([*image_ids], BoxTable(table.offsets, boxes, marks)))

    def table(self) -> BoxTable:
        """A table of all that was added; see :func:`detection_table`."""
        return _of_data_set(self.data_set, self.rows)
