"""Detectron2's numbers that the next line of its log is the median of, as a part of a checkpoint.

Its writers take the median of 20 iterations. A training that is resumed within them would have the
median of fewer.
"""

from __future__ import annotations

from typing import Any

from detectron2.utils.events import EventStorage, get_event_storage, has_event_storage

PERIOD = 20  # iterations between two lines, and the window of the median, of Detectron2's writers
TIMES = frozenset({"time", "data_time", "rank_data_time", "eta_seconds"})  # of another start


class LogWindow:
    """The numbers since the last line of the log, of this process."""

    def __init__(self) -> None:
        self._to_restore: dict[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        """Name -> whether it is smoothed, and pairs of a value and its iteration."""
        if not has_event_storage():  # nothing is trained
            return {}
        storage = get_event_storage()
        begin = (storage.iter + 1) // PERIOD * PERIOD
        hints = storage.smoothing_hints()
        since = {
            name: [[float(value), int(iteration)] for value, iteration in history.values()]
            for name, history in storage.histories().items()
            if name not in TIMES
        }
        since = {
            name: [pair for pair in pairs if pair[1] >= begin] for name, pairs in since.items()
        }
        return {
            name: {"is_smoothed": bool(hints[name]), "values": pairs}
            for name, pairs in since.items()
            if pairs
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Keep them for :meth:`restore`: there is no storage yet."""
        self._to_restore = {
            str(name): (
                bool(each["is_smoothed"]),
                [(float(value), int(iteration)) for value, iteration in each["values"]],
            )
            for name, each in state.items()
        }

    @property
    def begin(self) -> int | None:
        """The first iteration that :meth:`restore` logs again; None where it has none."""
        iterations = [i for _, values in self._to_restore.values() for _, i in values]
        return min(iterations, default=None)

    def forget(self) -> None:
        """Restore nothing: the training has ended, and its log is whole."""
        self._to_restore = {}

    def restore(self, storage: EventStorage) -> None:
        """Put them into the storage of a training that begins."""
        for name, (is_smoothed, values) in self._to_restore.items():
            for value, iteration in values:
                storage.put_scalar(name, value, smoothing_hint=is_smoothed, cur_iter=iteration)
