"""An evaluation once before there are detections, so that what would fail after hours fails now."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from wend.errors import InputError
from wend.evaluation.evaluation import Evaluation
from wend.evaluation.score_files import write_scores
from wend.structures.box_table import NO_BOXES, BoxTable
from wend.structures.data_set import DataSet

MOST_IMAGES = 1000  # of a larger data set, images at equal steps


def rehearse(evaluation: Evaluation) -> None:
    """Score made-up boxes as detections will be, write all files, and throw the results away.

    Protocols, metrics, class predictions, fixed boxes and files are gone through twice: with none,
    one or two boxes per image, and without any box, as a detector may begin.

    Raises:
        InputError: the evaluation would fail.
    """
    if not evaluation.has_truth:
        return
    if evaluation.class_predictions is not None:
        evaluation.class_predictions.check_covers(evaluation.data_set)
    number = len(evaluation.data_set)
    images = np.unique(np.linspace(0, number - 1, min(number, MOST_IMAGES)).astype(np.int64))
    some_images = replace(evaluation, data_set=evaluation.data_set.take(images))
    try:
        with tempfile.TemporaryDirectory(prefix="wend-rehearsal-") as folder:
            for detections in _made_up(some_images.data_set):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    write_scores(folder, some_images.score_in_full(detections))
    except InputError as error:
        raise type(error)(
            f"the evaluation on {evaluation.data_set.name} would fail, as made-up boxes show "
            f"before the first step: {error}"
        ) from error


def _made_up(data_set: DataSet) -> Iterator[BoxTable]:
    """Tables as of a detector: image i has i % 3 boxes, the whole image and its middle; none."""
    counts = (np.arange(len(data_set)) + 1) % 3
    whole = np.concatenate([np.zeros((len(data_set), 2)), data_set.sizes], axis=1).astype(float)
    middle = whole * 0.5 + whole[:, [2, 3, 2, 3]] * 0.25
    boxes = np.stack([whole, middle], axis=1)[np.arange(2) < counts[:, None]]
    scores = np.tile([0.9, 0.1], (len(data_set), 1))[np.arange(2) < counts[:, None]]
    yield BoxTable.from_counts(counts, boxes, scores)
    yield BoxTable.from_counts(np.zeros_like(counts), NO_BOXES, np.zeros(0))
