"""Whether boxes can be what they are said to be: pixels of their images as ``x0, y0, x1, y1``.

One set of checks for truth, pseudo boxes and detections. :func:`other_reading` asks whether the
numbers of a whole file are something else: fractions or per cent of the image, pixels of a resized
copy, corners written as width and height, centres for corners, x and y exchanged. :func:`outside`
finds single boxes that leave their image, and :func:`why_outside` says what may be wrong with those
of a truth.

A whole file is judged by evidence that chance does not give:

* A box that has an area and lies within the first pixel and a half of its image is no object.
  Where at least half of the boxes are so, they are fractions; where fewer are, those are, if they
  differ and lie about the middle of 0..1 (a list that was joined of two).
* Objects of a data set lie about the middle of the images: the mean centre of ImageNet's 80,477
  true boxes is at (0.501, 0.514) of the image, with a standard deviation of (0.178, 0.157) per
  box, and CUB's at (0.497, 0.517). In a file of a smaller copy all boxes lie within a square at the
  upper left, and their mean centre is near the middle of the square and far from the image's. How
  far it must be depends on the number of images (:data:`DEVIATIONS`); from few images nothing is
  certain.
* Corners written as width and height, exchanged x and y, centres for corners (DETR's ``cx, cy, w,
  h``) and corners for centres make many boxes reach far out of their image, and read the other way
  all boxes lie inside, about the middle.

Shape letters: B = boxes of all images, I = images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from logging import Logger

import numpy as np

from wend.errors import ImplausibleError, InputError
from wend.structures.box_table import BoxTable

POLICIES = ("error", "count")
TO_COUNT = (
    "--implausible count, WEND.DATA.IMPLAUSIBLE count in a config, or implausible='count' in Python"
)
TOLERANCE = 1.0  # pixels that a box may reach out of its image: XML's and masks' "+1"
FIRST_PIXEL = 1.5  # fractions of a careless detector reach a little beyond 1
COPIES = {  # side in pixels that holds all boxes -> how the numbers may have been made
    100: "per cent of the image",
    224: "pixels of a 224 crop or copy",
    256: "pixels of a 256 copy",
    448: "pixels of a 448 crop or copy",
    512: "pixels of a 512 copy",
}
LARGER = 1.25  # images that tell something of a copy are larger than it by this in both sides
SPREAD = 0.18  # standard deviation of a natural box's centre, in shares of its image
DEVIATIONS = 4.5  # of the mean centre from the middle that are no chance
MOST_CENTRAL = 0.42  # of the image; a mean centre nearer to the middle may be a data set's habit
OFF_MIDDLE = 0.15  # of a side: as far from the middle may the mean centre of natural boxes be
FEW = 5  # images; less are no evidence
ENOUGH = 50_000  # boxes, spread over all, in which a pattern of the whole file shows
FAR = 0.05  # of a side: boxes that reach out farther are no rounding
MANY_FAR = 0.1  # of the boxes
PART = 0.01  # of the boxes; fewer fractions than that are single slips


@dataclass(frozen=True)
class Finding:
    """What was found implausible in boxes.

    Attributes:
        kind: a short name, for counts in files.
        number: boxes, or images, that are so.
        message: a sentence: how many of how many, the first, what is probably wrong, what to do.
        certain: no chance; an error unless the user asked for a count.
    """

    kind: str
    number: int
    message: str
    certain: bool = True


@dataclass(frozen=True, eq=False)
class Reading:
    """What the numbers of a file may really be.

    Attributes:
        kind: ``fractions``, ``copy``, or that of one of the :data:`ORDERS`.
        boxes: (B, 4) the same boxes in original pixels, were it so.
        is_so: (B,) the boxes that speak for it.
        meaning: the words for a message: what they do, and what they therefore are.
        advice: what to do.
        certain: chance does not give it.
        whole: not even a bad detector gives it: all boxes are so, differ, and lie about the middle.
    """

    kind: str
    boxes: np.ndarray
    is_so: np.ndarray
    meaning: str
    advice: str
    certain: bool = True
    whole: bool = False

    def finding(self, noun: str, describe: Callable[[int], str], certain: bool = True) -> Finding:
        """The finding, for boxes that are called ``noun``; ``describe`` names a box by its row."""
        number, total = int(self.is_so.sum()), len(self.is_so)
        first = describe(int(np.argmax(self.is_so)))
        message = f"{number} of {total} {noun} {self.meaning.format(first=first)}; {self.advice}"
        return Finding(self.kind, number, message, certain and self.certain)


def check_policy(policy: object, entry: str) -> None:
    """Raise InputError unless it is one of :data:`POLICIES`."""
    if policy not in POLICIES:
        raise InputError(f"{entry}: expected one of {', '.join(POLICIES)}, got {policy!r}")


def report(
    findings: Iterable[Finding], source: str, policy: str | None, logger: Logger | None
) -> None:
    """Refuse what is certain, unless it is only to be counted; log the rest as warnings.

    Args:
        source: what holds the boxes, for messages.
        policy: "error" (None, too) or "count".
        logger: None if the caller says them.

    Raises:
        ImplausibleError: a certain finding, and the policy is "error".
    """
    policy = policy or "error"
    check_policy(policy, "implausible boxes")
    findings = list(findings)
    wrong = [finding.message for finding in findings if finding.certain]
    if wrong and policy == "error":
        raise ImplausibleError(
            f"{source}: {'. '.join(wrong)}. To go on and only count them: {TO_COUNT}"
        )
    if logger is not None:
        for finding in findings:
            logger.warning("%s: %s", source, finding.message)


def outside(boxes: np.ndarray, sizes: np.ndarray, tolerance: float = TOLERANCE) -> np.ndarray:
    """Which boxes (B,) of (B, 4) reach out of their images, of sizes (B, 2), by more pixels."""
    beyond = np.zeros(len(boxes), dtype=bool)
    for column in range(4):  # one at a time: boxes are many
        x = boxes[:, column]
        beyond |= (x < -tolerance) | (x - sizes[:, column % 2] > tolerance)
    return beyond


def other_reading(boxes: np.ndarray, owner: np.ndarray, sizes: np.ndarray) -> Reading | None:
    """What the numbers of a file are, if they are hardly boxes in pixels of their images.

    Args:
        boxes: (B, 4), not clipped.
        owner: (B,) index of each box's image.
        sizes: (I, 2) width and height; 0, 0 where unknown, and such an image tells nothing.
    """
    sizes = np.asarray(sizes, dtype=np.float64)
    step = len(boxes) // ENOUGH
    if step > 1 and other_reading(boxes[::step], owner[::step], sizes) is None:
        return None
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    known = ((sizes[:, 0] > 0) & (sizes[:, 1] > 0))[owner] & (width > 0) & (height > 0)
    if not known.all():
        reading = other_reading(boxes[known], owner[known], sizes) if known.any() else None
        return reading and _of_all(reading, known, boxes)
    if not len(boxes):
        return None
    size = sizes[owner]
    return _fractions(boxes, size) or _copy(boxes, owner, size) or _reaching_out(boxes, owner, size)


def _of_all(reading: Reading, known: np.ndarray, boxes: np.ndarray) -> Reading:
    """The reading of some boxes as one of all of them."""
    is_so, mended = np.zeros(len(boxes), dtype=bool), boxes.copy()
    is_so[known], mended[known] = reading.is_so, reading.boxes
    return replace(reading, boxes=mended, is_so=is_so, whole=False)


def _fractions(boxes: np.ndarray, size: np.ndarray) -> Reading | None:
    low, high = 1 - FIRST_PIXEL, FIRST_PIXEL
    is_so = (boxes.min(1) >= low) & (boxes.max(1) <= high) & (size.min(1) > 4 * high)
    number = int(is_so.sum())
    if not number or number < PART * len(boxes):
        return None
    part = boxes[is_so]
    are_objects = _differ(part) and _central(part, np.ones((number, 2)))
    if 2 * number < len(boxes) and not are_objects:
        return None
    return Reading(
        "fractions",
        np.where(is_so[:, None], boxes * np.tile(size, 2), boxes),
        is_so,
        "lie within 0..1, in the first pixel of their image, such as {first}: they look like "
        "fractions of the image, not like pixels",
        "multiply them by the image's width and height",
        whole=are_objects and number == len(boxes),
    )


def _copy(boxes: np.ndarray, owner: np.ndarray, size: np.ndarray) -> Reading | None:
    """Boxes that all lie in a square at the upper left, as those of a smaller copy do."""
    reach = boxes.max()
    side = next((side for side in COPIES if reach <= 1.02 * side), None)
    if side is None or boxes.min() < -0.05 * side:
        return None
    larger = size.min(1) > LARGER * side
    images = len(np.unique(owner[larger]))
    if not images or larger.mean() < 0.5:
        return None
    centre = ((boxes[larger, :2] + boxes[larger, 2:]) / (2 * size[larger])).mean(0)
    needed = min(MOST_CENTRAL, 0.5 - DEVIATIONS * SPREAD / np.sqrt(images))
    certain = images >= FEW and bool((centre < needed).all())
    certain = certain and _central(boxes[larger], np.full((larger.sum(), 2), float(side)))
    if not certain and (size.min(1) > 1.15 * side).mean() < 0.9:
        return None
    x, y = (100 * centre).round().astype(int).tolist()
    return Reading(
        "copy",
        boxes * np.tile(size / side, 2),
        np.ones(len(boxes), dtype=bool),
        f"lie within 0..{side}, although most images are larger, with their mean centre at {x} % "
        f"of the width and {y} % of the height, such as {{first}}: they look like {COPIES[side]}, "
        f"not like original pixels",
        "map them back to the original images",
        certain=certain,
    )


def _central(boxes: np.ndarray, size: np.ndarray) -> bool:
    """Whether the mean centre of boxes (B, 4) is about the middle of their images (B, 2)."""
    centre = ((boxes[:, :2] + boxes[:, 2:]) / (2 * size)).mean(0)
    return bool((np.abs(centre - 0.5) <= OFF_MIDDLE).all())


def _differ(boxes: np.ndarray) -> bool:
    """Whether these are several boxes: one that is always the same is seen but once."""
    some_boxes = boxes[:: 1 + len(boxes) // 1000]
    return len(np.unique(some_boxes, axis=0)) >= FEW


def _inside(boxes: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Which boxes (B,) lie in their images, but for a pixel and a hundredth of the side."""
    limits = np.tile(0.01 * size + TOLERANCE, 2)
    inside = ((boxes >= -limits) & (boxes <= np.tile(size, 2) + limits)).all(1)
    return np.asarray(inside & (boxes[:, 2:] > boxes[:, :2]).all(1))


@dataclass(frozen=True)
class Order:
    """Another meaning of a box's four numbers, which is seen by boxes outside their image.

    Attributes:
        kind: a short name.
        mended: makes ``x0, y0, x1, y1`` of boxes (B, 4) that were read in the wrong order.
        is_so: the words for how the numbers are to be read.
        meaning, advice: the words for what they therefore are, and what to do.
    """

    kind: str
    mended: Callable[[np.ndarray], np.ndarray]
    is_so: str
    meaning: str
    advice: str


def _moved(boxes: np.ndarray, sides: float) -> np.ndarray:
    """Boxes (B, 4), moved by so many of their own sides."""
    return boxes + np.tile(sides * (boxes[:, 2:] - boxes[:, :2]), 2)


ORDERS = (
    Order(
        "exchanged",
        lambda boxes: boxes[:, [1, 0, 3, 2]],
        "x and y are exchanged",
        "width and height of the images swapped, or x and y of the boxes",
        "correct the sizes, or the order of the numbers",
    ),
    Order(  # x, y, width, height that are really x0, y0, x1, y1
        "corners",
        lambda boxes: np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1),
        "the last two are corners",
        "they look like corners x1, y1 that were written where width and height are expected",
        "write x, y, width, height, or name a format that has corners",
    ),
    Order(  # x, y, width, height that are really cx, cy, width, height
        "centre",
        lambda boxes: _moved(boxes, -0.5),
        "the first two are centres",
        "they look like centres cx, cy that were written where the corner x, y is expected",
        "write cx - width / 2 and cy - height / 2",
    ),
    Order(  # cx, cy, width, height that are really x, y, width, height
        "corner",
        lambda boxes: _moved(boxes, 0.5),
        "the first two are upper left corners",
        "they look like upper left corners x, y that were written where the centre is expected",
        "write x + width / 2 and y + height / 2",
    ),
    Order(  # cx, cy, width, height that are really x0, y0, x1, y1
        "corners_for_centre",
        lambda b: np.concatenate([(b[:, :2] + b[:, 2:]) / 2, b[:, 2:] - b[:, :2]], 1),
        "they are corners",
        "they look like corners x0, y0, x1, y1 that were written where centre, width and height "
        "are expected",
        "write the centre, the width and the height",
    ),
)
REACHING_OUT = tuple(order.kind for order in ORDERS)


def _reaching_out(boxes: np.ndarray, owner: np.ndarray, size: np.ndarray) -> Reading | None:
    far = (np.maximum(-boxes, boxes - np.tile(size, 2)) > FAR * np.tile(size, 2)).any(1)
    if far.sum() < MANY_FAR * len(far) or len(np.unique(owner[far])) < FEW:
        return None
    for order in ORDERS:
        mended = order.mended(boxes)
        if _inside(mended, size).mean() >= 0.99 and _central(mended, size):
            return Reading(
                order.kind,
                mended,
                outside(boxes, size),
                f"reach out of their image, such as {{first}}, and all of them lie inside where "
                f"{order.is_so}: {order.meaning}",
                order.advice,
                certain=_differ(boxes / np.tile(size, 2)),
            )
    return None


def why_outside(boxes: np.ndarray, sizes: np.ndarray) -> str:
    """What may be wrong with boxes (B, 4) that reach out of their images, of sizes (B, 2)."""
    if len(boxes) < FEW:
        return "are they slips, or of another image? Correct them, or cut them at its border"
    for order in ORDERS:
        if _inside(order.mended(boxes), sizes).all():
            return f"{order.meaning}: all of them lie inside where {order.is_so}; {order.advice}"
    width, height = sizes[0].tolist()
    if len(sizes) > 1 and (sizes == sizes[0]).all() and width == height:
        return (
            f"all these images are said to have {width:g} x {height:g} pixels: are the sizes of a "
            f"resized copy? State those of the images that the boxes are of"
        )
    return (
        "are the sizes, or the boxes, of another copy of the images? State both of the same images"
    )


def look_at_boxes(
    table: BoxTable, sizes: np.ndarray, names: Sequence[object], noun: str
) -> tuple[Finding, ...]:
    """What the boxes of I images are, if they are hardly pixels of their images, as a finding.

    Args:
        sizes: (I, 2) width and height of the images; 0, 0 where unknown.
        names: of the images, for messages.
        noun: the word for the boxes, for messages.
    """
    reading = other_reading(table.boxes, table.owner, sizes)
    if reading is None:
        return ()
    return (reading.finding(noun, named_box(table, names, sizes)),)


def repeated(table: BoxTable) -> np.ndarray:
    """Rows (n,) of boxes that repeat an earlier box of their image."""
    several = np.flatnonzero((table.counts > 1)[table.owner])
    if not len(several):
        return several
    keys = np.column_stack([table.owner[several], table.boxes[several]])
    _, first = np.unique(keys, axis=0, return_index=True)
    return np.setdiff1d(several, several[first], assume_unique=True)


def named_box(table: BoxTable, names: Sequence[object], sizes: np.ndarray) -> Callable[[int], str]:
    """A function that names the box of a row: ``[1, 2, 3, 4] of image 'a.jpg' (5 x 6 pixels)``."""

    def describe(row: int) -> str:
        image = int(table.images_of(row))
        box = ", ".join(f"{x:g}" for x in table.boxes[row].tolist())
        width, height = sizes[image].tolist()
        return f"[{box}] of image {names[image]!r} ({width:g} x {height:g} pixels)"

    return describe
