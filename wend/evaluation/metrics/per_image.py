"""Scores of each image under a protocol, from which every metric follows.

Shape letters: I = images, B = detected boxes, G = true boxes, T = criteria of the protocol (an IoU
threshold and whether it must be exceeded), n = images scored at a time, K = boxes of each. Images
with about as many boxes are scored together as a rectangle (n, K) of some ten thousand boxes, those
with the most true boxes first: no loop over images or boxes, no index for each box, and the work
stays in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from wend.errors import InputError, some
from wend.evaluation.metrics.arrays import BoxArrays, pack
from wend.evaluation.protocols import EvalProtocol
from wend.structures.records import ClassPredictions, Detections, ImageId, ImageRecord

NO_HIT = np.iinfo(np.int64).max  # the place of the first correct box where none is correct
CHUNK_BOXES = 1 << 15  # boxes scored at a time


@dataclass(frozen=True, eq=False)
class PerImage:
    """What a protocol makes of each image.

    Attributes:
        protocol: whose arithmetic it is.
        image_ids: I of them: the data set's without the protocol's blacklist.
        class_ids: true classes (I,), or None unless every image has one.
        hit_rank: (T, I) 0-based place of the first correct box for each of the protocol's
            ``criteria``, ``NO_HIT`` where there is none.
        top_iou: (I,) in [0, 1]: the best-scoring box's with its best true box, in the protocol's
            frame; 0 without boxes.
        best_iou: (I,) the largest of any box's.
        num_boxes: (I,) detected boxes.
        class_rank: (I,) 0-based place of the true class in the class predictions, or None.
        num_excluded: images that the blacklist left out.
    """

    protocol: EvalProtocol
    image_ids: tuple[ImageId, ...]
    class_ids: np.ndarray | None
    hit_rank: np.ndarray
    top_iou: np.ndarray
    best_iou: np.ndarray
    num_boxes: np.ndarray
    class_rank: np.ndarray | None
    num_excluded: int = 0

    def __len__(self) -> int:
        return len(self.image_ids)


def passes(iou: np.ndarray, threshold: float, strict: bool) -> np.ndarray:
    """Whether IoUs exceed a threshold (strict) or reach it."""
    return iou > threshold if strict else iou >= threshold


def score_images(
    records: Sequence[ImageRecord],
    detections: Iterable[Detections],
    class_predictions: ClassPredictions | None,
    protocol: EvalProtocol,
) -> PerImage:
    """Score detections image by image.

    Args:
        records: I >= 1 images with true boxes.
        detections: one for each of them, in any order.
        class_predictions: a classifier's, or None.

    Raises:
        InputError: ids that do not match, images without truth, or without class where needed.
    """
    return score_arrays(pack(records, detections, class_predictions), protocol)


def score_arrays(arrays: BoxArrays, protocol: EvalProtocol) -> PerImage:
    """:func:`score_images` on packed arrays, which several protocols may share."""
    keep = _kept(arrays, protocol)
    _check(arrays, keep, protocol)
    num_images = len(arrays)
    hit_rank = np.full((len(protocol.criteria), num_images), NO_HIT)
    top, best = np.zeros(num_images), np.zeros(num_images)
    for image, num_boxes in _chunks(arrays):
        iou, _ = _ious(arrays, protocol, image, num_boxes)  # (n, K)
        top[image] = iou[:, 0]
        best[image] = iou.max(1)
        for row, (threshold, strict) in enumerate(protocol.criteria):
            hit = passes(iou, threshold, strict)
            hit_rank[row, image] = np.where(hit.any(1), hit.argmax(1), NO_HIT)
    return PerImage(
        protocol=protocol,
        image_ids=tuple(i for i, kept in zip(arrays.image_ids, keep, strict=True) if kept),
        class_ids=arrays.class_ids[keep] if (arrays.class_ids[keep] >= 0).all() else None,
        hit_rank=hit_rank[:, keep],
        top_iou=top[keep],
        best_iou=best[keep],
        num_boxes=np.diff(arrays.box_start)[keep],
        class_rank=None if arrays.class_rank is None else arrays.class_rank[keep],
        num_excluded=int((~keep).sum()),
    )


def best_ious(
    records: Sequence[ImageRecord], detections: Sequence[Detections], protocol: EvalProtocol
) -> tuple[np.ndarray, np.ndarray]:
    """Best IoU of each detected box with any true box of its image, in the protocol's frame.

    Args:
        records: I >= 1 images with at least one true box each.
        detections: theirs.

    Returns:
        IoU (B,) in [0, 1], and the index into ``records`` (B,) of each box's image; the blacklist
        is not applied.
    """
    arrays = pack(records, detections)
    _check(arrays, np.ones(len(arrays), bool), protocol)
    best = np.zeros(len(arrays.boxes))
    for image, num_boxes in _chunks(arrays):
        iou, index = _ious(arrays, protocol, image, num_boxes)
        real = index < arrays.box_start[image + 1][:, None]
        best[index[real]] = iou[real]
    return best, np.repeat(np.arange(len(arrays)), np.diff(arrays.box_start))


def first_hit_ranks(
    records: Sequence[ImageRecord], detections: Sequence[Detections], protocol: EvalProtocol
) -> np.ndarray:
    """0-based place (I,) of each image's first correct box, ``NO_HIT`` where there is none."""
    return score_images(records, detections, None, protocol).hit_rank[0]


def _kept(arrays: BoxArrays, protocol: EvalProtocol) -> np.ndarray:
    """Which images (I,) the protocol's blacklist leaves in."""
    blacklist = set(protocol.blacklist)
    unknown = blacklist - set(arrays.keys) if blacklist else None
    if unknown:
        raise InputError(
            f"protocol {protocol.name}: {len(unknown)} of {len(blacklist)} images of the blacklist "
            f"are not of the data set ({some(sorted(unknown))}); expected keys such as "
            f"{arrays.keys[0]!r}"
        )
    keep = np.array([key not in blacklist for key in arrays.keys])
    if not keep.any():
        raise InputError(f"protocol {protocol.name}: the blacklist leaves no image")
    return keep


def _check(arrays: BoxArrays, keep: np.ndarray, protocol: EvalProtocol) -> None:
    def named(what: np.ndarray) -> str:
        return some(arrays.image_ids[i] for i in np.flatnonzero(what))

    without = (np.diff(arrays.truth_start) == 0) & keep
    if without.any():
        raise InputError(
            f"{without.sum()} of {keep.sum()} images have no true box ({named(without)}); they can "
            f"be neither right nor wrong: evaluate on a data set whose images all have boxes"
        )
    without = (arrays.class_ids < 0) & keep
    if protocol.average == "class" and without.any():
        raise InputError(
            f"protocol {protocol.name} averages over classes, and {without.sum()} images have no "
            f"class ({named(without)}); use a protocol that averages over images: original"
        )


def _chunks(arrays: BoxArrays) -> Iterator[tuple[np.ndarray, int]]:
    """Images (n,) to score together, most true boxes first, and their largest number of boxes K.

    Images without boxes do not come.
    """
    count, num_truth = np.diff(arrays.box_start), np.diff(arrays.truth_start)
    order = np.lexsort((num_truth, count))[::-1]  # alike in both, so that few need many rounds
    order = order[count[order] > 0]
    while len(order):
        most = int(count[order[0]])
        chunk, order = np.split(order, [max(1, CHUNK_BOXES // most)])
        yield chunk[np.argsort(-num_truth[chunk], kind="stable")], most


def _ious(
    arrays: BoxArrays, protocol: EvalProtocol, image: np.ndarray, num_boxes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Best IoU (n, K) of each box of some images with any of its image's true boxes.

    Args:
        image: (n,), most true boxes first.
        num_boxes: K; the IoU of places that an image has no box for is 0.

    Returns:
        The IoU, and each box's index (n, K) into ``arrays.boxes``, beyond its image's if not there.
    """
    index = arrays.box_start[image][:, None] + np.arange(num_boxes)
    width, height = arrays.sizes[image].T
    box = _columns(arrays.boxes, index, width[:, None], height[:, None], protocol)
    num_truth = arrays.truth_start[image + 1] - arrays.truth_start[image]
    num_slots = num_truth.max() if protocol.truth == "all" else min(1, num_truth.max())
    best = np.zeros(index.shape)
    for slot in range(num_slots):  # the slot-th true box of the first n' images, which have one
        n = int(np.searchsorted(-num_truth, -slot))
        other = arrays.truth_start[image[:n]] + slot
        truth = _columns(arrays.truth, other, width[:n], height[:n], protocol, truth=True)
        iou = _iou([x[:n] for x in box], [x[:, None] for x in truth])
        np.maximum(best[:n], iou, out=best[:n])
    end = arrays.box_start[image + 1]
    if (index[:, -1] >= end).any():
        best[index >= end[:, None]] = 0
    return best, index


def _columns(
    boxes: np.ndarray,
    index: np.ndarray,
    widths: np.ndarray,
    heights: np.ndarray,
    protocol: EvalProtocol,
    truth: bool = False,
) -> list[np.ndarray]:
    """The boxes of an index in the frame as x0, y0, x1, y1 and area, the last corner exclusive."""
    chosen = boxes.take(index, axis=0, mode="clip")  # (..., 4)
    columns = np.ascontiguousarray(chosen.transpose(-1, *range(chosen.ndim - 1)))
    x0, y0, x1, y1 = protocol.columns_to_frame(columns, widths, heights, truth)
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
