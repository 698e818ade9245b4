"""What a user is told where the processes of a loader end for lack of memory.

PyTorch's own words name neither the option nor the amount.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from wend.errors import InputError

SHARED_MEMORY = "/dev/shm"  # noqa: S108  # Linux' own, in which tensors travel between processes
_ENDED = re.compile(
    r"DataLoader worker \(pid\(?s?\)? ?[\d, ]+\) (?:is killed by signal: (\w+ ?\w*)|exited)"
)
_REFUSED = re.compile(r"shared memory|ancdata|Too many open files")


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
        ended = _ENDED.search(text)
        if not ended and not _REFUSED.search(text):
            raise
        problem = f"ended ({ended[0]})" if ended else f"cannot hand on a batch ({error})"
        raise InputError(
            f"{option}: a process that reads images {problem}; it may lack memory"
            f"{_shared_memory()}; set {option} to less, or 0 to read in this process, or give "
            f"containers more shared memory (docker run --shm-size 8g)"
        ) from error


def _shared_memory() -> str:
    """How much shared memory is free, in brackets; empty where there is none to look at."""
    try:
        status = os.statvfs(SHARED_MEMORY)
    except (AttributeError, OSError):  # not on Linux
        return ""
    free, whole = (status.f_frsize * n / 1e6 for n in (status.f_bavail, status.f_blocks))
    return f" ({SHARED_MEMORY} has {free:.0f} of {whole:.0f} MB free)"
