"""This process as a member of a group: how all meet, and how all end where one of them fails."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from wend.errors import InputError, ToldError, some
from wend.launch import restarts
from wend.launchers import Member

if TYPE_CHECKING:
    from torch.distributed import Store

PARTING = 2.0  # seconds that the process with the store waits for the others to ask it
SERVED = timedelta(minutes=1)  # for who listens before the processes start, as torchrun does


@contextmanager
def joined(this: Member, timeout: timedelta) -> Iterator[None]:
    """This process as a member of torch.distributed's default group, on its GPU if there is one.

    An InputError inside ends every process, and is raised in the first that has it alone; in the
    others it is a :class:`wend.errors.ToldError`, and so is the loss of the connection to it.

    Args:
        timeout: for the others to come, and of every collective.

    Raises:
        InputError: not all came in time; the message says who did not.
    """
    if this.world_size == 1 and not this.is_served:
        yield
        return
    import torch
    from torch import distributed as dist

    served = store_of(this, timeout)
    if this.launcher == "torchrun":
        restarts.remember(served, this.attempt)
    if this.world_size == 1:
        yield
        return
    store = meet(this, timeout, served)
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus:
        torch.cuda.set_device(0 if this.has_own_gpu else min(this.local_rank, gpus - 1))
    try:
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if gpus and dist.is_nccl_available() else "gloo",
            store=dist.PrefixStore("group", store),
            rank=this.rank,
            world_size=this.world_size,
            timeout=timeout,
        )
    except RuntimeError as error:
        raise InputError(
            f"{_who(this)}: all have come to {this.url}, but cannot reach each other "
            f"({_first_line(error)}); does GLOO_SOCKET_IFNAME or NCCL_SOCKET_IFNAME have to name a "
            f"network interface?"
        ) from error
    try:
        yield
        dist.barrier()
    except ToldError:
        _end_together(this, store)
        raise
    except Exception as error:
        is_first = _is_first(this, store)
        _end_together(this, store)
        if isinstance(error, InputError):
            if is_first:
                raise
            raise ToldError(str(error)) from error
        if not is_lost(error):
            raise
        if not is_first:
            raise ToldError("another process has ended") from error
        raise InputError(
            f"{_who(this)}: another process has ended or does not answer "
            f"({_first_line(error)}). Was it killed, or out of memory? --dist-timeout sets how "
            f"long processes wait for each other"
        ) from error
    finally:
        with suppress(RuntimeError):
            dist.destroy_process_group()


def is_lost(error: BaseException) -> bool:
    """Whether an error of torch's says that another process has gone, or does not answer."""
    from torch import distributed as dist

    signs = ("gloo", "NCCL", "onnection closed", "onnection reset", "TCPStore")
    return isinstance(error, dist.DistError) or (
        type(error) is RuntimeError and any(sign in str(error) for sign in signs)
    )


def _who(this: Member) -> str:
    return f"process {this.rank} of {this.world_size} ({this.launcher}, on {socket.gethostname()})"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:300]


def _is_first(this: Member, store: Store) -> bool:
    """Whether no other process of the group has said yet why it ends."""
    try:
        return store.add("errors", 1) == 1
    except RuntimeError:  # it went with the process that had it
        return this.rank == 1


def _end_together(this: Member, store: Store) -> None:
    """Let the process that has the store wait until the others have asked it."""
    with suppress(RuntimeError):
        store.add("ended", 1)
        end = time.monotonic() + PARTING
        while this.rank == 0 and not this.is_served and time.monotonic() < end:
            if store.add("ended", 0) == this.world_size:
                break
            time.sleep(0.1)


def meet(this: Member, timeout: timedelta, served: Store) -> Store:
    """The group's part of the store, once all processes have come there; see :func:`joined`."""
    from torch import distributed as dist

    end = time.monotonic() + timeout.total_seconds()
    store = dist.PrefixStore(f"wend/{this.attempt}", served)
    try:
        if store.add(f"is here/{this.rank}", 1) > 1:
            raise InputError(
                f"{_who(this)}: another process at {this.url} has the same rank; does each machine "
                f"have a --machine-rank of its own, and each process its RANK?"
            )
        missing = list(range(this.world_size))
        while missing and time.monotonic() < end:
            missing = [rank for rank in missing if not store.check([f"is here/{rank}"])]
            time.sleep(0.05 if missing else 0)
    except RuntimeError as error:
        raise InputError(
            f"{_who(this)}: the meeting point {this.url} has gone before all processes had come "
            f"({_first_line(error)})"
        ) from error
    if missing:
        came = this.world_size - len(missing)
        raise InputError(
            f"{_who(this)}: only {came} of {this.world_size} processes came to {this.url} within "
            f"{_minutes(timeout)}; missing: {some(missing, 8)}. Were all started, with the same "
            f"address? --dist-timeout sets how long they wait"
        )
    return store


def _minutes(timeout: timedelta) -> str:
    return f"{timeout.total_seconds() / 60:g} minutes"


def store_of(this: Member, timeout: timedelta) -> Store:
    """The store at a member's URL; where it is the first one and nobody else does, it serves it.

    Raises:
        InputError: nobody answers there in time, or others than processes of WEND do.
    """
    from torch import distributed as dist

    patience = min(timeout, SERVED) if this.launcher == "torchrun" and this.is_served else timeout
    end = time.monotonic() + patience.total_seconds()
    parts = urlsplit(this.url)
    if parts.scheme == "file":
        return dist.FileStore(parts.path, this.world_size)
    host, port = parts.hostname or "", parts.port or 0
    serves = this.rank == 0 and not this.is_served
    while not serves:  # until somebody listens: torch's own attempts print much
        try:
            socket.create_connection((host, port), timeout=5).close()
            break
        except OSError as error:
            if time.monotonic() > end:
                raise InputError(
                    f"{_who(this)}: nobody answers at {this.url} for {_minutes(patience)} "
                    f"({error}). Is it the address of process 0, and has that been started? "
                    f"--dist-timeout sets how long processes wait"
                ) from error
            time.sleep(0.2)
    try:
        return dist.TCPStore(host, port, None, serves, timeout=timeout, wait_for_workers=False)
    except RuntimeError as error:
        raise InputError(
            f"{_who(this)}: {'cannot listen' if serves else 'no processes of WEND meet'} at "
            f"{this.url} ({_first_line(error)}); name a free port of the machine that process 0 "
            f"is on (MASTER_ADDR and MASTER_PORT, or --dist-url)"
        ) from error
