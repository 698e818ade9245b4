"""Real truth from wsolevaluation's lists, and made-up detections, as arrays and as plain lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wend.evaluation.metrics import BoxArrays


def read_truth(folder: str | Path, limit: int | None = None) -> BoxArrays:
    """The images of a metadata folder (``image_ids.txt`` and its neighbours), without detections.

    Args:
        limit: only so many images, spread evenly over the list.
    """
    folder = Path(folder)

    def rows(name: str, fields: int) -> list[list[str]]:
        lines = (folder / name).read_text(encoding="utf-8").split()
        return [line.rsplit(",", fields) for line in lines]

    ids = [row[0] for row in rows("image_ids.txt", 0)]
    if limit is not None and limit < len(ids):
        ids = [ids[i] for i in np.linspace(0, len(ids) - 1, limit).astype(int)]
    sizes = {i: (float(w), float(h)) for i, w, h in rows("image_sizes.txt", 2)}
    classes = {i: int(c) for i, c in rows("class_labels.txt", 1)}
    truth: dict[str, list] = {i: [] for i in ids}
    for i, *corners in rows("localization.txt", 4):
        if i in truth:
            truth[i].append([float(c) for c in corners])
    start = np.cumsum([0] + [len(truth[i]) for i in ids])
    return BoxArrays(
        image_ids=tuple(ids),
        keys=tuple(ids),
        class_ids=np.array([classes[i] for i in ids]),
        sizes=np.array([sizes[i] for i in ids]),
        truth=np.concatenate([truth[i] for i in ids]),
        truth_start=start,
        boxes=np.zeros((0, 4)),
        box_start=np.zeros(len(ids) + 1, dtype=np.int64),
    )


def jittered(arrays: BoxArrays, num_boxes: int, sigma: float, seed: int) -> BoxArrays:
    """Detections near the truth: a true box of the image, each coordinate moved by noise.

    The first (best-scoring) box is drawn like the others. Coordinates move by a normal deviate of
    ``sigma`` times the box's width or height, and are cut at the image.
    """
    rng = np.random.default_rng(seed)
    count = np.diff(arrays.truth_start)
    image = np.repeat(np.arange(len(arrays)), num_boxes)
    chosen = arrays.truth_start[image] + (rng.random(len(image)) * count[image]).astype(np.int64)
    boxes = arrays.truth[chosen]
    boxes += rng.normal(0, sigma, boxes.shape) * np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    np.clip(boxes, 0, np.tile(arrays.sizes[image], 2), out=boxes)
    boxes = np.concatenate(
        [np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], 1
    )
    box_start = np.arange(len(arrays) + 1) * num_boxes
    return BoxArrays(**{**vars(arrays), "boxes": boxes, "box_start": box_start})


def as_lists(arrays: BoxArrays, which: np.ndarray) -> list[dict]:
    """Some images as ``tests/peers.py`` takes them: dicts of Python numbers."""
    truth, boxes = arrays.truth_start, arrays.box_start
    return [
        {
            "width": float(arrays.sizes[i, 0]),
            "height": float(arrays.sizes[i, 1]),
            "class_id": int(arrays.class_ids[i]),
            "gt_boxes": arrays.truth[truth[i] : truth[i + 1]].tolist(),
            "boxes": arrays.boxes[boxes[i] : boxes[i + 1]].tolist(),
        }
        for i in which
    ]
