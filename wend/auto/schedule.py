"""How many iterations a training of so many minutes has."""

from __future__ import annotations

import math
from dataclasses import dataclass

LEAST_ITERATIONS = 150  # fewer learn nothing, however few photos there are
EVALUATIONS = 5  # during the training
SHARE = 0.85  # of the minutes that iterations get; the rest is for evaluations and files
ON_GPU = 3  # times the config's epochs, which are made for a CPU; longer did no harm
PROBE = 12  # iterations that the time of one is measured on


@dataclass(frozen=True)
class Schedule:
    """A training's length.

    Attributes:
        iterations: in all.
        period: between evaluations and checkpoints.
        warmup: iterations of the rate's linear rise.
    """

    iterations: int
    period: int
    warmup: int

    def entries(self) -> dict[str, str]:
        """The config entries that say so."""
        return {
            "WEND.EPOCHS": "0",
            "SOLVER.MAX_ITER": str(self.iterations),
            "SOLVER.WARMUP_ITERS": str(self.warmup),
            "TEST.EVAL_PERIOD": str(self.period),
            "SOLVER.CHECKPOINT_PERIOD": str(self.period),
        }


def choose(
    seconds: float, minutes: float, images: int, batch: int, warmup: int, epochs: int, *, gpu: bool
) -> Schedule:
    """The schedule of a training.

    Args:
        seconds: measured, of an iteration.
        minutes: that the training may take.
        images: photos that are trained on.
        batch: images per iteration.
        warmup: the config's; shortened where it is more than a fifth of the training.
        epochs: the config's, at most (on a GPU :data:`ON_GPU` times that), but for
            :data:`LEAST_ITERATIONS`.
        gpu: whether it runs on one.
    """
    most = max(LEAST_ITERATIONS, (ON_GPU if gpu else 1) * epochs * math.ceil(images / batch))
    iterations = max(1, min(most, int(SHARE * 60 * minutes / seconds)))
    return of_iterations(iterations, warmup)


def of_iterations(iterations: int, warmup: int) -> Schedule:
    """The schedule of so many iterations, at least 1."""
    period = math.ceil(iterations / EVALUATIONS)
    return Schedule(iterations, period, min(warmup, iterations // 5))
