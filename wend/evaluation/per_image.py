"""Scores of each image under a protocol, from which every metric follows.

Shape letters: I = images scored, B = detected boxes, G = true boxes, T = criteria of the protocol
(an IoU threshold and whether it must be exceeded), n = images scored at a time, K = boxes of each.
Images with about as many boxes are scored together as a rectangle (n, K) of some ten thousand
boxes, those with the most true boxes first: no loop over images or boxes, no index for each box,
and the work stays in the processor's cache.

Example:
    >>> from wend.evaluation.protocols import get_protocol
    >>> from wend.structures.box_table import BoxTable
    >>> from wend.structures.records import ImageRecord
    >>> images = DataSet.from_records([ImageRecord(1, "a.jpg", 10, 10, gt_boxes=[[0, 0, 8, 8]])])
    >>> detections = BoxTable.from_lists([[[0, 0, 8, 7]]], [[0.9]])
    >>> score(images, detections, get_protocol("original")).top_iou.tolist()
    [0.875]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from wend.errors import InputError, some
from wend.evaluation.class_pairs import ClassPairs, class_pairs
from wend.evaluation.protocols import EvalProtocol
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet

NO_HIT = np.iinfo(np.int64).max  # the rank of the first correct box where none is correct
CHUNK_BOXES = 1 << 15  # boxes scored at a time


@dataclass(frozen=True, eq=False)
class PerImage:
    """The scores of each image under a protocol.

    Attributes:
        data_set: the images with their truth.
        detections: the detections of all its images.
        ranked: those of them that ranks, IoUs and numbers are of: all, or where boxes have
            classes those of their image's own class.
        protocol: how boxes are compared.
        images: (I,) indices of the images that are scored: all but the protocol's blacklist.
        hit_rank: (T, I) 0-based rank of the first correct box for each of the protocol's
            ``criteria``, ``NO_HIT`` where there is none.
        top_iou: (I,) IoU in [0, 1] of the best-scoring box with its best true box, in the
            protocol's frame; 0 without boxes.
        best_iou: (I,) the largest such IoU of any box.
        num_boxes: (I,) numbers of detected boxes.
        class_rank: (I,) 0-based rank of the true class in the class predictions, or among the
            different classes of the boxes; None where there are neither.
        pair_rank: (T, I) 0-based rank, among all class-box pairs, of the first that has the image's
            class and a correct box, ``NO_HIT`` where there is none; None where boxes have no class.
    """

    data_set: DataSet
    detections: BoxTable
    ranked: BoxTable
    protocol: EvalProtocol
    images: np.ndarray
    hit_rank: np.ndarray
    top_iou: np.ndarray
    best_iou: np.ndarray
    num_boxes: np.ndarray
    class_rank: np.ndarray | None
    pair_rank: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def num_excluded(self) -> int:
        """Images that the blacklist left out."""
        return len(self.data_set) - len(self)

    @cached_property
    def class_ids(self) -> np.ndarray | None:
        """True classes (I,), or None unless every image has one."""
        class_ids = self.data_set.class_ids[self.images]
        return class_ids if (class_ids >= 0).all() else None


def passes(iou: np.ndarray, threshold: float, strict: bool) -> np.ndarray:
    """Whether IoUs exceed a threshold (strict) or reach it."""
    return iou > threshold if strict else iou >= threshold


def box_scores(detections: BoxTable) -> np.ndarray:
    """The scores (B,) of detections; InputError where they have none."""
    if detections.scores is None:
        raise InputError("detections need scores; BoxTable.scored() gives each box score 1")
    return detections.scores


def check_aligned(data_set: DataSet, detections: BoxTable) -> None:
    """Raise InputError unless the detections are a table of these images, with scores."""
    if not len(data_set):
        raise InputError(f"data set {data_set.name}: there is no image to evaluate on")
    if len(detections) != len(data_set):
        raise InputError(
            f"data set {data_set.name} has {len(data_set)} images, the detections are of "
            f"{len(detections)}; make them with wend.evaluation.collect.detection_table"
        )
    box_scores(detections)


def score(
    data_set: DataSet,
    detections: BoxTable,
    protocol: EvalProtocol,
    class_rank: np.ndarray | None = None,
) -> PerImage:
    """Score detections image by image.

    Args:
        data_set: one or more images with true boxes.
        detections: their detections, by the same index, best first within each image. Where they
            have classes, boxes of another class than their image's are no boxes of it.
        protocol: frame, IoU test and average.
        class_rank: (number of images,) as ``ClassPredictions.ranks`` returns it, or None.

    Raises:
        InputError: a table of other images, images without truth, or without class where needed;
            classes both of the boxes and of ``class_rank``.
    """
    check_aligned(data_set, detections)
    images = scored_images(data_set, protocol)
    pairs = class_pairs(data_set, detections)
    if pairs is not None and class_rank is not None:
        raise InputError(
            "detections have a class for each box, and there are class predictions, too: which are "
            "the predicted classes? Leave out the class predictions, or the classes of the boxes "
            "(--box-classes ignore)"
        )
    ranked = detections if pairs is None else pairs.own
    sizes = data_set.frame_sizes
    hit_rank = np.full((len(protocol.criteria), len(data_set)), NO_HIT)
    top, best = np.zeros(len(data_set)), np.zeros(len(data_set))
    for chunk, num_boxes in _chunks(data_set.truth.counts, ranked.counts):
        iou = _ious(data_set.truth, ranked, sizes, protocol, chunk, num_boxes)  # (n, K)
        top[chunk] = iou[:, 0]
        best[chunk] = iou.max(1)
        for row, (threshold, strict) in enumerate(protocol.criteria):
            hit = passes(iou, threshold, strict)
            hit_rank[row, chunk] = np.where(hit.any(1), hit.argmax(1), NO_HIT)
    pair_rank = None
    if pairs is not None:
        class_rank = pairs.class_rank
        pair_rank = _pair_rank(pairs, hit_rank)[:, images]
    return PerImage(
        data_set=data_set,
        detections=detections,
        ranked=ranked,
        protocol=protocol,
        images=images,
        hit_rank=hit_rank[:, images],
        top_iou=top[images],
        best_iou=best[images],
        num_boxes=ranked.counts[images],
        class_rank=None if class_rank is None else class_rank[images],
        pair_rank=pair_rank,
    )


def _pair_rank(pairs: ClassPairs, hit_rank: np.ndarray) -> np.ndarray:
    """Ranks (T, I) among all pairs of the boxes of ranks (T, I) among those of the own class."""
    pair_rank = np.full_like(hit_rank, NO_HIT)
    hit = hit_rank != NO_HIT
    starts = np.broadcast_to(pairs.own.offsets[:-1], hit.shape)
    pair_rank[hit] = pairs.position[starts[hit] + hit_rank[hit]]
    return pair_rank


def box_ious(
    truth: BoxTable, detections: BoxTable, sizes: np.ndarray, protocol: EvalProtocol
) -> np.ndarray:
    """Each box's IoU (B,) in [0, 1] with its best true box, in the protocol's frame.

    Args:
        truth: true boxes of I images.
        detections: their detections, by the same index.
        sizes: (I, 2) widths and heights of the images in original pixels.
        protocol: frame and IoU.
    """
    best = np.zeros(len(detections.boxes))
    for chunk, num_boxes in _chunks(truth.counts, detections.counts):
        iou = _ious(truth, detections, sizes, protocol, chunk, num_boxes)  # (n, K)
        index = detections.offsets[chunk][:, None] + np.arange(num_boxes)
        is_box = index < detections.offsets[chunk + 1][:, None]
        best[index[is_box]] = iou[is_box]
    return best


def scored_images(data_set: DataSet, protocol: EvalProtocol) -> np.ndarray:
    """Indices (n,) of the images that a protocol scores: all but its blacklist.

    Raises:
        InputError: one has no true box, or no class where the protocol averages over classes.
    """
    images = _kept(data_set, protocol)
    _check(data_set, images, protocol)
    return images


def _kept(data_set: DataSet, protocol: EvalProtocol) -> np.ndarray:
    """Indices (I,) of the images that the protocol's blacklist leaves in."""
    if not protocol.blacklist:
        return np.arange(len(data_set))
    blacklist = set(protocol.blacklist)
    unknown = blacklist.difference(data_set.keys)
    if unknown:
        raise InputError(
            f"protocol {protocol.name}: {len(unknown)} of {len(blacklist)} images of the blacklist "
            f"are not of the data set ({some(sorted(unknown))}); expected keys such as "
            f"{data_set.keys[0]!r}"
        )
    kept = np.flatnonzero([key not in blacklist for key in data_set.keys])
    if not len(kept):
        raise InputError(f"protocol {protocol.name}: the blacklist leaves no image")
    return kept


def _check(data_set: DataSet, images: np.ndarray, protocol: EvalProtocol) -> None:
    def named(indices: np.ndarray) -> str:
        return some(data_set.image_ids[i] for i in indices)

    without = images[data_set.truth.counts[images] == 0]
    if len(without):
        raise InputError(
            f"{len(without)} of {len(images)} images have no true box ({named(without)}); they can "
            f"be neither right nor wrong: evaluate on a data set whose images all have boxes"
        )
    without = images[data_set.class_ids[images] < 0]
    if protocol.average == "class" and len(without):
        raise InputError(
            f"protocol {protocol.name} averages over classes, and {len(without)} images have no "
            f"class ({named(without)}); use a protocol that averages over images: original"
        )


def _chunks(num_truth: np.ndarray, count: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """Images (n,) to score together, most true boxes first, and their largest number of boxes K.

    Images without boxes are left out.

    Args:
        num_truth: number of true boxes of each image.
        count: number of detected boxes of each image.
    """
    order = np.lexsort((num_truth, count))[::-1]  # alike in both, so that few need many rounds
    order = order[count[order] > 0]
    while len(order):
        most = int(count[order[0]])
        chunk, order = np.split(order, [max(1, CHUNK_BOXES // most)])
        yield chunk[np.argsort(-num_truth[chunk], kind="stable")], most


def _ious(
    truth: BoxTable,
    detections: BoxTable,
    sizes: np.ndarray,
    protocol: EvalProtocol,
    images: np.ndarray,
    num_boxes: int,
) -> np.ndarray:
    """Best IoU (n, K) of each box of some images with any of its image's true boxes.

    Args:
        sizes: widths and heights of all images.
        images: (n,) indices, most true boxes first.
        num_boxes: K; the IoU at ranks that an image has no box for is 0.
    """
    index = detections.offsets[images][:, None] + np.arange(num_boxes)
    width, height = sizes[images].T
    box = _columns(detections, index, width[:, None], height[:, None], protocol)
    num_truth = truth.offsets[images + 1] - truth.offsets[images]
    num_slots = num_truth.max() if protocol.truth == "all" else min(1, num_truth.max())
    best = np.zeros(index.shape)
    for slot in range(num_slots):  # the slot-th true box of the first n' images, which have one
        n = int(np.searchsorted(-num_truth, -slot))
        other = truth.offsets[images[:n]] + slot
        true = _columns(truth, other, width[:n], height[:n], protocol, truth=True)
        iou = _iou([x[:n] for x in box], [x[:, None] for x in true])
        np.maximum(best[:n], iou, out=best[:n])
    end = detections.offsets[images + 1]
    if (index[:, -1] >= end).any():
        best[index >= end[:, None]] = 0
    return best


def _columns(
    table: BoxTable,
    index: np.ndarray,
    widths: np.ndarray,
    heights: np.ndarray,
    protocol: EvalProtocol,
    truth: bool = False,
) -> list[np.ndarray]:
    """The boxes of an index in the frame as x0, y0, x1, y1 and area, the last corner exclusive."""
    source = protocol.frame_of(table)
    boxes = table.boxes if source is None else table.given_boxes
    chosen = boxes.take(index, axis=0, mode="clip")  # (..., 4)
    columns = np.ascontiguousarray(chosen.transpose(-1, *range(chosen.ndim - 1)))
    x0, y0, x1, y1 = protocol.columns_to_frame(columns, widths, heights, truth, source)
    if protocol.pixel_offset:
        x1, y1 = x1 + protocol.pixel_offset, y1 + protocol.pixel_offset
    return [x0, y0, x1, y1, np.maximum(x1 - x0, 0) * np.maximum(y1 - y0, 0)]


def _iou(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> np.ndarray:
    """IoU of boxes given as x0, y0, x1, y1, area, broadcast; 0 where either has no area."""
    width, height = (np.minimum(a[i + 2], b[i + 2]) for i in (0, 1))
    for side, i in ((width, 0), (height, 1)):
        side -= np.maximum(a[i], b[i])
        np.maximum(side, 0, out=side)
    width *= height  # the intersection, from here on
    union = a[4] + np.maximum(b[4], np.finfo(np.float64).tiny)  # never 0
    union -= width
    width /= union
    return width
