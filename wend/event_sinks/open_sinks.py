"""The sinks of a training that runs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from wend.errors import InputError
from wend.event_sinks.registry import EVENT_SINKS, EventSink, RunToLog
from wend.user_code import is_own, own_errors, own_traceback
from wend.yaml_files import leaves

logger = logging.getLogger(__name__)


class OpenSinks:
    """Opens the sinks of ``WEND.LOGGERS`` and hands numbers to all of them.

    A sink that fails once it is open is left out from then on, with a warning: it ends no training.

    Args:
        names: as :meth:`wend.registry.Registry.get` takes them.
        output_dir: the run's folder.
        config: the run's config.
        start_iter: the iteration, from 0, that the training begins with.

    Raises:
        InputError: a sink cannot be opened; those before it are closed.
        UserCodeError: one of the user's raised an error.
    """

    def __init__(
        self,
        names: Iterable[str],
        output_dir: str | Path,
        config: Mapping[str, Any],
        *,
        start_iter: int = 0,
    ) -> None:
        run = RunToLog(Path(output_dir), dict(leaves(config)), start_iter)
        self._sinks: dict[str, EventSink] = {}
        try:
            for name in names:
                self._sinks[name] = _open(name, run)
        except BaseException:
            self.close()
            raise

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Numbers by name, of an iteration (from 0)."""
        for name, sink in list(self._sinks.items()):
            try:
                sink.add(values, step)
            except Exception as error:
                self._sinks.pop(name)
                _warn(name, sink, "takes no more numbers", error)

    def close(self) -> None:
        """Close all; they take no more numbers."""
        while self._sinks:
            name, sink = self._sinks.popitem()
            try:
                sink.close()
            except Exception as error:
                _warn(name, sink, "could not be closed", error)


def _open(name: str, run: RunToLog) -> EventSink:
    factory = EVENT_SINKS.get(name)
    about = f"config entry WEND.LOGGERS: {name!r} could not be opened"
    with own_errors(factory, about):
        try:
            return factory(run)
        except InputError:
            raise
        except Exception as error:
            if is_own(factory):
                raise
            raise InputError(f"{about} ({type(error).__name__}: {error})") from error


def _warn(name: str, sink: EventSink, problem: str, error: Exception) -> None:
    shown = f"{type(error).__name__}: {error}"
    if is_own(type(sink)):
        shown = f"its own traceback:\n{own_traceback(error)}"
    logger.warning("event sink %r %s: %s", name, problem, shown)
