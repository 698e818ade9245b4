"""All numbers of one set of detections: every protocol, metric and K with interval and baseline.

Engines log them, ``wend evaluate`` and ``wend report`` print and write them, and ``wend compare``
takes them apart. Shape letters: I = images, M = columns (a metric and, where it has K, its K).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from wend.errors import InputError
from wend.evaluation.class_pairs import class_pairs
from wend.evaluation.fixed_boxes import BASELINE_MAX_BOXES, FixedBoxes
from wend.evaluation.intervals import Interval, check_level, mean_interval
from wend.evaluation.metrics import Metric, accuracy, choose_metrics
from wend.evaluation.numbers import iou_histogram, max_box_acc, mean_boxes, recall_curve
from wend.evaluation.per_image import PerImage, box_scores, check_aligned, score
from wend.evaluation.protocols import EvalProtocol
from wend.structures.box_table import BoxTable
from wend.structures.class_predictions import ClassPredictions
from wend.structures.data_set import DataSet

ALL = "all"
WHY_MISSING = "needs class predictions (--class-predictions, or WEND.CLASS_PREDICTIONS)"
HEADLINE = "gt_known_loc_multi"  # whose boxes are counted in metrics.json
RECALL_KS = 100  # of metrics.json's curve
BOX_THRESHOLDS = (0.3, 0.5, 0.7)  # of metrics.json's MaxBoxAcc


@dataclass(frozen=True)
class Column:
    """A column of numbers: a metric and, where it has K, its K (None for all boxes)."""

    metric: Metric
    k: int | None = None

    @property
    def label(self) -> str:
        """Its name: ``gt_known_loc``, ``gt_known_loc_multi@5`` or ``gt_known_loc_multi@all``."""
        return f"{self.metric.name}@{k_name(self.k)}" if self.metric.has_k else self.metric.name

    @property
    def k_text(self) -> str:
        """K in tables; for a metric without K, the number of boxes that it uses, "-" for none."""
        if self.num_boxes == 0:
            return "-"
        return k_name(self.k if self.metric.has_k else self.metric.most_boxes)

    @property
    def num_boxes(self) -> int | None:
        """Boxes per image that it uses; None for all."""
        return self.metric.num_boxes(self.k)


@dataclass(frozen=True)
class Cell:
    """One number, in the metric's unit.

    Attributes:
        value: the metric's value.
        interval: its confidence interval, or None if it has none or none was asked for.
        baseline: the same metric of fixed boxes that never look at the image, at the same K.
        mean_boxes: boxes per image that the metric used, on average; None if it looks at none.
        min_score: the lowest score among the K best; None without boxes.
    """

    value: float
    interval: Interval | None
    baseline: float | None
    mean_boxes: float | None
    min_score: float | None


@dataclass(frozen=True, eq=False)
class ProtocolScores:
    """All numbers of a set of detections under one protocol.

    Attributes:
        per_image: the scores of each image.
        cells: the numbers of the table.
        ks: every K that was asked for; the first is that of the headline.
        level: the confidence of the intervals; None without intervals.
        missing: metrics that could not be computed, and the reasons.
        fixed: the scores of as many content-blind boxes as the largest K; None without any.
    """

    per_image: PerImage
    cells: Mapping[Column, Cell]
    ks: Sequence[int | None]
    level: float | None = None
    missing: Mapping[Metric, str] = field(default_factory=dict)
    fixed: PerImage | None = None

    @property
    def protocol(self) -> EvalProtocol:
        """The protocol of these numbers."""
        return self.per_image.protocol

    @property
    def numbers(self) -> dict[str, float]:
        """Metric name -> value, at the first K."""
        return {
            column.metric.name: cell.value
            for column, cell in self.cells.items()
            if not column.metric.has_k or column.k == self.ks[0]
        }

    @property
    def copies(self) -> dict[Column, Column]:
        """Columns that are another's number by definition -> that other, which is shown.

        With K = 1 the multi-box metrics are the single-box ones; where no image has more than seven
        boxes, K = 10 is K = all. Shown is the first, but "all" before a K that no image has boxes
        for.
        """
        most = int(self.per_image.num_boxes.max())
        groups: dict[tuple, list[Column]] = {}
        for column in self.cells:
            if column.metric.same_as is not None:
                key = column.metric.same_as(self.per_image, column.num_boxes)
                groups.setdefault(key, []).append(column)
        copies: dict[Column, Column] = {}
        for columns in groups.values():
            shown = min(columns, key=lambda c: c.metric.has_k and c.k is not None and c.k > most)
            copies.update((column, shown) for column in columns if column is not shown)
        return copies

    def scalars(self) -> dict[str, float]:
        """:attr:`numbers` and K, for logs and curves; without K where that is "all"."""
        k = self.ks[0]
        return self.numbers if k is None else {**self.numbers, "max_boxes": float(k)}

    def to_dict(self) -> dict:
        """Plain values for ``metrics.json``; ``max_boxes`` and the flat ones with K are at ks[0].

        ``multi`` holds every K; ``intervals``, their kinds (``wend.evaluation.intervals.KINDS``)
        and ``baseline`` are by column label, such as ``gt_known_loc_multi@5``.
        """
        per_image, first = self.per_image, self.ks[0]
        cells = {column.label: cell for column, cell in self.cells.items()}
        multi = {k_name(k): self._at(k) for k in dict.fromkeys(self.ks)}
        acc = max_box_acc(per_image, BOX_THRESHOLDS).tolist()
        intervals = {label: cell.interval for label, cell in cells.items() if cell.interval}
        return {
            **self.numbers,
            "max_boxes": k_name(first) if first is None else first,
            "mean_boxes": multi[k_name(first)]["mean_boxes"],
            "missing": {metric.name: why for metric, why in self.missing.items()},
            "multi": multi,
            "recall_at_k": recall_curve(per_image, RECALL_KS).tolist(),
            "max_box_acc": dict(zip(map(str, BOX_THRESHOLDS), acc, strict=True)),
            "mean_top_iou": accuracy(per_image, "mean_iou"),
            "mean_best_iou": accuracy(per_image, "mean_best_iou"),
            "iou_histogram": iou_histogram(per_image)[0].tolist(),
            "num_images": len(per_image),
            "num_excluded": per_image.num_excluded,
            "protocol": self.protocol.to_dict(),
            "intervals": {label: [x.low, x.high] for label, x in intervals.items()},
            "interval_kinds": {label: x.kind for label, x in intervals.items()},
            "level": self.level,
            "baseline": {
                label: cell.baseline for label, cell in cells.items() if cell.baseline is not None
            },
        }

    def _at(self, k: int | None) -> dict:
        """The metrics at a K, and the boxes that they used."""
        cells = {
            column.metric.name: cell
            for column, cell in self.cells.items()
            if column.metric.has_k and column.k == k
        }
        head = cells[HEADLINE]
        return {
            **{name: cell.value for name, cell in cells.items()},
            "mean_boxes": head.mean_boxes,
            "min_score": head.min_score,
        }


def k_name(k: int | None) -> str:
    """K in tables and files."""
    return ALL if k is None else str(k)


def parse_k(text: str) -> int | None:
    """Read K of the command line: a number from 1, or "all" (None).

    Raises:
        InputError: the text is neither.
    """
    if text == ALL:
        return None
    if not (text.isascii() and text.isdecimal()) or int(text) < 1:
        raise InputError(f"max boxes (K): expected a number from 1 or {ALL!r}, got {text!r}")
    return int(text)


def columns(
    metrics: Iterable[Metric], ks: Sequence[int | None], with_classes: bool
) -> list[Column]:
    """The columns of a table: the metrics in their order, those that have K at every K."""
    known = [metric for metric in metrics if with_classes or not metric.needs_classes]
    return [
        Column(metric, k)
        for metric in known
        for k in (dict.fromkeys(ks) if metric.has_k else (None,))
    ]


def drop_low_scores(detections: BoxTable, score_threshold: float | None) -> BoxTable:
    """The boxes whose score is at least the threshold (None: all)."""
    if score_threshold is None:
        return detections
    return detections.keep(np.asarray(box_scores(detections) >= score_threshold))


def score_all(
    data_set: DataSet,
    detections: BoxTable,
    protocols: Sequence[EvalProtocol],
    ks: Sequence[int | None],
    class_predictions: ClassPredictions | None = None,
    *,
    metrics: Sequence[Metric] | None = None,
    level: float | None = None,
    baseline: FixedBoxes | None = None,
) -> dict[str, ProtocolScores]:
    """Every protocol's numbers of the same detections, by protocol name.

    Args:
        data_set: one or more images with true boxes.
        detections: their detections, by the same index.
        ks: each K of the metrics that have K; None for all boxes.
        class_predictions: predictions of a classifier, for Top-1 and Top-5.
        metrics: as :func:`choose_metrics` returns them; the default metrics if None.
        level: the confidence of the intervals, such as 0.95; None for no intervals.
        baseline: content-blind boxes to score beside them.

    Raises:
        InputError: the table has other images, an image has no truth or no class where needed,
            K < 1, a level out of (0, 1), or two protocols have the same name.
    """
    if not ks or any(k is not None and k < 1 for k in ks):
        raise InputError(f"max boxes (K): expected numbers from 1 or {ALL!r}, got {list(ks)}")
    names = [protocol.name for protocol in protocols]
    if len(set(names)) < len(names):
        raise InputError(f"a protocol is named twice: {', '.join(names)}")
    if level is not None:
        check_level(level)
    check_aligned(data_set, detections)
    class_rank = None if class_predictions is None else class_predictions.ranks(data_set)
    pairs = class_pairs(data_set, detections)
    fixed_rank = class_rank if pairs is None else pairs.class_rank
    most = _most(ks, int(detections.counts.max()))
    scores = {}
    for protocol in protocols:
        per_image = score(data_set, detections, protocol, class_rank)
        fixed = None
        if baseline is not None:
            fixed = score(data_set, baseline.table(data_set, protocol, most), protocol, fixed_rank)
        scores[protocol.name] = scores_of(per_image, ks, metrics, level=level, fixed=fixed)
    return scores


def scores_of(
    per_image: PerImage,
    ks: Sequence[int | None],
    metrics: Sequence[Metric] | None = None,
    *,
    level: float | None = None,
    fixed: PerImage | None = None,
) -> ProtocolScores:
    """One protocol's numbers; other arguments as of :func:`score_all`.

    Args:
        fixed: the scores of content-blind boxes under the same protocol.
    """
    metrics = choose_metrics() if metrics is None else metrics
    wanted = columns(metrics, ks, per_image.class_rank is not None)
    present = {column.metric for column in wanted}
    missing = {metric: WHY_MISSING for metric in metrics if metric not in present}
    cells = {column: _cell(per_image, column, level, fixed) for column in wanted}
    return ProtocolScores(per_image, cells, ks, level, missing, fixed)


def _most(ks: Sequence[int | None], most_detected: int) -> int:
    """Number of fixed boxes needed: the largest K, "all" being as many as any image has."""
    limit = max(1, min(most_detected, BASELINE_MAX_BOXES))
    return max(limit if k is None else k for k in ks)


def lowest_score(detections: BoxTable, num_boxes: int | None) -> float | None:
    """The lowest score among the ``num_boxes`` best (None: all) of each image; None without any."""
    images = detections.with_boxes
    if not len(images):
        return None
    last = detections.offsets[images + 1] - 1
    if num_boxes is not None:
        last = np.minimum(last, detections.offsets[images] + num_boxes - 1)
    return float(box_scores(detections)[last].min())


def _cell(per_image: PerImage, column: Column, level: float | None, fixed: PerImage | None) -> Cell:
    metric, num_boxes = column.metric, column.num_boxes
    value, interval = _value(per_image, column, level)
    if num_boxes == 0:  # it looks at no box, detected or fixed
        return Cell(value, interval, None, None, None)
    return Cell(
        value=value,
        interval=interval,
        baseline=None if fixed is None else metric.value(fixed, column.k),
        mean_boxes=mean_boxes(per_image, num_boxes),
        min_score=lowest_score(per_image.ranked, column.k if metric.has_k else num_boxes),
    )


def _value(
    per_image: PerImage, column: Column, level: float | None
) -> tuple[float, Interval | None]:
    """The number in its unit, and its interval where it is an average."""
    metric = column.metric
    if not metric.is_average:
        return metric.value(per_image, column.k), None
    values = metric.values(per_image, column.k)
    value = metric.average_of(per_image, values)
    if level is None:
        return value, None
    classes = metric.averaged_classes(per_image)
    interval = mean_interval(values, classes, bounds=metric.bounds, level=level)
    return value, interval and interval.scaled(metric.scale, value)
