"""The processes that a launcher started together to share out the images of a command.

They need no tensors of each other, so they meet in a store of keys alone (torch's ``TCPStore``):
the slowest may take hours longer than the others, no network of GPUs is set up, and an error of one
ends all. A training's processes are those of :mod:`wend.processes`.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Any

from wend.errors import InputError, Interrupted, ToldError
from wend.launch.processes import TIMEOUT
from wend.launchers import member

POLL_SECONDS = 0.1
PARTING_SECONDS = 30.0


class Crew:
    """The processes of a command, of which this is one; without a launcher the only one.

    A context: an error or an interruption of one process ends all, and one of them says why.

    Attributes:
        rank: which one this is, from 0.
        size: how many there are.

    Raises:
        InputError: what the launcher has set does not fit.
    """

    def __init__(self) -> None:
        self._member = member()
        self.rank = 0 if self._member is None else self._member.rank
        self.size = 1 if self._member is None else self._member.world_size
        self._store: Any = None
        self._step = 0

    @property
    def is_main(self) -> bool:
        """Whether this one speaks for all and writes the files: the first one does."""
        return self.rank == 0

    def device_name(self) -> str | None:
        """The GPU of this process, ``cuda:1`` or the like; None where it may choose for itself.

        Raises:
            InputError: this machine has GPUs, but fewer than processes.
        """
        this = self._member
        if this is None or this.world_size == 1 or this.has_own_gpu:
            return None
        import torch

        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        wanted = max(this.local_size or 1, this.local_rank + 1)
        if 0 < gpus < wanted:
            raise InputError(
                f"{wanted} processes on this machine have a GPU each, and torch can use {gpus} "
                f"here; start as many as there are GPUs, or say --device cpu"
            )
        return f"cuda:{this.local_rank}" if gpus else None

    def __enter__(self) -> Crew:
        if self._member is not None and self.size > 1:
            try:
                from wend.launch.group import meet, store_of

                timeout = timedelta(minutes=TIMEOUT)
                self._store = meet(self._member, timeout, store_of(self._member, timeout))
            except KeyboardInterrupt as error:
                raise self._interrupted(error) from None
        return self

    def _interrupted(self, error: KeyboardInterrupt) -> Interrupted:
        """The same interruption, of which the main process alone tells the user."""
        kept = getattr(error, "kept", "")
        told = getattr(error, "is_told", False) or not self.is_main
        return Interrupted(getattr(error, "signal", signal.SIGINT), kept, told)

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._store is None:
            return
        is_first = True
        try:
            if isinstance(error, KeyboardInterrupt):
                self._store.set("interrupted", "")
            elif kind is not None:
                is_first = self._store.add("errors", 1) == 1
                self._store.set("failed", "")
            elif self.is_main:  # its process may keep the store: it leaves last
                end = time.monotonic() + PARTING_SECONDS
                while self._store.add("left", 0) < self.size - 1 and time.monotonic() < end:
                    time.sleep(POLL_SECONDS)
            else:
                self._store.add("left", 1)
        except RuntimeError:  # the store is gone with its process
            is_first = self.is_main
        finally:
            self._store = None
        if isinstance(error, KeyboardInterrupt):
            raise self._interrupted(error) from None
        if isinstance(error, InputError) and not is_first:
            raise ToldError(str(error)) from error  # most likely the same

    @property
    def has_failed(self) -> bool:
        """Whether another process has failed, and says why."""
        return self._store is not None and self._ask(lambda: self._store.check(["failed"]))

    def broadcast(self, value: Any = None) -> Any:
        """The main process's value, a JSON value, on all of them; all call it."""
        if self._store is None:
            return value
        self._step += 1
        key = f"value {self._step}"
        if self.is_main:
            self._ask(lambda: self._store.set(key, json.dumps(value)))
            return value
        self._poll(lambda: self._store.check([key]))
        return json.loads(self._ask(lambda: self._store.get(key)))

    def wait(self, meanwhile: Callable[[int], object] = int) -> None:
        """Go on once all have come here, whenever that is; all call it.

        Args:
            meanwhile: is called with the count of :meth:`advance` every now and then.
        """
        if self._store is None:
            return
        self._step += 1
        key = f"here {self._step}"
        self._ask(lambda: self._store.add(key, 1))

        def all_here() -> bool:
            meanwhile(self._store.add("count", 0))
            return self._store.add(key, 0) >= self.size

        self._poll(all_here)

    def advance(self, number: int) -> int | None:
        """Add to what all have done; returns the total, None where this is the only process.

        Ends this process if another one has failed.
        """
        if self._store is None:
            return None
        self._end_with_others()
        return self._ask(lambda: self._store.add("count", number))

    def _poll(self, is_so: Callable[[], bool]) -> None:
        while not self._ask(is_so):  # no wait in torch: no signal would end it
            self._end_with_others()
            time.sleep(POLL_SECONDS)

    def _end_with_others(self) -> None:
        if self.has_failed:
            raise ToldError("another process has failed")
        if self._ask(lambda: self._store.check(["interrupted"])):
            raise Interrupted(signal.SIGTERM)

    def _ask(self, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except RuntimeError as error:  # the process that keeps the store has ended
            raise ToldError("another process has ended") from error
