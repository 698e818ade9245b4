"""The processes of a loader: signals are not for them, and they end where they lack memory.

PyTorch's loader waits for ever for a batch that a process cannot hand on, and its own words name
neither the option nor the amount.
"""

from __future__ import annotations

import multiprocessing.queues
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from wend.errors import InputError

SHARED_MEMORY = "/dev/shm"  # noqa: S108  # Linux' own, in which tensors travel between processes
_ENDED = re.compile(r"DataLoader worker \(pid[^:]*?\) (is killed by signal: \w+(?: error)?|exited)")
_REFUSED = re.compile(r"shared memory|ancdata|Too many open files")


def begin_worker(worker: int = 0) -> None:
    """Prepare a loader's process, as its first work.

    It leaves the terminal's and the launcher's group of processes: Ctrl-C, and SIGTERM or SIGUSR1
    to a whole group, are for the process that started it, which may finish its step, for which it
    needs its workers, and then ends them. One whose parent was killed ends by itself. Where it
    cannot hand on a batch it ends, so that the loader does not wait for it.

    Args:
        worker: the worker's number, as a DataLoader's ``worker_init_fn`` takes; of no matter.
    """
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    multiprocessing.queues.Queue._on_queue_feeder_error = _end  # type: ignore[attr-defined]


def _end(queue: Any, error: BaseException, item: object) -> None:
    os._exit(1)


@contextmanager
def told_of_memory(option: str) -> Iterator[None]:
    """Turn errors of a loader's processes into one that names the option.

    Args:
        option: that sets their number, such as ``DATALOADER.NUM_WORKERS``.

    Raises:
        InputError: a process was ended by the system, or could not hand on a batch.
    """
    try:
        yield
    except InputError:
        raise
    except (RuntimeError, OSError) as error:
        text = " ".join(f"{error} {error.__cause__ or error.__context__ or ''}".split())
        ended = _ENDED.findall(text)
        if not ended and not _REFUSED.search(text):
            raise
        problem = f"ended ({max(ended, key=len)})" if ended else f"cannot hand on a batch ({error})"
        raise InputError(
            f"{option}: a process that reads images {problem}; it may lack shared memory"
            f"{_shared_memory()} or memory. Set {option} to less, or to 0 to read in this process, "
            f"or give a container more (docker run --shm-size 8g)"
        ) from error


def _shared_memory() -> str:
    """How much shared memory is free, in brackets; empty where there is none to look at."""
    try:
        status = os.statvfs(SHARED_MEMORY)
    except (AttributeError, OSError):  # not on Linux
        return ""
    free, whole = (status.f_frsize * n / 1e6 for n in (status.f_bavail, status.f_blocks))
    return f" ({SHARED_MEMORY} has {free:.1f} of {whole:.1f} MB free)"
