"""Event sinks by name, and what a sink is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from wend.distribution import is_installed
from wend.errors import InputError
from wend.registry import Registry


@dataclass(frozen=True)
class RunToLog:
    """What a sink is opened for.

    Attributes:
        output_dir: the run's folder; its name is the run's.
        config: the value of each config entry by its whole name, ``SOLVER.BASE_LR``.
        start_iter: the iteration, from 0, that the training begins with; what an earlier start of
            it has logged of this and later ones comes again.
    """

    output_dir: Path
    config: Mapping[str, Any]
    start_iter: int = 0

    @property
    def resumed(self) -> bool:
        """Whether the training goes on where an earlier one in this folder ended."""
        return self.start_iter > 0

    @property
    def name(self) -> str:
        """What the run is called where there are several."""
        return self.output_dir.absolute().name


class EventSink(Protocol):
    """Takes a training's numbers; the class, or a function that makes one, takes the run."""

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Numbers by name, of an iteration (from 0)."""

    def close(self) -> None:
        """The training has ended, or was interrupted."""


EVENT_SINKS: Registry[Callable[[RunToLog], EventSink]] = Registry("event sink")
event_sink = EVENT_SINKS.register


def require_packages(names: Iterable[str]) -> None:
    """Raise InputError unless what the sinks of these names need is installed.

    A sink's class names its module as ``package``; nothing is imported.
    """
    for name in names:
        package = getattr(EVENT_SINKS.get(name), "package", None)
        if package is not None and not is_installed(package):
            raise InputError(
                f"config entry WEND.LOGGERS: {name!r} needs the package {package}, which is not "
                f"installed: pip install {package}"
            )
