"""What a checkpoint says of a training beside its weights: the entry ``training``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Protocol

from wend import processes
from wend.errors import InputError
from wend.training.facts import TRAINING_KEY

logger = logging.getLogger(__name__)


class Part(Protocol):
    """What changes while a training goes on: numbers, text, and lists and dicts of them."""

    def state_dict(self) -> dict[Any, Any]:
        """What a training that is resumed goes on with."""
        ...

    def load_state_dict(self, state: dict[Any, Any], /) -> None:
        """Go on with it."""
        ...


class OfEachProcess:
    """A part of which each process has its own: its state is a list of all of theirs.

    Args:
        part: this process's.
    """

    def __init__(self, part: Part) -> None:
        self._part = part
        self._others: list[dict[Any, Any]] = []

    def exchange(self) -> None:
        """Learn the other processes' states; all call it."""
        if processes.world_size() > 1:
            self._others = processes.gather(self._part.state_dict())

    def state_dict(self) -> dict[int, Any]:
        """Rank -> state: its own, and the others' as of the last :meth:`exchange`."""
        return {**dict(enumerate(self._others)), processes.rank(): self._part.state_dict()}

    def load_state_dict(self, state: dict[int, Any]) -> None:
        """Go on with that of this process's rank; one that there was not begins anew."""
        own = state.get(processes.rank())
        if own is not None:
            self._part.load_state_dict(own)


class TrainingState:
    """What of the entry :data:`TRAINING_KEY` of checkpoints changes while a training goes on.

    The checkpointer adds what the training is (:mod:`wend.training.facts`).

    Args:
        parts: what a training that is resumed goes on with, by name.
        of_each_process: such parts of which each process has its own.

    Attributes:
        saved: the entry of the checkpoint that was resumed; empty where there was none.
    """

    def __init__(
        self, parts: Mapping[str, Part], of_each_process: Mapping[str, Part] = MappingProxyType({})
    ) -> None:
        each = {name: OfEachProcess(part) for name, part in of_each_process.items()}
        self.parts: dict[str, Part] = {**parts, **each}
        self.saved: dict[str, Any] = {}

    def exchange(self) -> None:
        """Let parts learn what the other processes have; all call it before the main one saves."""
        for part in self.parts.values():
            exchange = getattr(part, "exchange", None)
            if exchange is not None:
                exchange()

    def state_dict(self) -> dict[str, Any]:
        """The state of each part."""
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the parts that the entry has.

        Raises:
            InputError: the entry is none of :meth:`state_dict`.
        """
        where = f"the checkpoint's entry {TRAINING_KEY!r}"
        if not isinstance(state, dict):
            raise InputError(f"{where}: expected a dict, got {type(state).__name__}")
        self.saved = state
        for name, part in self.parts.items():
            if name not in state:
                logger.info("%s has no %r: it begins anew", where, name)
                continue
            try:
                part.load_state_dict(state[name])
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise InputError(
                    f"{where}: {name!r} is damaged, or of another version of WEND "
                    f"({type(error).__name__}: {error})"
                ) from error
