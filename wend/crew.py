"""The processes that a launcher started together to share out the images of a command.

``torchrun`` and ``srun`` say by environment variables how many there are and where they meet. They
need no tensors of each other, so they meet in a store of keys alone (torch's ``TCPStore``): the
slowest may take hours longer than the others, no network of GPUs is set up, and an error of one
ends all. A training's processes are those of :mod:`wend.processes`.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Any

from wend.errors import InputError, Interrupted

POLL_SECONDS = 0.1
MEETING = timedelta(minutes=30)  # for all to come; then torch's error
PARTING_SECONDS = 30.0
_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Crew:
    """The processes of a command, of which this is one; without a launcher the only one.

    A context: an error or an interruption of one process ends all, and one of them says why.

    Attributes:
        rank: which one this is, from 0.
        size: how many there are.
        local_rank: which one of this machine's it is, from 0.
        local_size: how many of them this machine has.

    Raises:
        InputError: what the launcher has set does not fit.
    """

    def __init__(self) -> None:
        self.rank, self.size = _number("RANK", 0), _number("WORLD_SIZE", 1)
        self.local_rank = _number("LOCAL_RANK", self.rank)
        self.local_size = _number("LOCAL_WORLD_SIZE", self.size)
        self._store: Any = None
        self._step = 0
        if self.size == 1:
            return
        missing = [name for name in _VARIABLES if not os.environ.get(name)]
        if missing:
            raise InputError(
                f"WORLD_SIZE is {self.size}, but {', '.join(missing)} are not set; start the "
                f"processes by torchrun, or unset WORLD_SIZE to run a single one"
            )
        if not self.rank < self.size:
            raise InputError(f"RANK: expected 0 to {self.size - 1}, got {self.rank}")
        if self.rank:
            logging.getLogger("wend").setLevel(logging.ERROR)  # the main process says it for all

    @property
    def is_main(self) -> bool:
        """Whether this one speaks for all and writes the files: the first one does."""
        return self.rank == 0

    def device_name(self) -> str | None:
        """The GPU of this process, ``cuda:1`` or the like; None where it may choose for itself.

        Raises:
            InputError: this machine has GPUs, but fewer than processes.
        """
        if self.size == 1:
            return None
        import torch

        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if 0 < gpus < self.local_size:
            raise InputError(
                f"{self.local_size} processes on this machine and {gpus} GPUs; start as many "
                f"processes as GPUs, or say --device cpu"
            )
        return f"cuda:{self.local_rank}" if gpus else None

    def __enter__(self) -> Crew:
        if self.size > 1:
            try:
                from torch.distributed import rendezvous

                self._store = next(iter(rendezvous("env://", timeout=MEETING)))[0]
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
            sys.exit(2)  # another one says why, and most likely the same

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
            sys.exit(2)
        if self._ask(lambda: self._store.check(["interrupted"])):
            raise Interrupted(signal.SIGTERM)

    def _ask(self, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except RuntimeError:  # torch's DistError, too: the process that keeps the store has ended
            sys.exit(2)


def _number(variable: str, default: int) -> int:
    text = os.environ.get(variable) or str(default)
    if not text.isdecimal():
        raise InputError(f"{variable}: expected a whole number, got {text!r}")
    return int(text)
