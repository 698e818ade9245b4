"""Starting the processes of this machine (``--num-gpus``), and what becomes of them."""

from __future__ import annotations

import math
import os
import pickle
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from multiprocessing import connection
from typing import Any, TypeVar
from urllib.parse import urlsplit

from wend.collecting import collect_later
from wend.errors import InputError, Interrupted, ToldError
from wend.late_compiler import load_compiler_later
from wend.launch.group import joined, store_of
from wend.launch.processes import Processes
from wend.launchers import Member
from wend.stop_signals import deaf_children, end_at_once, handled

WORDLESS = 10.0  # seconds that the others of a process that failed have to end by themselves
Prepared = TypeVar("Prepared")


def start(processes: Processes, value: Prepared, work: Callable[[Prepared], Any]) -> None:
    """Start the processes of this machine, hand on what was prepared, and wait for them.

    The first machine's starting process has the store: it stays while any of them ends.
    """
    from torch import distributed as dist
    from torch import multiprocessing

    first = processes.member
    assert first is not None
    store = None
    if first.url.startswith("tcp:"):
        if first.rank == 0:
            store = store_of(first, processes.timeout)
            assert isinstance(store, dist.TCPStore)
            host = urlsplit(first.url).hostname
            first = replace(first, url=f"tcp://{host}:{store.port}")
        first = replace(first, is_served=True)
    errors = multiprocessing.get_context("spawn").SimpleQueue()
    with deaf_children():
        context = multiprocessing.start_processes(
            _started,
            (first, processes.timeout, errors, pickle.dumps((value, work))),
            nprocs=processes.local_size or 1,
            join=False,
        )
    forwarded: list[int] = []
    with _forwarding(context.pids(), forwarded):
        first_failed, told = _wait(context.processes, errors)
    if first_failed is None:
        return
    name = f"process {first.rank + first_failed} of {first.world_size}"
    status = context.processes[first_failed].exitcode
    if forwarded and (status < 0 or not told):  # before anybody could say what is kept
        raise Interrupted(forwarded[0])
    if status < 0:
        why = "; out of memory?" if -status == signal.SIGKILL else ""
        raise InputError(
            f"{name} was ended by {signal.Signals(-status).name}, and the others with it{why}"
        )
    if told:  # of an interruption the main process says what is kept
        raise min(told, key=lambda each: getattr(each, "is_told", False))
    raise RuntimeError(f"{name} ended with the exit status {status}")


def _wait(processes: Sequence[Any], errors: Any) -> tuple[int | None, list[BaseException]]:
    """Wait until all processes have ended, and end those that one that failed leaves behind.

    Returns:
        The index of the first that failed, None if none did; and the errors that were told.
    """
    told: list[BaseException] = []
    failed: list[int] = []
    deadlines: dict[str, float] = {}
    while alive := [process.sentinel for process in processes if process.is_alive()]:
        connection.wait(alive, timeout=0.5)
        while not errors.empty():
            told.append(errors.get())
        failed += [i for i, each in enumerate(processes) if each.exitcode and i not in failed]
        if failed and not deadlines:
            now = time.monotonic()
            # one that a signal ended has waited for the others' last step
            deadlines = {"terminate": now + WORDLESS, "kill": now + 2 * WORDLESS}
        for end, deadline in list(deadlines.items()):
            if time.monotonic() > deadline:
                deadlines[end] = math.inf
                for process in processes:
                    getattr(process, end)()
    while not errors.empty():
        told.append(errors.get())
    failed += [index for index, each in enumerate(processes) if each.exitcode]
    return (failed[0] if failed else None), told


@contextmanager
def _forwarding(pids: list[int], forwarded: list[int]) -> Iterator[None]:
    """Hand signals on to processes that do not get them from the terminal, and wait for them.

    Args:
        forwarded: their numbers are added here.
    """

    def forward(number: int) -> None:
        forwarded.append(number)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    with handled(forward):
        yield


def _started(local_rank: int, first: Member, timeout: timedelta, errors: Any, task: bytes) -> None:
    """A process that :func:`start` started.

    Args:
        task: a value and what is done with it, pickled: reading it imports an engine.
    """
    from wend.logs import setup_logging

    collect_later()
    load_compiler_later()
    os.setpgrp()  # a signal of the terminal's comes once, through the parent
    this = replace(first, rank=first.rank + local_rank, local_rank=local_rank)
    setup_logging(this.rank)
    if status := _exit_status(this, timeout, errors, task):
        raise SystemExit(status)


def _exit_status(this: Member, timeout: timedelta, errors: Any, task: bytes) -> int:
    """Work as a member of a group, and tell the starting process where that ends with an error.

    An error holds all that was open where it was raised, and Python's end waits for ever on some of
    it: it does not leave this function.
    """
    try:
        with handled(end_at_once):
            value, work = pickle.loads(task)  # noqa: S301  # of the process that started this one
            with joined(this, timeout):
                work(value)
    except ToldError:
        return 2
    except InputError as error:
        _tell(errors, error)
        return 2
    except KeyboardInterrupt as error:
        interrupted = error if isinstance(error, Interrupted) else Interrupted(signal.SIGINT)
        _tell(errors, interrupted)
        return interrupted.exit_status
    except Exception:
        _tell(errors, RuntimeError(f"process {this.rank}:\n{traceback.format_exc()}"))
        return 1
    return 0


def _tell(errors: Any, error: BaseException) -> None:
    """Hand an error to the starting process."""
    try:
        errors.put(error)
    except Exception:  # one of the user's own that cannot be pickled
        errors.put(InputError(str(error)))
