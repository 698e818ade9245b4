"""WSOL metrics: Top-1, Top-5 and GT-known Loc, of the best box and of the K best boxes.

Everything follows from two whole numbers an image: the place of its first correct box in the
detections (best first), and the place of its true class in the class predictions. Nothing here
opens a file.

Shape letters: I = images, B = detected boxes of all images, G = true boxes of all images.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from wend.boxes import paired_iou
from wend.errors import InputError, some
from wend.protocol import EvalProtocol
from wend.records import ClassPredictions, Detections, ImageRecord

NO_HIT = np.iinfo(np.int64).max  # the place of the first correct box where none is correct


def align(records: Sequence[ImageRecord], detections: Iterable[Detections]) -> list[Detections]:
    """Detections in the records' order.

    Raises:
        InputError: an image of the records is missing or there twice, or one is unknown.
    """
    by_id: dict = {}
    twice = []
    for one in detections:
        if one.image_id in by_id:
            twice.append(one.image_id)
        by_id[one.image_id] = one
    known = {record.image_id for record in records}
    if len(known) != len(records):
        raise InputError(f"the data set has {len(records)} records but {len(known)} image ids")
    problems = {
        "missing": [r.image_id for r in records if r.image_id not in by_id],
        "there more than once": twice,
        "not of the data set": [i for i in by_id if i not in known],
    }
    said = [f"{len(ids)} {what} ({some(ids)})" for what, ids in problems.items() if ids]
    if said:
        raise InputError(
            f"detections must hold each of the {len(records)} images of the data set once: "
            + "; ".join(said)
        )
    return [by_id[record.image_id] for record in records]


def best_ious(
    records: Sequence[ImageRecord], detections: Sequence[Detections], protocol: EvalProtocol
) -> tuple[np.ndarray, np.ndarray]:
    """Best IoU of each detected box with any true box of its image, in the protocol's frame.

    Args:
        records: I images with at least one true box each.
        detections: theirs, in the same order.

    Returns:
        IoU (B,) in [0, 1], and the index into ``records`` (B,) of each box's image.
    """
    without = [r.image_id for r in records if not len(r.gt_boxes)]
    if without:
        raise InputError(
            f"{len(without)} of {len(records)} images have no true box ({some(without)}); they can "
            f"be neither right nor wrong: evaluate on a data set whose images all have boxes"
        )
    widths = np.array([r.width for r in records], dtype=np.float64)
    heights = np.array([r.height for r in records], dtype=np.float64)
    num_gt = np.array([len(r.gt_boxes) for r in records], dtype=np.int64)
    gt_image = np.repeat(np.arange(len(records)), num_gt)
    gt = np.concatenate([r.gt_boxes for r in records] or [np.zeros((0, 4))])
    gt = protocol.to_frame(gt, widths[gt_image], heights[gt_image])  # (G, 4)
    first_gt = np.cumsum(num_gt) - num_gt

    image = np.repeat(np.arange(len(records)), [len(d.boxes) for d in detections])
    boxes = np.concatenate([d.boxes for d in detections] or [np.zeros((0, 4))])
    boxes = protocol.to_frame(boxes, widths[image], heights[image])  # (B, 4)
    best = np.zeros(len(boxes))
    for slot in range(num_gt.max(initial=0)):  # the slot-th true box of every image that has one
        (has,) = np.nonzero(num_gt[image] > slot)
        iou = paired_iou(boxes[has], gt[first_gt[image[has]] + slot])
        best[has] = np.maximum(best[has], iou)
    return best, image


def first_hit_ranks(
    records: Sequence[ImageRecord], detections: Sequence[Detections], protocol: EvalProtocol
) -> np.ndarray:
    """0-based place (I,) of each image's first correct box, ``NO_HIT`` where there is none."""
    best, image = best_ious(records, detections, protocol)
    num_boxes = np.array([len(d.boxes) for d in detections], dtype=np.int64)
    place = np.arange(len(best)) - (np.cumsum(num_boxes) - num_boxes)[image]
    ranks = np.full(len(records), NO_HIT)
    hit = protocol.is_hit(best)
    np.minimum.at(ranks, image[hit], place[hit])
    return ranks


@dataclass(frozen=True)
class WSOLResult:
    """The metrics of one data set under one protocol.

    Attributes:
        protocol: what they mean.
        metrics: name -> per cent (0..100): ``gt_known_loc``, ``gt_known_loc_multi`` and, with class
            predictions, ``top1_loc``, ``top5_loc``, ``top5_loc_multi``.
        max_boxes: K of the ``_multi`` metrics (``top5_loc_multi`` looks at min(5, K) boxes).
        mean_boxes: boxes an image among the first K, on average over the images.
        num_images: the denominator.
        missing: what could not be computed, and why.
    """

    protocol: EvalProtocol
    metrics: dict[str, float]
    max_boxes: int
    mean_boxes: float
    num_images: int
    missing: dict[str, str] = field(default_factory=dict)

    def scalars(self) -> dict[str, float]:
        """The metrics and K, for logs and curves; names have no "-", which Detectron2 drops."""
        return {**self.metrics, "max_boxes": float(self.max_boxes)}

    def to_dict(self) -> dict:
        """Plain values, for ``metrics.json``."""
        return {
            **self.metrics,
            "max_boxes": self.max_boxes,
            "mean_boxes": self.mean_boxes,
            "num_images": self.num_images,
            "missing": dict(self.missing),
            "protocol": self.protocol.to_dict(),
        }


def _average(hits: np.ndarray, class_ids: np.ndarray | None) -> float:
    """Per cent of hits (I,), over images, or over classes if ``class_ids`` (I,) is given."""
    if class_ids is None:
        return 100.0 * float(hits.mean())
    _, inverse = np.unique(class_ids, return_inverse=True)
    per_class = np.bincount(inverse, weights=hits) / np.bincount(inverse)
    return 100.0 * float(per_class.mean())


def _class_ids(records: Sequence[ImageRecord], protocol: EvalProtocol) -> np.ndarray | None:
    if protocol.average == "image":
        return None
    without = [r.image_id for r in records if r.class_id is None]
    if without:
        raise InputError(
            f"protocol {protocol.name} averages over classes, and {len(without)} images have no "
            f"class ({some(without)}); use a protocol that averages over images: original"
        )
    return np.array([r.class_id for r in records])


def compute(
    records: Sequence[ImageRecord],
    detections: Iterable[Detections],
    class_predictions: ClassPredictions | None = None,
    *,
    protocol: EvalProtocol,
    max_boxes: int,
) -> WSOLResult:
    """Score detections against the truth (paper, section 4.1, "Evaluation Metrics").

    A box is correct if its IoU with any true box of the image passes the protocol's threshold.
    ``gt_known_loc``: the best-scoring box is correct; ``gt_known_loc_multi``: one of the K best is.
    ``top1_loc``: that, and the best class is right. ``top5_loc``: the best box is correct and the
    true class is among the five best; ``top5_loc_multi``: one of the five best boxes instead. An
    image without any detection is a miss.

    Args:
        records: I >= 1 images with true boxes.
        detections: one for each of them, in any order.
        class_predictions: a classifier's, for Top-1 and Top-5.
        protocol: frame, threshold and average.
        max_boxes: K >= 1, the boxes that the ``_multi`` metrics may look at.

    Raises:
        InputError: ids that do not match, images without truth or class, K < 1.
    """
    if max_boxes < 1:
        raise InputError(f"max_boxes (K of the multi-box metrics) must be >= 1, got {max_boxes}")
    if not records:
        raise InputError("there is no image to evaluate on")
    detections = align(records, detections)
    class_ids = _class_ids(records, protocol)
    box_rank = first_hit_ranks(records, detections, protocol)
    hits = {"gt_known_loc": box_rank == 0, "gt_known_loc_multi": box_rank < max_boxes}
    missing = {}
    if class_predictions is None:
        why = "needs class predictions (config entry WEND.CLASS_PREDICTIONS)"
        missing = dict.fromkeys(("top1_loc", "top5_loc", "top5_loc_multi"), why)
    else:
        class_rank = class_predictions.ranks(records)
        hits["top1_loc"] = (class_rank == 0) & (box_rank == 0)
        hits["top5_loc"] = (class_rank < 5) & (box_rank == 0)
        hits["top5_loc_multi"] = (class_rank < 5) & (box_rank < min(5, max_boxes))
    return WSOLResult(
        protocol=protocol,
        metrics={name: _average(hit, class_ids) for name, hit in hits.items()},
        max_boxes=max_boxes,
        mean_boxes=float(np.mean([min(len(d.boxes), max_boxes) for d in detections])),
        num_images=len(records),
        missing=missing,
    )


class WSOLMetric:
    """Collects records and detections batch by batch; :func:`compute` does the work.

    Args:
        protocol, max_boxes: see :func:`compute`.
        class_predictions: a classifier's, for Top-1 and Top-5.

    Example:
        >>> from wend.protocol import get_protocol
        >>> metric = WSOLMetric(get_protocol("original"), max_boxes=5)
        >>> record = ImageRecord(1, "a.jpg", 10, 10, gt_boxes=[[0, 0, 8, 8]])
        >>> metric.update([record], [Detections(1, [[0, 0, 8, 7]], [0.9])])
        >>> metric.compute().metrics["gt_known_loc"]
        100.0
    """

    def __init__(
        self,
        protocol: EvalProtocol,
        *,
        max_boxes: int,
        class_predictions: ClassPredictions | None = None,
    ) -> None:
        self.protocol = protocol
        self.max_boxes = max_boxes
        self.class_predictions = class_predictions
        self.reset()

    def reset(self) -> None:
        """Forget everything that was added."""
        self.records: list[ImageRecord] = []
        self.detections: list[Detections] = []

    def update(self, records: Iterable[ImageRecord], detections: Iterable[Detections]) -> None:
        """Add images and their detections; both may come in any order."""
        self.records.extend(records)
        self.detections.extend(detections)

    def merge(self, other: WSOLMetric) -> None:
        """Add what another process or loader collected."""
        self.update(other.records, other.detections)

    def compute(self) -> WSOLResult:
        """The metrics of all that was added."""
        return compute(
            self.records,
            self.detections,
            self.class_predictions,
            protocol=self.protocol,
            max_boxes=self.max_boxes,
        )
