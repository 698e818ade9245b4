"""Real truth from wsolevaluation's lists, and made-up detections, as tables and as plain lists."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from wend.formats.wsoleval import load_wsoleval
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet


def read_truth(folder: str | Path, limit: int | None = None) -> DataSet:
    """The images of a metadata folder (``image_ids.txt`` and its neighbours).

    Args:
        limit: only so many images, spread evenly over the list.
    """
    data_set = load_wsoleval(folder)
    if limit is None or limit >= len(data_set):
        return data_set
    return data_set.take(np.linspace(0, len(data_set) - 1, limit).astype(int))


def jittered(data_set: DataSet, num_boxes: int, sigma: float, seed: int) -> BoxTable:
    """Detections near the truth: a true box of the image, each coordinate moved by noise.

    The first (best-scoring) box is drawn like the others. Coordinates move by a normal deviate of
    ``sigma`` times the box's width or height, and are cut at the image.
    """
    rng = np.random.default_rng(seed)
    truth = data_set.truth
    image = np.repeat(np.arange(len(data_set)), num_boxes)
    chosen = truth.offsets[image] + (rng.random(len(image)) * truth.counts[image]).astype(np.int64)
    boxes = truth.boxes[chosen]
    boxes += rng.normal(0, sigma, boxes.shape) * np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    np.clip(boxes, 0, np.tile(data_set.sizes[image], 2), out=boxes)
    boxes = np.concatenate(
        [np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], 1
    )
    scores = np.tile(np.linspace(1, 0, num_boxes, endpoint=False), len(data_set))
    return BoxTable(num_boxes * np.arange(len(data_set) + 1), boxes, scores)


def as_lists(data_set: DataSet, detections: BoxTable, which: Iterable[int]) -> list[dict]:
    """Some images as ``tests/peers.py`` takes them: dicts of Python numbers."""
    return [
        {
            "width": float(data_set.sizes[i, 0]),
            "height": float(data_set.sizes[i, 1]),
            "class_id": int(data_set.class_ids[i]),
            "gt_boxes": data_set.truth[i].tolist(),
            "boxes": detections[i].tolist(),
        }
        for i in which
    ]
