"""Detectron2's numbers of which lines of its log are still to come, as a part of a checkpoint.

Its writers take the median of 20 iterations, and write each 20. A training that goes on within them
would have the median of fewer, and lack what was only to be written.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from detectron2.utils.events import EventStorage, get_event_storage, has_event_storage

PERIOD = 20  # iterations between two lines, and the window of the median, of Detectron2's writers
TIMES = frozenset({"time", "data_time", "rank_data_time", "eta_seconds"})  # of another start


_LAST_LINES: WeakKeyDictionary[EventStorage, int] = WeakKeyDictionary()


def end_lines_at(storage: EventStorage, max_iter: int) -> None:
    """Tell of a training's storage how many iterations there are: the last has a line, too."""
    _LAST_LINES[storage] = max_iter


def end_lines_as(storage: EventStorage, other: EventStorage) -> None:
    """Tell of a storage that it is for steps of another one."""
    if other in _LAST_LINES:
        _LAST_LINES[storage] = _LAST_LINES[other]


def is_line_due(storage: EventStorage) -> bool:
    """Whether the writers write a line of this iteration: numbers that the device has to be waited
    for are put there alone.
    """
    done = storage.iter + 1
    return done % PERIOD == 0 or done == _LAST_LINES.get(storage)


class LogWindow:
    """The numbers that lines of the log to come are made of, of this process.

    Attributes:
        first_line: the first iteration whose line comes again where a training goes on; None where
            the checkpoint does not say.
    """

    def __init__(self) -> None:
        self.first_line: int | None = None
        self._to_restore: dict[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        """``first_line``, and ``numbers``: name -> whether it is smoothed, and its values, each
        with its iteration; the latest alone where it is not.
        """
        if not has_event_storage():  # nothing is trained
            return {}
        storage = get_event_storage()
        # a checkpoint is saved before the line of its own iteration is written
        first_line = storage.iter // PERIOD * PERIOD
        hints = storage.smoothing_hints()
        numbers = {}
        for name, history in storage.histories().items():
            values = [
                [float(value), int(iteration)]
                for value, iteration in history.values()
                if iteration > storage.iter - PERIOD
            ]
            if name not in TIMES and values and values[-1][1] >= first_line:
                if not hints[name]:  # a line has the latest one
                    values = values[-1:]
                numbers[name] = {"is_smoothed": bool(hints[name]), "values": values}
        return {"first_line": first_line, "numbers": numbers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Keep them for :meth:`restore`: there is no storage yet."""
        if not state:
            return
        self.first_line = int(state["first_line"])
        self._to_restore = {
            str(name): (
                bool(each["is_smoothed"]),
                [(float(value), int(iteration)) for value, iteration in each["values"]],
            )
            for name, each in state["numbers"].items()
        }

    def restore(self, storage: EventStorage) -> None:
        """Put them into the storage of a training that begins."""
        for name, (is_smoothed, values) in self._to_restore.items():
            for value, iteration in values:
                storage.put_scalar(name, value, smoothing_hint=is_smoothed, cur_iter=iteration)
