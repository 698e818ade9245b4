"""Boxes of several sources as one: weighted box fusion, and how far the sources agree on each box.

Clusters are those of Solovyev, Wang and Gabruseva, "Weighted boxes fusion: Ensembling boxes from
different object detection models", Image and Vision Computing 107 (2021), section 3, steps 1 to 5:
boxes of all sources, best first, each join the fused box F_j of the largest IoU if that is over the
threshold, else begin a cluster of their own, and a fused box is after each step

    X_j = sum_i C_i X_i / sum_i C_i    (x0, y0, x1, y1; C_i: score times the source's weight)

of its T members. The paper's step 6 then scales the mean of C by min(T, N) / N for N sources, a
count of heads. The score here is the *agreement* instead, which asks how near the sources' boxes
are (:func:`fuse_boxes`): without truth it tells right boxes from wrong ones (docs/pseudo_boxes.md).

Shape letters: S = sources, I = images, B = boxes of all images; in a block of images n = images,
K = most boxes of all sources per image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from wend.errors import InputError
from wend.structures.box_table import BoxTable
from wend.structures.boxes import paired_iou
from wend.structures.unit_scores import rescaled

METHODS = ("average", "medoid", "best")
ABSENT = ("disagrees", "silent")
IOU_THRESHOLD = 0.55  # the paper's
BLOCK = 1 << 21  # IoUs that are held at a time


@dataclass(frozen=True, eq=False)
class FusedBoxes:
    """What several sources say together.

    Attributes:
        table: the fused boxes of the I images, with their agreement as scores, best first; of equal
            agreement the one of the larger sum of its members' scores first.
        agreement: (I,) mean agreement of each image's boxes; NaN for an image without boxes.
        members: (B,) boxes of the sources that each fused box stands for, in the table's order.
        support: (B,) sum of the members' scores times weights.
        pairs: (S, S) mean over the fused boxes of two sources' IoU, which the agreement is made of;
            1 on the diagonal.
        left_out: fused boxes beyond ``max_boxes``.
    """

    table: BoxTable
    agreement: np.ndarray
    members: np.ndarray
    support: np.ndarray
    pairs: np.ndarray
    left_out: int = 0

    @property
    def of_sources(self) -> np.ndarray:
        """Mean agreement (S,) of each source with the others, of the fused boxes."""
        return (self.pairs.sum(1) - 1) / (len(self.pairs) - 1)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Boxes of all sources, image after image, best first."""

    offsets: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    sources: np.ndarray


def fuse_boxes(
    tables: Sequence[BoxTable],
    *,
    weights: Sequence[float] | None = None,
    iou_threshold: float = IOU_THRESHOLD,
    method: str = "average",
    max_boxes: int | None = None,
    absent: str = "disagrees",
    use_scores: bool = True,
) -> FusedBoxes:
    """Fuse the boxes of several sources.

    The agreement of a fused box is the mean over all pairs of sources (p, q) of

        IoU(b_p, b_q)    where b_s is the box of source s that has the largest IoU with F,

    F the average of the cluster, weighted by the product of the sources' weights: 1 where all
    sources have the same box, 0 where none overlaps another's. A pair in which a source has no box
    that overlaps F counts 0. It is not corrected for chance as in
    :mod:`wend.evaluation.agreement`, which compares sources over all images: here boxes are
    compared with each other, the mean of chance would take the same from each of them, and a weight
    has to lie in [0, 1].

    Args:
        tables: S of them, of the same I images, in the same pixels. Scores outside [0, 1] count as
            :func:`wend.structures.unit_scores.rescaled` says; a table without scores counts 1.
        weights: (S,) > 0 weights of the sources in averages and agreement; None: all 1.
        iou_threshold: in [0, 1); a box joins a cluster if its IoU with it is larger.
        method: the box of a cluster: "average" (weighted box fusion); "medoid", the member that
            has the largest mean IoU with the boxes of the other sources, which are those of the
            agreement; "best", the member of the largest score times weight, as non-maximum
            suppression keeps. Of equal ones the first source's.
        max_boxes: boxes per image that are kept; None: all.
        absent: of a source without any box in an image: "disagrees": its pairs count 0; "silent":
            they do not count, for sources that were only asked about some images. The agreement is
            0 where fewer than two sources are left.
        use_scores: False: each box counts its source's weight alone.

    Raises:
        InputError: fewer than two tables, of other numbers of images, or an argument out of range.
    """
    given = _checked_weights(tables, weights)
    if not 0 <= iou_threshold < 1:
        raise InputError(f"IoU threshold: expected a number in [0, 1), got {iou_threshold:g}")
    if max_boxes is not None and max_boxes < 1:
        raise InputError(f"boxes per image: expected a number from 1, got {max_boxes}")
    for value, choices, name in ((method, METHODS, "method"), (absent, ABSENT, "absent")):
        if value not in choices:
            raise InputError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")
    rows = _gather(tables, given, use_scores)
    number = len(tables[0])
    parts = []
    for images, index in _blocks(rows):
        block = _Block(rows, index, given, iou_threshold)
        parts.append((images, *block.fused(method, absent)))
    return _assemble(parts, number, len(tables), max_boxes)


def _checked_weights(tables: Sequence[BoxTable], weights: Sequence[float] | None) -> np.ndarray:
    if len(tables) < 2:
        raise InputError(f"fusion: expected boxes of at least two sources, got {len(tables)}")
    lengths = [len(table) for table in tables]
    if len(set(lengths)) > 1:
        raise InputError(f"fusion: expected tables of the same images, got {lengths} images")
    if weights is None:
        return np.ones(len(tables))
    given = np.asarray(weights, dtype=np.float64)
    if given.shape != (len(tables),) or not (np.isfinite(given) & (given > 0)).all():
        raise InputError(
            f"weights of the sources: expected {len(tables)} numbers > 0, got "
            f"{', '.join(f'{weight:g}' for weight in given.reshape(-1))} (leave out a source that "
            f"is to count nothing)"
        )
    return given


def _gather(tables: Sequence[BoxTable], weights: np.ndarray, use_scores: bool) -> _Rows:
    """The boxes of all sources, image after image, best first; of equal ones the first source's."""
    scores = []
    for table, weight in zip(tables, weights.tolist(), strict=True):
        own = table.scores if use_scores else None
        changed = rescaled(own)
        counted = np.ones(len(table.boxes)) if own is None else own if changed is None else changed
        scores.append(weight * counted.astype(np.float64))
    score = np.concatenate(scores)
    image = np.concatenate([table.owner for table in tables])
    order = np.lexsort((-score, image))  # stable: source after source where scores are equal
    offsets = np.zeros(len(tables[0]) + 1, dtype=np.int64)
    np.cumsum(np.sum([table.counts for table in tables], 0), out=offsets[1:])
    return _Rows(
        offsets,
        np.concatenate([table.boxes for table in tables])[order],
        score[order],
        np.repeat(np.arange(len(tables)), [len(table.boxes) for table in tables])[order],
    )


def _blocks(rows: _Rows) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images (n,) that have boxes, and the rows (n, K) of their boxes, -1 behind an image's last.

    Those of like numbers of boxes come together, so that little is padded.
    """
    counts = np.diff(rows.offsets)
    order = np.argsort(counts, kind="stable")
    start = int(np.searchsorted(counts[order], 1))
    while start < len(order):
        end = start + 1
        # as many images as a block holds if they had the first's number, and no others
        size = max(1, BLOCK // int(counts[order[start]]) ** 2)
        most = max(int(counts[order[start]]) + 1, int(1.25 * counts[order[start]]))
        end = min(start + size, int(np.searchsorted(counts[order], most, side="right")))
        images = order[start:end]
        slots = np.arange(int(counts[images].max()))
        index = rows.offsets[images][:, None] + slots
        yield images, np.where(slots < counts[images][:, None], index, -1)
        start = end


class _Block:
    """The clusters of n images. Slot k of an image is its k-th best box, or its k-th cluster."""

    def __init__(
        self, rows: _Rows, index: np.ndarray, weights: np.ndarray, iou_threshold: float
    ) -> None:
        self.present = index >= 0  # (n, K)
        self.boxes = np.where(self.present[..., None], rows.boxes[index], 0.0)
        self.scores = np.where(self.present, rows.scores[index], 0.0)
        self.sources = np.where(self.present, rows.sources[index], -1)
        self.weights = weights
        self.cluster, self.averages = self._clusters(iou_threshold)
        number = self.cluster.max(1) + 1
        self.is_cluster = np.arange(index.shape[1]) < number[:, None]  # (n, K)

    def _clusters(self, iou_threshold: float) -> tuple[np.ndarray, np.ndarray]:
        """The cluster (n, K) of each box, -1 of none, and the clusters' averages (n, K, 4)."""
        n, most = self.present.shape
        cluster = np.full((n, most), -1)
        averages, plain = np.zeros((n, most, 4)), np.zeros((n, most, 4))
        weighted, weight, members = np.zeros((n, most, 4)), np.zeros((n, most)), np.zeros((n, most))
        number = np.zeros(n, dtype=np.int64)
        for k in range(most):
            images = np.flatnonzero(self.present[:, k])
            box, score = self.boxes[images, k], self.scores[images, k]
            target = number[images]
            if k:
                iou = paired_iou(averages[images, :k], box[:, None])  # no box: no area, IoU 0
                nearest = iou.argmax(1)
                joins = iou[np.arange(len(images)), nearest] > iou_threshold
                target = np.where(joins, nearest, target)
            cluster[images, k] = target
            number[images] = np.maximum(number[images], target + 1)
            weighted[images, target] += score[:, None] * box
            plain[images, target] += box
            weight[images, target] += score
            members[images, target] += 1
            total = weight[images, target, None]
            averages[images, target] = np.where(  # scores of 0 alone weigh alike
                total > 0,
                weighted[images, target] / np.where(total > 0, total, 1.0),
                plain[images, target] / members[images, target, None],
            )
        return cluster, averages

    def fused(self, method: str, absent: str) -> tuple[np.ndarray, ...]:
        """What is known of each cluster.

        Returns:
            Index of its image in the block (b,), box (b, 4), agreement, support, members (b,) and
            the IoUs of the pairs of sources (b, S (S - 1) / 2).
        """
        image, slot = np.nonzero(self.is_cluster)
        is_member = self.cluster[image] == slot[:, None]  # (b, K)
        nearest, has_one = self._nearest(image, slot)
        pairs = self._pairs(nearest, has_one)
        agreement = self._agreement(image, pairs, absent)
        if method == "average":
            boxes = self.averages[image, slot]
        elif method == "best":
            boxes = self.boxes[image, is_member.argmax(1)]  # the first member is the best
        else:
            boxes = self._medoids(image, is_member, nearest, has_one)
        support = np.where(is_member, self.scores[image], 0.0).sum(1)
        return image, boxes, agreement, support, is_member.sum(1), pairs

    def _nearest(self, image: np.ndarray, slot: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Each source's box (b, S, 4) nearest to each cluster; whether it overlaps it (b, S)."""
        iou = paired_iou(self.averages[image, slot][:, None], self.boxes[image])  # (b, K)
        boxes, overlaps = [], []
        for source in range(len(self.weights)):
            own = np.where(self.sources[image] == source, iou, -1.0)
            best = own.argmax(1)
            boxes.append(self.boxes[image, best])
            overlaps.append(own[np.arange(len(own)), best] > 0)
        return np.stack(boxes, 1), np.stack(overlaps, 1)

    def _pairs(self, nearest: np.ndarray, has_one: np.ndarray) -> np.ndarray:
        """IoUs (b, S (S - 1) / 2) of the pairs of sources; 0 where one has no box."""
        p, q = _pairs_of(len(self.weights))
        both = has_one[:, p] & has_one[:, q]
        return np.where(both, paired_iou(nearest[:, p], nearest[:, q]), 0.0)

    def _agreement(self, image: np.ndarray, pairs: np.ndarray, absent: str) -> np.ndarray:
        p, q = _pairs_of(len(self.weights))
        weight = np.broadcast_to(self.weights[p] * self.weights[q], pairs.shape)
        if absent == "silent":
            sources = range(len(self.weights))
            has_box = np.stack([(self.sources == s).any(1) for s in sources], 1)[image]
            weight = weight * (has_box[:, p] & has_box[:, q])
        total = weight.sum(1)
        return np.where(total > 0, (weight * pairs).sum(1) / np.where(total > 0, total, 1.0), 0.0)

    def _medoids(
        self,
        image: np.ndarray,
        is_member: np.ndarray,
        nearest: np.ndarray,
        has_one: np.ndarray,
    ) -> np.ndarray:
        """Of each cluster the member (b, 4) of the largest mean IoU with the other sources'."""
        support = np.zeros(is_member.shape)
        for source, weight in enumerate(self.weights.tolist()):
            iou = paired_iou(self.boxes[image], nearest[:, source, None])
            others = (self.sources[image] != source) & has_one[:, source, None]
            support += weight * np.where(others, iou, 0.0)
        # a mean over the others' weights: a source of little weight has more of the others
        support /= np.maximum(self.weights.sum() - self.weights[self.sources[image]], 1e-300)
        return self.boxes[image, np.where(is_member, support, -1.0).argmax(1)]


def _pairs_of(sources: int) -> tuple[np.ndarray, np.ndarray]:
    """The sources of each pair, the larger number first."""
    return np.tril_indices(sources, -1)


def _assemble(
    parts: Sequence[tuple[np.ndarray, ...]], number: int, sources: int, max_boxes: int | None
) -> FusedBoxes:
    """The clusters of all blocks as a table of ``number`` images."""
    image = np.concatenate([np.zeros(0, np.int64), *(images[at] for images, at, *_ in parts)])
    boxes = np.concatenate([np.zeros((0, 4)), *(part[2] for part in parts)])
    agreement, support = (np.concatenate([np.zeros(0), *(p[i] for p in parts)]) for i in (3, 4))
    members = np.concatenate([np.zeros(0, np.int64), *(part[5] for part in parts)])
    order = np.lexsort((-support, -agreement, image))
    table = BoxTable.from_rows(image[order], boxes[order], agreement[order], number)
    members, support = members[order], support[order]
    kept = np.ones(len(table.boxes), dtype=bool) if max_boxes is None else table.rank < max_boxes
    p, q = _pairs_of(sources)
    iou = np.concatenate([np.zeros((0, len(p))), *(part[6] for part in parts)])[order][kept]
    pairs = np.eye(sources)
    pairs[p, q] = pairs[q, p] = iou.mean(0) if len(iou) else 0.0
    table, members, support = table.keep(kept), members[kept], support[kept]
    counts = table.counts
    sums = np.bincount(table.owner, weights=table.scores, minlength=number)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return FusedBoxes(table, means, members, support, pairs, int((~kept).sum()))
