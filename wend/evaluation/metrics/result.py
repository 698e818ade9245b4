"""The metrics of one data set under one protocol: a result, and how to come by it.

Shape letters: I = images.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from wend.errors import InputError
from wend.evaluation.metrics.arrays import pack
from wend.evaluation.metrics.numbers import METRICS, accuracy, mean_boxes
from wend.evaluation.metrics.per_image import PerImage, score_arrays
from wend.evaluation.protocols import EvalProtocol
from wend.structures.records import ClassPredictions, Detections, ImageRecord


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
        num_excluded: images that the protocol's blacklist left out of the denominator.
    """

    protocol: EvalProtocol
    metrics: dict[str, float]
    max_boxes: int
    mean_boxes: float
    num_images: int
    missing: dict[str, str] = field(default_factory=dict)
    num_excluded: int = 0

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
            "num_excluded": self.num_excluded,
            "missing": dict(self.missing),
            "protocol": self.protocol.to_dict(),
        }


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
        protocol: frame, IoU test and average.
        max_boxes: K >= 1, the boxes that the ``_multi`` metrics may look at.

    Raises:
        InputError: ids that do not match, images without truth or class, K < 1.
    """
    arrays = pack(records, detections, class_predictions)
    return result_of(score_arrays(arrays, protocol), max_boxes)


def result_of(per_image: PerImage, max_boxes: int) -> WSOLResult:
    """The metrics of scored images; see :func:`compute`."""
    if max_boxes < 1:
        raise InputError(f"max_boxes (K of the multi-box metrics) must be >= 1, got {max_boxes}")
    why = "needs class predictions (config entry WEND.CLASS_PREDICTIONS)"
    missing = {
        name: why
        for name, metric in METRICS.items()
        if metric.classes is not None and per_image.class_rank is None
    }
    return WSOLResult(
        protocol=per_image.protocol,
        metrics={n: accuracy(per_image, n, max_boxes) for n in METRICS if n not in missing},
        max_boxes=max_boxes,
        mean_boxes=mean_boxes(per_image, max_boxes),
        num_images=len(per_image),
        missing=missing,
        num_excluded=per_image.num_excluded,
    )


class WSOLMetric:
    """Collects records and detections batch by batch; :func:`compute` does the work.

    Args:
        protocol, max_boxes: see :func:`compute`.
        class_predictions: a classifier's, for Top-1 and Top-5.

    Example:
        >>> from wend.evaluation.protocols import get_protocol
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
