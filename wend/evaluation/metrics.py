"""Metrics: each is one object, from which its number, interval, baseline and titles follow.

The project's own are registered at the end of this module. A metric of your own is a function in
any file, made known by a decorator and chosen by name (``wend evaluate --metrics``, the config's
``WEND.METRICS``)::

    from wend.evaluation.metrics import register_metric

    @register_metric("IoU > 0.7")
    def loc70(per_image):
        return per_image.top_iou > 0.7

Shape letters: I = images, T = the protocol's thresholds, K = boxes that a metric may look at.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, SupportsIndex
from weakref import WeakKeyDictionary

import numpy as np

from wend.errors import InputError
from wend.evaluation.coco_metrics import coco_metrics
from wend.evaluation.numbers import averaged_classes
from wend.evaluation.per_image import NO_HIT, PerImage, passes, score
from wend.evaluation.protocols import PROTOCOLS
from wend.evaluation.statistics import mean
from wend.registry import Registry
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.user_code import own_errors

AVERAGES = ("protocol", "image", "class", "none")
# What metrics.json and per_image.parquet have beside the metrics
RESERVED = frozenset(
    "max_boxes mean_boxes min_score missing multi recall_at_k max_box_acc mean_top_iou "
    "iou_histogram num_images num_excluded protocol intervals interval_kinds level baseline "
    "dataset versions counts inputs coco score_maps first_hit top_iou best_iou".split()
)


@dataclass(frozen=True)
class Metric:
    """A number that describes a set of detections under a protocol.

    Attributes:
        name: its name in files, logs and on the command line: letters, digits and "_".
        title: its name in tables.
        function: takes a :class:`PerImage`, and K with ``has_k``; returns a value of each image
            (I,), booleans where it is hit or miss, or with ``average`` "none" one number.
        unit: "%", or the text in brackets behind the title.
        scale: the factor that takes values to that unit.
        digits: digits behind the point in tables.
        has_k: whether it is computed at every K that is asked for.
        most_boxes: how many of an image's best boxes it uses, whatever K; None for all, 0 for a
            metric that looks at no box.
        needs_classes: whether it needs class predictions.
        average: its values are averaged over images ("image"), over classes ("class"), or as the
            protocol says ("protocol"); "none" for a number that is no average, which has no
            interval and no column per image.
        bounds: the least and the largest value of an image, not scaled, from which its interval
            follows where values are no booleans; None if it has none.
        same_as: takes a :class:`PerImage` and K; returns what is computed, such that columns of a
            table with equal returns are the same number by definition, and one of them is shown.
            None if it is a copy of no other metric.
        any_protocol: whether it is the same number under every protocol; then a table has it once.
        higher_is_better: whether more of it is better, for whoever chooses by it.
    """

    name: str
    title: str
    function: Callable[..., np.ndarray | float]
    unit: str = "%"
    scale: float = 100.0
    digits: int = 2
    has_k: bool = False
    most_boxes: int | None = 1
    needs_classes: bool = False
    average: str = "protocol"
    bounds: tuple[float, float] | None = None
    same_as: Callable[[PerImage, int | None], tuple] | None = None
    any_protocol: bool = False
    higher_is_better: bool = True

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w+", self.name):  # "-" would not pass Detectron2's printer
            raise InputError(
                f'metric {self.name!r}: expected a name of letters, digits and "_" alone'
            )
        if self.name in RESERVED:
            raise InputError(
                f"metric {self.name!r}: the files of an evaluation have such an entry; choose "
                f"another name"
            )
        arguments = ("per_image", "K")[: 1 + self.has_k]
        try:
            inspect.signature(self.function).bind(*arguments)
        except TypeError as error:
            raise InputError(
                f"metric {self.name}: {error}; a metric with has_k={self.has_k} is called with "
                f"({', '.join(arguments)})"
            ) from None
        if self.average not in AVERAGES:
            raise InputError(
                f"metric {self.name}: average must be one of {AVERAGES}, got {self.average!r}"
            )
        if self.most_boxes is not None and self.most_boxes < 0:
            raise InputError(f"metric {self.name}: most_boxes must be >= 0, got {self.most_boxes}")
        if self.bounds is not None and not self.bounds[0] < self.bounds[1]:
            raise InputError(
                f"metric {self.name}: bounds must be a lower and a higher number, got {self.bounds}"
            )

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        """Pickle a registered metric by its name: its decorated function cannot be reached."""
        if self.name in METRICS and METRICS.get(self.name) is self:
            return _registered, (self.name,)
        return super().__reduce_ex__(protocol)

    @property
    def __wrapped__(self) -> Callable[..., np.ndarray | float]:
        """The function, by which a registry knows where the metric is defined."""
        return self.function

    @property
    def heading(self) -> str:
        """The title, with the unit where it is not per cent."""
        return self.title if self.unit == "%" else f"{self.title} ({self.unit})"

    @property
    def is_average(self) -> bool:
        """Whether each image has a value."""
        return self.average != "none"

    def num_boxes(self, k: int | None) -> int | None:
        """How many of an image's best boxes it uses; None for all."""
        if not self.has_k or k is None:
            return self.most_boxes
        return k if self.most_boxes is None else min(k, self.most_boxes)

    def averaged_classes(self, per_image: PerImage) -> np.ndarray | None:
        """Classes (I,) to average over, or None to average over images."""
        if self.average == "protocol":
            return averaged_classes(per_image)
        if self.average == "image":
            return None
        if per_image.class_ids is None:
            raise InputError(f"metric {self.name} averages over classes, and some images have none")
        return per_image.class_ids

    def values(self, per_image: PerImage, k: int | None = None) -> np.ndarray:
        """Its value for each image (I,), not scaled.

        Args:
            k: K >= 1 of a metric that has K, None for all boxes; the others ignore it.

        Raises:
            InputError: K < 1, no class predictions where needed, or the function returns no such
                values.
        """
        values = np.asarray(self._call(per_image, k))
        if values.shape != (len(per_image),) or not _are_numbers(values):
            raise InputError(
                f"metric {self.name}: expected a finite number of each of the {len(per_image)} "
                f"images, got {_described(values)}"
            )
        if self.bounds is not None and not (
            self.bounds[0] <= values.min() and values.max() <= self.bounds[1]
        ):
            raise InputError(
                f"metric {self.name}: expected values of images within its bounds {self.bounds}, "
                f"got {values.min()} to {values.max()}"
            )
        return values

    def average_of(self, per_image: PerImage, values: np.ndarray) -> float:
        """The metric, scaled, of values (I,) of :meth:`values`."""
        return self.scale * mean(values, self.averaged_classes(per_image))

    def value(self, per_image: PerImage, k: int | None = None) -> float:
        """The metric, scaled; arguments and errors as of :meth:`values`."""
        if self.is_average:
            return self.average_of(per_image, self.values(per_image, k))
        number = np.asarray(self._call(per_image, k))
        if number.shape != () or not _are_numbers(number):
            raise InputError(
                f"metric {self.name}: expected one finite number, got {_described(number)}"
            )
        return self.scale * float(number)

    def _call(self, per_image: PerImage, k: int | None) -> np.ndarray | float:
        if self.needs_classes and per_image.class_rank is None:
            raise InputError(f"metric {self.name} needs class predictions")
        if self.has_k and k is not None and k < 1:
            raise InputError(f"metric {self.name}: K must be >= 1 or None (all), got {k}")
        with own_errors(self.function, f"metric {self.name} failed"):
            return self.function(per_image, *[self.num_boxes(k)] * self.has_k)

    def text(self, value: float | None) -> str:
        """The text of a value in a table."""
        return "-" if value is None else f"{value:.{self.digits}f}"


def _registered(name: str) -> Metric:
    return METRICS.get(name)


def _are_numbers(values: np.ndarray) -> bool:
    return values.dtype.kind in "biuf" and bool(np.isfinite(values).all())


def _described(values: np.ndarray) -> str:
    bad = " with NaN or infinity" if values.dtype.kind == "f" and not _are_numbers(values) else ""
    return f"shape {values.shape} of {values.dtype}{bad}"


METRICS: Registry[Metric] = Registry("metric", lambda thing: isinstance(thing, Metric))


def register_metric(
    title: str, *, name: str | None = None, unit: str = "%", scale: float | None = None, **more: Any
) -> Callable[[Callable[..., np.ndarray | float]], Metric]:
    """Decorator: make a function a registered :class:`Metric`.

    Args:
        title: its name in tables.
        name: its name in files; the function's by default.
        unit, scale: see :class:`Metric`; the scale is 100 for "%" and 1 for others by default.
        more: the other attributes of :class:`Metric`; with ``has_k`` it uses all K boxes by
            default.
    """
    more = {"most_boxes": None if more.get("has_k") else 1, **more}
    scale = (100.0 if unit == "%" else 1.0) if scale is None else scale

    def make(function: Callable[..., np.ndarray | float]) -> Metric:
        metric = Metric(name or function.__name__, title, function, unit, scale, **more)
        return METRICS.register(metric.name)(metric)

    return make


def choose_metrics(names: Iterable[str] = (), others: Iterable[Metric] = ()) -> list[Metric]:
    """The metrics of every table, and further metrics after them.

    Args:
        names: registered names, ``module:name`` or ``./file.py:name``.
        others: metrics that are not registered, after those.

    Raises:
        InputError: no metric has that name, or two have the same name or title.
    """
    chosen = [METRICS.get(name) for name in DEFAULT_METRICS]
    for name in names:
        metric = METRICS.get(name)
        if metric not in chosen:
            chosen.append(metric)
    chosen += others
    for attribute in ("name", "heading"):
        listed = [getattr(metric, attribute) for metric in chosen]
        if len(set(listed)) < len(listed):
            raise InputError(f"two metrics have the same {attribute}: {', '.join(listed)}")
    return chosen


def accuracy(per_image: PerImage, name: str, k: int | None = None) -> float:
    """The value of a registered metric, scaled (as a rule to per cent)."""
    return METRICS.get(name).value(per_image, k)


# --- the project's own


def hits(
    per_image: PerImage,
    num_boxes: int | None = 1,
    classes: int | None = None,
    *,
    threshold: float | None = None,
) -> np.ndarray:
    """Which images (I,) have a correct box among their best ones, as booleans.

    Args:
        num_boxes: how many of the best boxes; None for all.
        classes: the true class must also be among so many best classes; None for any class.
        threshold: one of the protocol's thresholds; needed if it has several.

    Raises:
        InputError: ``classes`` without class predictions, or a protocol with several thresholds and
            none of them is named; :func:`localized` takes all of them.
    """
    protocol = per_image.protocol
    if threshold is None:
        if len(protocol.thresholds) > 1:
            raise InputError(
                f"hits: protocol {protocol.name} has several thresholds; say which "
                f"(threshold=...), or take localized(), the share of them at which images are hits"
            )
        threshold = protocol.thresholds[0]
    strict = protocol.strictness(classified=classes is not None)
    rank = per_image.hit_rank[protocol.criteria.index((threshold, strict))]
    right = rank < (NO_HIT if num_boxes is None else num_boxes)
    if classes is None:
        return right
    if per_image.class_rank is None:
        raise InputError("hits: a number of classes needs class predictions; there are none")
    return right & (per_image.class_rank < classes)


def localized(
    per_image: PerImage, num_boxes: int | None = 1, classes: int | None = None
) -> np.ndarray:
    """:func:`hits` (I,); with several thresholds, the share of them at which an image is a hit."""
    thresholds = per_image.protocol.thresholds
    each = [hits(per_image, num_boxes, classes, threshold=t) for t in thresholds]
    return each[0] if len(each) == 1 else np.mean(each, axis=0)


def _same_localized(classes: int | None) -> Callable[[PerImage, int | None], tuple]:
    """``same_as`` of :func:`localized`: K that look at the same boxes give the same number."""

    def same_as(per_image: PerImage, num_boxes: int | None) -> tuple:
        return "localized", classes, boxes_looked_at(per_image, num_boxes)

    return same_as


def boxes_looked_at(per_image: PerImage, num_boxes: int | None) -> int:
    """The most boxes of an image that are looked at where ``num_boxes`` (None: all) may be."""
    most = max(1, int(per_image.num_boxes.max()))
    return most if num_boxes is None else min(num_boxes, most)


_SHARE = (0.0, 1.0)


@register_metric("Top-1 Cls", needs_classes=True, most_boxes=0, bounds=_SHARE)
def top1_cls(per_image: PerImage) -> np.ndarray:
    """The best class is the true one, whatever the boxes."""
    return _classified(per_image, 1)


@register_metric("Top-5 Cls", needs_classes=True, most_boxes=0, bounds=_SHARE)
def top5_cls(per_image: PerImage) -> np.ndarray:
    """The true class is among the five best, whatever the boxes."""
    return _classified(per_image, 5)


def _classified(per_image: PerImage, classes: int) -> np.ndarray:
    assert per_image.class_rank is not None  # needs_classes
    return per_image.class_rank < classes


def classified(per_image: PerImage, number: int) -> np.ndarray:
    """Which images (I,) are right with ``number`` guesses; shares as of :func:`localized`.

    Without classes of the boxes: the best box is correct, and the true class is among the
    ``number`` best. Else each of the first ``number`` class-box pairs is a guess.
    """
    protocol, ranks = per_image.protocol, per_image.pair_rank
    if ranks is None:
        return localized(per_image, 1, classes=number)
    strict = protocol.strictness(classified=True)
    rows = [protocol.criteria.index((t, strict)) for t in protocol.thresholds]
    each = ranks[rows] < number
    return each[0] if len(each) == 1 else np.mean(each, axis=0)


def _same_classified(number: int) -> Callable[[PerImage, int | None], tuple]:
    """``same_as`` of :func:`classified`."""

    def same_as(per_image: PerImage, num_boxes: int | None) -> tuple:
        if per_image.pair_rank is None:
            return _same_localized(number)(per_image, num_boxes)
        return "pairs", number

    return same_as


@register_metric("Top-1 Loc", needs_classes=True, bounds=_SHARE, same_as=_same_classified(1))
def top1_loc(per_image: PerImage) -> np.ndarray:
    """The best box is correct, and so is the best class (paper, section 4.1)."""
    return classified(per_image, 1)


@register_metric("Top-5 Loc", needs_classes=True, bounds=_SHARE, same_as=_same_classified(5))
def top5_loc(per_image: PerImage) -> np.ndarray:
    """The best box is correct, and the true class is among the five best; or one of five pairs."""
    return classified(per_image, 5)


@register_metric("GT-known Loc", bounds=_SHARE, same_as=_same_localized(None))
def gt_known_loc(per_image: PerImage) -> np.ndarray:
    """The best-scoring box is correct; an image without boxes is a miss."""
    return localized(per_image, 1)


@register_metric("GT-known Loc multi", has_k=True, bounds=_SHARE, same_as=_same_localized(None))
def gt_known_loc_multi(per_image: PerImage, k: int | None) -> np.ndarray:
    """One of the K best boxes is correct."""
    return localized(per_image, k)


@register_metric(
    "Top-5 Loc multi", has_k=True, most_boxes=5, needs_classes=True, bounds=_SHARE,
    same_as=_same_localized(5),
)  # fmt: skip
def top5_loc_multi(per_image: PerImage, k: int) -> np.ndarray:
    """One of the min(5, K) best boxes is correct, and the true class is among the five best."""
    return localized(per_image, k, classes=5)


def _max_box_acc(threshold: float, per_image: PerImage) -> np.ndarray:
    """IoU of the best-scoring box passes a threshold, whatever the protocol's own is.

    wsolevaluation's MaxBoxAcc takes the best over a score map's thresholds; detections have one set
    of boxes, so that there is nothing to choose.
    """
    return passes(per_image.top_iou, threshold, per_image.protocol.strict)


def _same_max_box_acc(threshold: float, per_image: PerImage, _: int | None) -> tuple:
    """At the protocol's only threshold it is the GT-known Loc."""
    if per_image.protocol.thresholds == (threshold,):
        return _same_localized(None)(per_image, 1)
    return "max_box_acc", threshold


MAX_BOX_ACC = [
    register_metric(
        f"MaxBoxAcc {threshold:g}", name=f"max_box_acc_{threshold * 100:.0f}", bounds=_SHARE,
        same_as=partial(_same_max_box_acc, threshold),
    )(partial(_max_box_acc, threshold))
    for threshold in (0.3, 0.5, 0.7)
]  # fmt: skip


@register_metric("Mean IoU", unit="0..1", digits=4, bounds=_SHARE)
def mean_iou(per_image: PerImage) -> np.ndarray:
    """IoU of the best-scoring box with its best true box."""
    return per_image.top_iou


@register_metric("Mean best IoU", unit="0..1", digits=4, most_boxes=None, bounds=_SHARE)
def mean_best_iou(per_image: PerImage) -> np.ndarray:
    """The largest IoU of any box."""
    return per_image.best_iou


@register_metric("CorLoc", average="image")
def corloc(per_image: PerImage) -> np.ndarray:
    """The best box has IoU > 0.5 in original pixels, whatever the protocol's frame.

    The share of images that are correctly localized (Deselaers et al. 2012), over images.
    """
    original = replace(PROTOCOLS["original"], blacklist=per_image.protocol.blacklist)
    best = replace(per_image.ranked.first(1), class_ids=None)
    return hits(score(per_image.data_set, best, original))


_computed: WeakKeyDictionary[BoxTable, WeakKeyDictionary[DataSet, dict]] = WeakKeyDictionary()


def coco_numbers(
    data_set: DataSet, detections: BoxTable, backend: str = "pycocotools"
) -> dict[str, float]:
    """:func:`coco_metrics`, computed once for detections of a data set while both are held.

    All backends give the same numbers: the first that is asked computes them.
    """
    numbers = _computed.setdefault(detections, WeakKeyDictionary())
    if data_set not in numbers:
        numbers[data_set] = coco_metrics(data_set, detections, backend=backend)
    return numbers[data_set]


def _coco(name: str, per_image: PerImage) -> float:
    return coco_numbers(per_image.data_set, per_image.detections)[name]


COCO_METRICS = [
    register_metric(
        title, name=name, scale=1.0, average="none", most_boxes=most_boxes, any_protocol=True
    )(partial(_coco, name))
    for name, title, most_boxes in (
        ("ap", "AP", 100),
        ("ap50", "AP50", 100),
        ("ap75", "AP75", 100),
        ("ar1", "AR@1", 1),
        ("ar10", "AR@10", 10),
        ("ar100", "AR@100", 100),
    )
]  # fmt: skip
DEFAULT_METRICS = tuple(
    metric.name
    for metric in (
        *(top1_cls, top5_cls, top1_loc, top5_loc, gt_known_loc, *MAX_BOX_ACC),
        *(gt_known_loc_multi, top5_loc_multi, mean_iou),
    )
)
