"""Whether the boxes of a round are better or worse than those before it, without truth.

Detectors that learned from the boxes predict images that they have not seen, and what they predict
is compared with the boxes that these images were *given*, which no round has changed. Given boxes
may be wrong as often as they like: as long as they do not err as the detectors do, better detectors
agree more with them. Counted is the agreement beyond that with the given boxes of other images
(:mod:`wend.evaluation.agreement`), so that boxes in the middle of every image win nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wend.evaluation.agreement import agreement
from wend.evaluation.statistics import paired_difference
from wend.structures.box_table import BoxTable


def held_out_agreement(
    predicted: BoxTable, given: BoxTable, sizes: np.ndarray
) -> tuple[float, np.ndarray]:
    """The agreement of detectors with the given boxes of images that they have not seen.

    Args:
        predicted: their boxes, best first.
        given: boxes of the same images.
        sizes: (I, 2) width and height of the images.

    Returns:
        The mean IoU of the best boxes, 0 where a detector predicts none, and the agreement beyond
        chance (I,), -1 being the least; 0 where a detector predicts none.
    """
    both = agreement({"predicted": predicted, "given": given}, sizes)
    of_images = np.nan_to_num(both.of_images[0], nan=0.0)
    share = float(np.mean((predicted.counts > 0) & (given.counts > 0))) if len(given) else 0.0
    return float(both.iou[0, 1]) * share, of_images


@dataclass(frozen=True)
class Verdict:
    """Whether boxes are learned from any further.

    Attributes:
        accepted: whether they are.
        reason: why, or why not, in words.
    """

    accepted: bool
    reason: str


def judge(now: np.ndarray, before: np.ndarray | None) -> Verdict:
    """Judge the boxes that detectors learned from by what the detectors agree on.

    Args:
        now: agreement beyond chance (I,) of the detectors that learned from these boxes.
        before: the same of those that learned from the boxes before them; None for the given
            boxes, which detectors have to learn anything from at all.

    Returns:
        Refused where the 95 % interval of the mean difference lies below zero, or where there is
        nothing before, is not above it.
    """
    difference = paired_difference(now, np.zeros_like(now) if before is None else before)
    text = f"{now.mean():.3f}"
    low, high = difference.low, difference.high
    if low is None or high is None:
        return Verdict(True, f"agreement {text}, of too few images to compare")
    interval = f"{difference.difference:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}"
    if before is None:
        return Verdict(low > 0, f"agreement beyond chance {text} ({interval})")
    return Verdict(high >= 0, f"agreement beyond chance {text} ({interval} of the change)")
