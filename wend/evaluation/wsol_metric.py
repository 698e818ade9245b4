"""A metric that collects batches: ``update``, ``compute``, ``reset``, ``merge``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from wend.evaluation.collect import detection_table
from wend.evaluation.metrics import Metric
from wend.evaluation.protocols import EvalProtocol
from wend.evaluation.scoring import ProtocolScores, score_all
from wend.structures.class_predictions import ClassPredictions
from wend.structures.data_set import DataSet
from wend.structures.records import ImageId, ImageRecord


class WSOLMetric:
    """Collects images and detections batch by batch; :func:`.scoring.score_all` does the work.

    Args:
        protocol: frame, IoU test and average.
        max_boxes: K of the metrics that have K.
        class_predictions: predictions of a classifier, for Top-1 and Top-5.
        metrics: as :func:`choose_metrics` returns them; the default metrics if None.

    Example:
        >>> from wend.evaluation.protocols import get_protocol
        >>> metric = WSOLMetric(get_protocol("original"), max_boxes=5)
        >>> record = ImageRecord(1, "a.jpg", 10, 10, gt_boxes=[[0, 0, 8, 8]])
        >>> metric.update([record], {1: ([[0, 0, 8, 7]], [0.9])})
        >>> metric.compute().numbers["gt_known_loc"]
        100.0
    """

    def __init__(
        self,
        protocol: EvalProtocol,
        *,
        max_boxes: int,
        class_predictions: ClassPredictions | None = None,
        metrics: Sequence[Metric] | None = None,
    ) -> None:
        self.protocol = protocol
        self.max_boxes = max_boxes
        self.class_predictions = class_predictions
        self.metrics = metrics
        self.reset()

    def reset(self) -> None:
        """Forget everything that was added."""
        self.records: list[ImageRecord] = []
        self.detections: list[tuple[ImageId, object, object]] = []

    def update(
        self,
        records: Iterable[ImageRecord],
        detections: Mapping[ImageId, tuple[object, object]],
    ) -> None:
        """Add images, and detections: image id -> boxes (P, 4) in original pixels, scores (P,)."""
        self.records.extend(records)
        self.detections += [(image_id, *pair) for image_id, pair in detections.items()]

    def merge(self, other: WSOLMetric) -> None:
        """Add what another process or loader collected."""
        self.records += other.records
        self.detections += other.detections

    def compute(self) -> ProtocolScores:
        """The numbers of all that was added."""
        data_set = DataSet.from_records(self.records, "images added so far")
        detections = detection_table(data_set, self.detections)
        scores = score_all(
            data_set,
            detections,
            [self.protocol],
            [self.max_boxes],
            self.class_predictions,
            metrics=self.metrics,
        )
        return scores[self.protocol.name]
