"""What speaks against a pseudo box without a truth: each signal is a function of the evidence.

A signal returns a value for each box, higher where the box is more likely wrong, in any unit: only
their order counts (:mod:`wend.audit.suspicion`). NaN is "nothing to say". Signals of one family
look at the same thing and have one vote together.

Shape letters: I = images, B = pseudo boxes of all images, P = boxes of an image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from wend.errors import InputError
from wend.registry import Registry
from wend.structures.box_table import BoxTable
from wend.structures.boxes import box_iou, paired_iou

SHAPE, OTHERS, DETECTOR, FLIPS = "shape", "others", "detector", "flips"
AT_THE_BOX = 0.5  # IoU from which a detector's box is at a pseudo box
TOUCHES = 0.01  # of a side: a box as near to the image's border touches it
SPREAD = 1.4826  # standard deviations of a normal distribution in its median absolute deviation


@dataclass(frozen=True, eq=False)
class Evidence:
    """What signals look at.

    Attributes:
        boxes: the pseudo boxes that are judged, in original pixels.
        sizes: (I, 2) width and height of the images.
        others: name -> boxes of another source of the same images.
        detector: boxes of a trained detector with scores, best first; None without one.
        mirrored: its boxes of the mirrored images, mirrored back; None without.
    """

    boxes: BoxTable
    sizes: np.ndarray
    others: Mapping[str, BoxTable] = field(default_factory=dict)
    detector: BoxTable | None = None
    mirrored: BoxTable | None = None

    def __post_init__(self) -> None:
        tables = [*self.others.values(), self.detector, self.mirrored]
        numbers = {len(self.sizes), *(len(table) for table in tables if table is not None)}
        if numbers != {len(self.boxes)}:
            raise InputError(f"evidence: {len(self.boxes)} images but others of {sorted(numbers)}")

    @property
    def fractions(self) -> np.ndarray:
        """The pseudo boxes (B, 4) in fractions of their images."""
        return self.boxes.boxes / np.tile(self.sizes, 2)[self.boxes.owner]


@dataclass(frozen=True)
class Signal:
    """A signal's function and what it is.

    Attributes:
        family: signals of a family have one vote together.
        meaning: what a high value says.
        values: evidence -> (B,) values, or several columns of them by a name each; None where the
            evidence for it is not there.
    """

    family: str
    meaning: str
    values: Callable[[Evidence], np.ndarray | Mapping[str, np.ndarray] | None]

    def __call__(self, evidence: Evidence) -> np.ndarray | Mapping[str, np.ndarray] | None:
        """The values, as of ``values``."""
        return self.values(evidence)


@dataclass(frozen=True, eq=False)
class Column:
    """The values of a signal.

    Attributes:
        name: of the signal, or ``<signal>:<source>``.
        family, meaning: as of :class:`Signal`.
        values: (B,), NaN where there is nothing to say.
    """

    name: str
    family: str
    meaning: str
    values: np.ndarray


SIGNALS: Registry[Signal] = Registry("audit signal")


def audit_signal(name: str, *, family: str, meaning: str) -> Callable[[Callable], Callable]:
    """Decorator: make a function of the evidence a signal.

    Args:
        name: of its column.
        family: one of ours ("shape", "others", "detector", "flips"), or one of its own.
        meaning: what a high value says, for the page and the docs.

    Raises:
        InputError: another signal has the name.
    """

    def add(function: Callable) -> Callable:
        SIGNALS.register(name)(Signal(family, meaning, function))
        return function

    return add


def columns(evidence: Evidence) -> list[Column]:
    """The columns of all signals for which there is evidence, by family and name.

    Raises:
        InputError: a signal returned something else than a value for each box.
    """
    made = []
    for name in SIGNALS:
        signal = SIGNALS.get(name)
        values = signal(evidence)
        if values is None:
            continue
        parts = values if isinstance(values, Mapping) else {"": values}
        for part, column in parts.items():
            title = f"{name}:{part}" if part else name
            array = np.asarray(column, dtype=np.float64)
            if array.shape != (len(evidence.boxes.boxes),) or np.isinf(array).any():
                raise InputError(
                    f"audit signal {title!r}: expected a finite number or NaN for each of "
                    f"{len(evidence.boxes.boxes)} boxes, got an array of shape {array.shape}"
                )
            made.append(Column(title, signal.family, signal.meaning, array))
    order = {family: i for i, family in enumerate((OTHERS, DETECTOR, FLIPS, SHAPE))}
    return sorted(made, key=lambda column: (order.get(column.family, len(order)), column.name))


def support(boxes: np.ndarray, others: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """How well some boxes are supported by others: the best IoU x score / highest score.

    Args:
        boxes: (N, 4).
        others: (P, 4).
        scores: (P,) >= 0 of the others.

    Returns:
        (N,) in [0, 1]; 0 where there are no others.
    """
    if not len(others):
        return np.zeros(len(boxes))
    return (box_iou(boxes, others) * _shares(scores)).max(1)


def _shares(scores: np.ndarray) -> np.ndarray:
    """Scores (P,) as shares of the highest; ones where none is above 0."""
    best = scores.max(initial=0)
    return scores.clip(min=0) / best if best > 0 else np.ones(len(scores))


def _by_image(evidence: Evidence, function: Callable[[int, np.ndarray], np.ndarray]) -> np.ndarray:
    """The values (B,) of a function of each image with boxes: index and boxes (P, 4) -> (P,)."""
    boxes = evidence.boxes
    parts = [function(i, boxes[i]) for i in boxes.with_boxes.tolist()]
    return np.concatenate([np.zeros(0), *parts])


def _outlying(values: np.ndarray) -> np.ndarray:
    """Distance (B,) of values from their median, in robust standard deviations."""
    if not len(values):
        return np.zeros(0)
    distance = np.abs(values - np.median(values))
    spread = SPREAD * float(np.median(distance))
    return distance / spread if spread > 0 else distance


@audit_signal("area", family=SHAPE, meaning="far from the usual share of the image's area")
def area(evidence: Evidence) -> np.ndarray:
    """Robust distance (B,) of the logarithm of the box's share of its image."""
    fractions = evidence.fractions
    shares = (fractions[:, 2:] - fractions[:, :2]).prod(1)
    return _outlying(np.log(shares))


@audit_signal("aspect", family=SHAPE, meaning="far from the usual width by height")
def aspect(evidence: Evidence) -> np.ndarray:
    """Robust distance (B,) of the logarithm of width by height in pixels."""
    sides = evidence.boxes.boxes[:, 2:] - evidence.boxes.boxes[:, :2]
    return _outlying(np.log(sides[:, 0] / sides[:, 1]))


@audit_signal("centre", family=SHAPE, meaning="far from the usual place in the image")
def centre(evidence: Evidence) -> np.ndarray:
    """Robust distance (B,) of the box's centre from the median centre, of both axes together."""
    middles = (evidence.fractions[:, 2:] + evidence.fractions[:, :2]) / 2
    return np.hypot(_outlying(middles[:, 0]), _outlying(middles[:, 1]))


@audit_signal("border", family=SHAPE, meaning="touches several borders; 4 is the whole image")
def border(evidence: Evidence) -> np.ndarray:
    """How many of the image's four borders (B,) the box touches."""
    fractions = evidence.fractions
    near = np.concatenate([fractions[:, :2] <= TOUCHES, fractions[:, 2:] >= 1 - TOUCHES], 1)
    return near.sum(1).astype(np.float64)


@audit_signal("own_score", family=SHAPE, meaning="a low score of its own source")
def own_score(evidence: Evidence) -> np.ndarray | None:
    """Minus the score (B,) that the source gave the box; None where it gave none."""
    return None if evidence.boxes.scores is None else -evidence.boxes.scores


@audit_signal("other", family=OTHERS, meaning="1 - IoU with the nearest box of another source")
def other(evidence: Evidence) -> dict[str, np.ndarray] | None:
    """1 - IoU (B,) with the nearest box of each other source; NaN where it has none there."""

    def distance(table: BoxTable) -> np.ndarray:
        def of_image(image: int, boxes: np.ndarray) -> np.ndarray:
            nearest = table[image]
            if not len(nearest):
                return np.full(len(boxes), np.nan)
            return 1 - box_iou(boxes, nearest).max(1)

        return _by_image(evidence, of_image)

    return {name: distance(table) for name, table in evidence.others.items()} or None


@audit_signal(
    "detector",
    family=DETECTOR,
    meaning="1 - the best IoU x score / highest score with a box of the detector",
)
def detector(evidence: Evidence) -> np.ndarray | None:
    """1 - :func:`support` (B,) by the detector's boxes of the image."""
    predicted = evidence.detector
    if predicted is None:
        return None
    return _by_image(
        evidence, lambda i, boxes: 1 - support(boxes, predicted[i], predicted.scores_of(i))
    )


@audit_signal(
    "detector_score",
    family=DETECTOR,
    meaning=f"1 - the detector's highest score at the box (IoU {AT_THE_BOX:g} or more)",
)
def detector_score(evidence: Evidence) -> np.ndarray | None:
    """1 - the highest score (B,) of the detector's boxes at the pseudo box; 1 where none is."""
    predicted = evidence.detector
    if predicted is None or predicted.scores is None:
        return None

    def of_image(image: int, boxes: np.ndarray) -> np.ndarray:
        there = box_iou(boxes, predicted[image]) >= AT_THE_BOX
        return 1 - np.where(there, predicted.scores_of(image), 0.0).max(1, initial=0.0)

    return _by_image(evidence, of_image)


@audit_signal(
    "flips",
    family=FLIPS,
    meaning="the detector's box nearest to it is another one in the mirrored image",
)
def flips(evidence: Evidence) -> np.ndarray | None:
    """1 - :func:`support` (B,) of the detector's box at the pseudo box by the mirrored image's.

    The detector's box at a pseudo box is that which supports it best; where none overlaps it, the
    highest scoring one. NaN where the detector has no box.
    """
    predicted, mirrored = evidence.detector, evidence.mirrored
    if predicted is None or mirrored is None:
        return None

    def of_image(image: int, boxes: np.ndarray) -> np.ndarray:
        ours, scores = predicted[image], predicted.scores_of(image)
        if not len(ours):
            return np.full(len(boxes), np.nan)
        nearest = ours[(box_iou(boxes, ours) * _shares(scores)).argmax(1)]  # of equals the first
        return 1 - support(nearest, mirrored[image], mirrored.scores_of(image))

    return _by_image(evidence, of_image)


def mirror_back(boxes: np.ndarray, width: float) -> np.ndarray:
    """Boxes (N, 4) of an image that was mirrored left to right, in the image itself."""
    mirrored = np.asarray(boxes, dtype=np.float64).copy()
    mirrored[:, [0, 2]] = width - mirrored[:, [2, 0]]
    return mirrored


def best_iou(boxes: BoxTable, truth: BoxTable) -> np.ndarray:
    """IoU (B,) of each box with its nearest true box; NaN on images without one."""
    single = (boxes.counts <= 1) & (truth.counts == 1)
    result = np.full(len(boxes.boxes), np.nan)
    owner = boxes.owner
    rows = np.flatnonzero(single[owner])
    result[rows] = paired_iou(boxes.boxes[rows], truth.boxes[truth.offsets[owner[rows]]])
    for image in np.flatnonzero(~single & (boxes.counts > 0) & (truth.counts > 0)).tolist():
        part = slice(boxes.offsets[image], boxes.offsets[image + 1])
        result[part] = box_iou(boxes[image], truth[image]).max(1)
    return result
