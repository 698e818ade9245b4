"""Which boxes a human is asked about: a random sample, stratified by suspicion.

The boxes are cut by suspicion into strata of equal size (to one box), and of each as many are drawn
(to one box), so that every box has about the same chance. That tells about as much as as many boxes
drawn from all where the suspicion is worth nothing, and the more the better it is. The strata take
turns, in an order by chance: each part of the sample from its beginning is such a sample itself, so
that a human may stop early, and a larger sample of the same seed begins with the smaller one, so
that answers stay good where more are drawn.

Shape letters: B = boxes, H = strata.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from wend.errors import InputError

STRATA = 5
LEAST_PER_STRATUM = 4  # boxes that a stratum has at least, where there are so many


@dataclass(frozen=True, eq=False)
class Design:
    """A sample and how it was drawn.

    Attributes:
        seed: of the random numbers.
        stratum: (B,) stratum of each box, 0 for the most suspicious ones.
        draw: (B,) when it is drawn, 1 for the first; 0 for a box that is not.
        order: (B,) boxes as they would be drawn if all were.
    """

    seed: int
    stratum: np.ndarray
    draw: np.ndarray
    order: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Boxes (H,) of each stratum."""
        return np.bincount(self.stratum, minlength=1)

    @property
    def drawn(self) -> np.ndarray:
        """Boxes (H,) of each stratum that are drawn."""
        return np.bincount(self.stratum[self.draw > 0], minlength=len(self.sizes))

    @property
    def probability(self) -> np.ndarray:
        """Inclusion probability (B,) of each box, whether it is drawn or not."""
        return (self.drawn / np.maximum(self.sizes, 1))[self.stratum]

    @property
    def sample(self) -> np.ndarray:
        """The drawn boxes (n,) in the order in which they are asked about."""
        drawn = np.flatnonzero(self.draw)
        return drawn[np.argsort(self.draw[drawn])]

    def digest(self) -> str:
        """Differs where strata or the order of the draws differ; not by how many are drawn."""
        columns = (self.stratum.astype("<i8"), self.order.astype("<i8"))
        return hashlib.sha256(b"".join(column.tobytes() for column in columns)).hexdigest()


def draw_sample(suspicion: np.ndarray, number: int, seed: int = 0) -> Design:
    """Draw boxes to ask about.

    Equal suspicion is put in order by chance, so that the strata are of equal size.

    Args:
        suspicion: (B,).
        number: boxes to draw; all where there are not more.
        seed: >= 0; the same one draws the same boxes.

    Raises:
        InputError: no box, or a number or seed out of range.
    """
    if not len(suspicion):
        raise InputError("wend boxes audit: there is no box to look at")
    boxes = len(suspicion)
    strata = max(1, min(STRATA, boxes // LEAST_PER_STRATUM))
    if number < strata:
        raise InputError(
            f"--sample: expected at least {strata} (one box of each stratum of suspicion), got "
            f"{number}"
        )
    if seed < 0:
        raise InputError(f"--seed: expected a whole number from 0, got {seed}")
    random = np.random.default_rng(seed)
    shuffled = random.permutation(boxes)
    ranked = shuffled[np.argsort(-suspicion[shuffled], kind="stable")]
    stratum = np.empty(boxes, dtype=np.int64)
    stratum[ranked] = np.arange(boxes) * strata // boxes
    turn = np.empty(boxes, dtype=np.int64)
    for members in (np.flatnonzero(stratum == h) for h in range(strata)):
        turn[random.permutation(members)] = np.arange(len(members))
    order = np.lexsort((random.random(boxes), turn))
    draw = np.zeros(boxes, dtype=np.int64)
    first = order[: min(number, boxes)]
    draw[first] = np.arange(1, len(first) + 1)
    return Design(seed, stratum, draw, order)
