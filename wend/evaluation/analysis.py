"""Where a detector hits and how it misses: breakdowns of per-image hits, and types of errors.

Nothing here decides what a hit is: every function takes the hit vector of a protocol. Errors are
described in whatever frame the boxes are given in; give them in the protocol's.

**Error types** (:func:`error_types`). Of best box d and a true box t with intersection area n, "d
lies mostly in t" is n/area(d) >= ``mostly``, "d covers t" is n/area(t) >= ``mostly``. The first of
these that applies:

* ``none``: there is no box.
* ``merged``: d covers two or more true boxes.
* ``part``: d lies mostly in a true box that is larger than d.
* ``whole``: d covers a true box (too large: it holds the object and much else).
* ``shifted``: IoU with some true box exceeds ``touches``.
* ``place``: the rest: IoU at most ``touches`` with every true box, and neither holds the other;
  wrong object or background. A box without area is here.

So each miss has exactly one type. A tiny box on the object is ``part`` and a frame around a
tiny object ``whole`` although their IoU is below ``touches``: they are at the right place. With
``mostly`` = 0.75 a box that both lies mostly in t and covers it has IoU >= 0.6, a hit at 0.5:
``part`` and ``whole`` meet only where a protocol asks for more.

Shape letters: I = images, G = true boxes of all images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from wend.errors import InputError
from wend.structures.boxes import box_area, paired_iou
from wend.structures.data_set import DataSet

COUNT_EDGES = (1, 2, 3, 5, 10)  # bins 1, 2, 3-4, 5-9, 10+
SIZE_EDGES = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0)
ERROR_TYPES = ("none", "merged", "part", "whole", "shifted", "place")
HIT = "hit"
MOSTLY = 0.75  # of a box; see the error types above
TOUCHES = 0.1


@dataclass(frozen=True)
class Group:
    """One row of a breakdown.

    Attributes:
        label: the property that the images share.
        num_images: number of images.
        percent: mean of their hits times 100.
    """

    label: str
    num_images: int
    percent: float


def _vector(values: object, name: str, length: int | None = None) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1 or (length is not None and len(array) != length):
        expected = "(I,)" if length is None else f"({length},)"
        raise InputError(f"breakdown: expected {name} of shape {expected}, got {array.shape}")
    return array


def _groups(hits: np.ndarray, group: np.ndarray, labels: Sequence[str]) -> list[Group]:
    counts = np.bincount(group, minlength=len(labels))
    sums = np.bincount(group, hits.astype(np.float64), minlength=len(labels))
    return [
        Group(label, int(n), float(100 * s / n))
        for label, n, s in zip(labels, counts, sums, strict=True)
        if n
    ]


def by_class(hits: np.ndarray, class_ids: np.ndarray) -> list[Group]:
    """Hits (I,) by class (I,): a row for each class with an image, by class number."""
    hits = _vector(hits, "hits")
    classes, group = np.unique(_vector(class_ids, "class ids", len(hits)), return_inverse=True)
    return _groups(hits, group, [str(c) for c in classes])


def true_box_sizes(data_set: DataSet) -> tuple[np.ndarray, np.ndarray]:
    """Number of true boxes (I,) and the largest one's share of the image's area (I,), in 0..1.

    The share is of the part inside the image; 0 for an image without truth.
    """
    truth = data_set.truth
    share = np.zeros(len(data_set))
    some = truth.with_boxes
    if len(some):
        limits = np.tile(data_set.frame_sizes, 2)[truth.owner]
        areas = box_area(np.clip(truth.boxes / limits, 0, 1))
        share[some] = np.maximum.reduceat(areas, truth.offsets[some])
    return truth.counts, share


def by_num_boxes(
    hits: np.ndarray, num_true: np.ndarray, edges: Sequence[int] = COUNT_EDGES
) -> list[Group]:
    """Hits (I,) by number of true boxes (I,).

    Args:
        hits: hits of any metric.
        num_true: number of true boxes of each image (:func:`true_box_sizes`).
        edges: first number of each bin, rising; the last bin is open.

    Raises:
        InputError: the lengths differ, or an image has fewer boxes than the first bin.
    """
    hits = _vector(hits, "hits")
    num_true = _vector(num_true, "numbers of true boxes", len(hits))
    if len(num_true) and num_true.min() < edges[0]:
        raise InputError(
            f"breakdown: an image has {num_true.min()} true boxes, the bins start at {edges[0]}"
        )
    ends = [*(edge - 1 for edge in edges[1:]), None]
    labels = [
        f"{a}+" if b is None else str(a) if a == b else f"{a}-{b}"
        for a, b in zip(edges, ends, strict=True)
    ]
    return _groups(hits, np.searchsorted(edges, num_true, side="right") - 1, labels)


def by_size(
    hits: np.ndarray, area_share: np.ndarray, edges: Sequence[float] = SIZE_EDGES
) -> list[Group]:
    """Hits (I,) by the size of the image's largest true box.

    Args:
        hits: hits of any metric.
        area_share: share of the image's area, in 0..1 (:func:`true_box_sizes`).
        edges: rising limits; bin ``a-b`` holds shares in (a, b], the first also its lower end.

    Raises:
        InputError: the lengths differ, or a share is outside the edges.
    """
    hits = _vector(hits, "hits")
    share = _vector(area_share, "area shares", len(hits))
    if len(share) and not (share.min() >= edges[0] and share.max() <= edges[-1]):
        raise InputError(
            f"breakdown: area shares {share.min():g}..{share.max():g} leave the bins' "
            f"{edges[0]:g}..{edges[-1]:g}"
        )
    labels = [f"{100 * a:g}-{100 * b:g} %" for a, b in pairwise(edges)]
    group = np.searchsorted(edges, share, side="left") - 1
    return _groups(hits, group.clip(min=0), labels)


def error_types(
    best: np.ndarray,
    truth: np.ndarray,
    truth_image: np.ndarray,
    hits: np.ndarray,
    *,
    mostly: float = MOSTLY,
    touches: float = TOUCHES,
) -> np.ndarray:
    """How each missed image's best box is wrong.

    The types and their order are defined at the top of this module; each miss has exactly one.

    Args:
        best: (I, 4) best boxes; rows with NaN where an image has none.
        truth: (G, 4) in the same frame.
        truth_image: (G,) row of ``best`` that each true box belongs to.
        hits: (I,) bool: the best box is correct.
        mostly, touches: the shares and the IoU of the definitions.

    Returns:
        (I,) strings: one of ``ERROR_TYPES``, or ``"hit"``.
    """
    hits = _vector(hits, "hits").astype(bool)
    if np.shape(best) != (len(hits), 4) or np.shape(truth) != (len(truth_image), 4):
        raise InputError(
            f"error types: expected best boxes ({len(hits)}, 4) and truth ({len(truth_image)}, 4), "
            f"got {np.shape(best)} and {np.shape(truth)}"
        )
    some = np.isfinite(best).all(1)
    covered, inside, iou = _relations(best, truth, truth_image, mostly)
    conditions = [hits, ~some, covered >= 2, inside, covered >= 1, iou > touches]
    return np.select(conditions, [HIT, *ERROR_TYPES[:-1]], ERROR_TYPES[-1])


def _relations(
    best: np.ndarray, truth: np.ndarray, image: np.ndarray, mostly: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per image: true boxes covered, whether mostly inside a larger one, best IoU; each (I,)."""
    d = best[image]  # (G, 4); NaN compares as False throughout
    sides = np.minimum(d[:, 2:], truth[:, 2:]) - np.maximum(d[:, :2], truth[:, :2])
    overlap = sides.clip(min=0).prod(1)
    box, object_ = box_area(d), box_area(truth)
    covers = (object_ > 0) & (overlap >= mostly * object_)
    lies_in = (box > 0) & (overlap >= mostly * box) & (object_ > box)
    iou = np.zeros(len(best))
    np.maximum.at(iou, image, paired_iou(d, truth))
    covered = np.bincount(image[covers], minlength=len(best))
    return covered, np.bincount(image[lies_in], minlength=len(best)) > 0, iou


def error_shares(types: np.ndarray) -> dict[str, float]:
    """Per cent of the misses that are of each of ``ERROR_TYPES``; all 0 where nothing is missed."""
    missed = _vector(types, "error types")
    missed = missed[missed != HIT]
    return {name: float(100 * (missed == name).sum() / max(len(missed), 1)) for name in ERROR_TYPES}
