"""All numbers of one set of detections: every protocol, metric and K with interval and baseline.

What ``wend evaluate`` prints and writes, and ``wend compare`` takes apart. Shape letters: I =
images, M = columns (a metric and, for a multi-box metric, its K).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from wend.errors import InputError
from wend.evaluation.fixed_boxes import FixedBoxes
from wend.evaluation.metrics import METRICS, PerImage, average, pack, score_arrays, summary, values
from wend.evaluation.protocols import EvalProtocol
from wend.structures.records import ClassPredictions, Detections, ImageRecord

ALL = "all"
BASELINE_MAX_BOXES = 100  # fixed boxes for K "all", which has no number of its own
WHY_MISSING = "needs class predictions (--class-predictions, or WEND.CLASS_PREDICTIONS)"


@dataclass(frozen=True)
class Column:
    """A number of the table: a metric, and its K where it looks at several boxes.

    Attributes:
        metric: a name of ``wend.evaluation.metrics.METRICS``.
        k: K of a ``_multi`` metric, None for all boxes; None for the others.
    """

    metric: str
    k: int | None = None

    @property
    def multi(self) -> bool:
        """Whether the metric looks at several boxes."""
        return METRICS[self.metric].multi

    @property
    def label(self) -> str:
        """``gt_known_loc``, ``gt_known_loc_multi@5`` or ``gt_known_loc_multi@all``."""
        return f"{self.metric}@{k_name(self.k)}" if self.multi else self.metric


@dataclass(frozen=True)
class Cell:
    """One number in per cent.

    Attributes:
        value: the metric.
        interval: low and high of its interval, or None if no bootstrap was asked for.
        baseline: the same metric of fixed boxes that never look at the image, at the same K.
        mean_boxes: boxes an image that the metric looked at, on average.
        min_score: the lowest score among them; None without boxes.
    """

    value: float
    interval: tuple[float, float] | None
    baseline: float | None
    mean_boxes: float
    min_score: float | None


@dataclass(frozen=True, eq=False)
class ProtocolScores:
    """What one protocol says of the detections.

    Attributes:
        per_image: of the detections.
        cells: the numbers of the table.
        missing: metrics that could not be computed, and why.
        fixed: of the content-blind boxes, as many as the largest K asks for; None without.
    """

    per_image: PerImage
    cells: Mapping[Column, Cell]
    missing: Mapping[str, str] = field(default_factory=dict)
    fixed: PerImage | None = None

    @property
    def protocol(self) -> EvalProtocol:
        """Whose numbers these are."""
        return self.per_image.protocol


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are computed: ``rounds`` 0 for none."""

    rounds: int = 1000
    level: float = 0.95
    seed: int = 0


def k_name(k: int | None) -> str:
    """K as it stands in tables and files."""
    return ALL if k is None else str(k)


def parse_k(text: str) -> int | None:
    """K of the command line: a number from 1, or "all" (None).

    Raises:
        InputError: neither.
    """
    if text == ALL:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"max boxes (K): expected a number from 1 or {ALL!r}, got {text!r}")
    return int(text)


def columns(ks: Sequence[int | None], with_classes: bool) -> list[Column]:
    """The columns of a table: single-box metrics, then each multi-box metric at each K."""
    known = [name for name, m in METRICS.items() if m.classes is None or with_classes]
    single = [Column(name) for name in known if not METRICS[name].multi]
    single.sort(key=lambda column: METRICS[column.metric].classes or 99)
    return single + [Column(n, k) for n in known if METRICS[n].multi for k in dict.fromkeys(ks)]


def drop_low_scores(
    detections: Iterable[Detections], score_threshold: float | None
) -> list[Detections]:
    """The boxes whose score is at least the threshold (None: all)."""
    if score_threshold is None:
        return list(detections)
    kept = []
    for one in detections:
        number = int(np.count_nonzero(one.scores >= score_threshold))  # best first
        kept.append(Detections(one.image_id, one.boxes[:number], one.scores[:number]))
    return kept


def score_all(
    records: Sequence[ImageRecord],
    detections: Sequence[Detections],
    protocols: Sequence[EvalProtocol],
    ks: Sequence[int | None],
    class_predictions: ClassPredictions | None = None,
    *,
    bootstrap: Bootstrap | None = None,
    baseline: FixedBoxes | None = None,
) -> dict[str, ProtocolScores]:
    """Every protocol's numbers of the same detections, by protocol name.

    Args:
        records: I >= 1 images with true boxes.
        detections: one for each of them.
        ks: K of the multi-box metrics; None for all boxes.
        bootstrap: of the intervals; None or ``rounds`` 0 for none.
        baseline: boxes to choose content-blind ones from.

    Raises:
        InputError: ids that do not match, images without truth or class, K < 1, ...
    """
    if not ks or any(k is not None and k < 1 for k in ks):
        raise InputError(f"max boxes (K): expected numbers from 1 or {ALL!r}, got {list(ks)}")
    names = [protocol.name for protocol in protocols]
    if len(set(names)) < len(names):
        raise InputError(f"a protocol is named twice: {', '.join(names)}")
    arrays = pack(records, detections, class_predictions)
    wanted = columns(ks, class_predictions is not None)
    lowest = {k: _lowest_score(detections, k) for k in {1, *ks}}
    most = max((len(d.boxes) for d in detections), default=0)
    scores = {}
    for protocol in protocols:
        per_image = score_arrays(arrays, protocol)
        fixed = None if baseline is None else baseline.score(protocol, _most(ks, most))
        scores[protocol.name] = _protocol_scores(per_image, wanted, lowest, bootstrap, fixed)
    return scores


def _most(ks: Sequence[int | None], most_detected: int) -> int:
    """Fixed boxes that are needed: the largest K, "all" being as many as any image has."""
    limit = max(1, min(most_detected, BASELINE_MAX_BOXES))
    return max(limit if k is None else k for k in ks)


def _lowest_score(detections: Sequence[Detections], k: int | None) -> float | None:
    used = [d.scores[len(d.scores) - 1 if k is None else min(k, len(d.scores)) - 1]
            for d in detections if len(d.scores)]  # fmt: skip
    return float(min(used)) if used else None


def _protocol_scores(
    per_image: PerImage,
    wanted: Sequence[Column],
    lowest: Mapping[int | None, float | None],
    bootstrap: Bootstrap | None,
    fixed: PerImage | None,
) -> ProtocolScores:
    from wend.evaluation.statistics import bootstrap_interval

    of = np.array([values(per_image, c.metric, c.k) for c in wanted])  # (M, I)
    intervals: Sequence = [None] * len(wanted)
    if bootstrap is not None and bootstrap.rounds:
        by_class = per_image.protocol.average == "class"
        intervals = 100 * bootstrap_interval(
            of,
            per_image.class_ids if by_class else None,
            rounds=bootstrap.rounds,
            level=bootstrap.level,
            seed=bootstrap.seed,
        )
    cells = {}
    for column, row, interval in zip(wanted, of, intervals, strict=True):
        cells[column] = Cell(
            value=100 * average(per_image, row),
            interval=None if interval is None else (float(interval[0]), float(interval[1])),
            baseline=None if fixed is None else _baseline_value(fixed, per_image, column),
            mean_boxes=_mean_boxes(per_image, column),
            min_score=lowest[column.k if column.multi else 1],
        )
    present = {column.metric for column in wanted}
    missing = {name: WHY_MISSING for name in METRICS if name not in present}
    return ProtocolScores(per_image, cells, missing, fixed)


def _limit(column: Column) -> int | None:
    """Boxes an image that a column looks at; None for all."""
    if not column.multi:
        return 1
    limits = [k for k in (column.k, METRICS[column.metric].max_boxes) if k is not None]
    return min(limits) if limits else None


def _mean_boxes(per_image: PerImage, column: Column) -> float:
    limit = _limit(column)
    count = per_image.num_boxes if limit is None else np.minimum(per_image.num_boxes, limit)
    return float(count.mean())


def _baseline_value(fixed: PerImage, per_image: PerImage, column: Column) -> float:
    """The metric of the fixed boxes with the same class predictions."""
    same_classes = replace(fixed, class_rank=per_image.class_rank)
    return 100 * average(same_classes, values(same_classes, column.metric, column.k))


def to_dict(scores: ProtocolScores, ks: Sequence[int | None], bootstrap: Bootstrap) -> dict:
    """Plain values for ``metrics.json``; ``max_boxes`` and the flat ``_multi`` ones are at ks[0].

    The keys of :meth:`wend.evaluation.metrics.WSOLResult.to_dict` mean what they mean there;
    ``multi`` holds the other K, ``intervals`` and ``baseline`` are by column label, such as
    ``gt_known_loc_multi@5``.
    """
    cells = {column.label: cell for column, cell in scores.cells.items()}
    flat = {c.metric: cell.value for c, cell in scores.cells.items() if c in _flat(ks)}
    intervals = {label: cell.interval for label, cell in cells.items() if cell.interval}
    baseline = {label: cell.baseline for label, cell in cells.items() if cell.baseline is not None}
    whole = summary(scores.per_image, list(dict.fromkeys(ks)))
    whole.pop("metrics")
    for k in dict.fromkeys(ks):
        whole["multi"][k_name(k)]["min_score"] = cells[f"gt_known_loc_multi@{k_name(k)}"].min_score
    return {
        **flat,
        "max_boxes": k_name(ks[0]) if ks[0] is None else ks[0],
        "mean_boxes": cells[f"gt_known_loc_multi@{k_name(ks[0])}"].mean_boxes,
        "missing": dict(scores.missing),
        **whole,
        "intervals": intervals,
        "bootstrap": {
            "rounds": bootstrap.rounds,
            "level": bootstrap.level,
            "seed": bootstrap.seed,
        },
        "baseline": baseline,
    }


def _flat(ks: Sequence[int | None]) -> set[Column]:
    return {Column(n, ks[0]) if m.multi else Column(n) for n, m in METRICS.items()}
