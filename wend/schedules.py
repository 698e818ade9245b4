"""Numbers that change in the course of the training: η of eq. (4), and the factor on L_unsup."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Real
from typing import Any

from wend.errors import InputError
from wend.registry import FunctionRegistry


@dataclass(frozen=True)
class Progress:
    """How far the training is.

    Attributes:
        iteration: steps taken before this one, from 0.
        max_iter: steps of the whole training.
    """

    iteration: int = 0
    max_iter: int = 1

    @property
    def share(self) -> float:
        """Share of the training that is done, in [0, 1]."""
        return min(self.iteration / max(self.max_iter, 1), 1.0)


SCHEDULES: FunctionRegistry[Callable[..., float]] = FunctionRegistry(
    "schedule", ("progress", "start", "end")
)
schedule = SCHEDULES.register


@schedule("constant")
def constant(progress: Progress, start: float, end: float) -> float:
    """Stays at the start."""
    return start


@schedule("linear")
def linear(progress: Progress, start: float, end: float) -> float:
    """Goes from start to end in equal steps."""
    return start + (end - start) * progress.share


@schedule("cosine")
def cosine(progress: Progress, start: float, end: float) -> float:
    """Goes from start to end along half a cosine: slow, fast, slow."""
    return start + (end - start) * (1 - math.cos(math.pi * progress.share)) / 2


@schedule("step")
def step(progress: Progress, start: float, end: float, *, step_at: float = 0.5) -> float:
    """The start, and from the share ``step_at`` of the training on the end."""
    return start if progress.share < step_at else end


@dataclass(frozen=True)
class Scheduled:
    """A number >= 0 that goes from a start to an end.

    Attributes:
        start, end: finite, >= 0; a constant stays at its start.
        schedule: name of a registered schedule, ``module:name`` or ``./file.py:name``.
        parameters: its keyword-only parameters.

    Raises:
        ValueError: a number out of its range, an unknown schedule, or one that cannot be called.
    """

    start: float
    end: float = 1.0
    schedule: str = "constant"
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for value in (self.start, self.end):
            if not 0 <= value < math.inf:
                raise ValueError(f"expected a finite number >= 0, got {value}")
        with SCHEDULES.trial(self.schedule, self.parameters):
            self.at(Progress())

    @cached_property
    def _function(self) -> Callable[..., float]:
        return SCHEDULES.get(self.schedule)

    def at(self, progress: Progress) -> float:
        """The number at a point of the training.

        Raises:
            InputError: the schedule returns no finite number >= 0.
        """
        value = self._function(progress, self.start, self.end, **self.parameters)
        if (
            not isinstance(value, Real) or not 0 <= value < math.inf
        ):  # NumPy's numbers are real, too
            raise InputError(
                f"schedule {self.schedule!r}: expected to return a finite number >= 0, got "
                f"{value!r} at iteration {progress.iteration} of {progress.max_iter}"
            )
        return float(value)
