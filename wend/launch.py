"""How a command runs in its processes: alone, as one of those that a launcher started, or by
starting them.

A command says what is prepared (its input read and checked, nothing written) and what is done with
it. Alone it does both; members of a group each prepare, once they have met, and go on when all can;
``--num-gpus`` prepares once and hands on what was read.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from wend.errors import InputError, Interrupted, ToldError, some
from wend.launchers import Member, member
from wend.stop_signals import deaf_children, end_at_once, handled

if TYPE_CHECKING:
    from torch.distributed import Store

TIMEOUT = 30.0  # minutes, as Detectron2
WORDLESS = 10.0  # seconds that the others of a process that failed have to end by themselves
Prepared = TypeVar("Prepared")
Result = TypeVar("Result")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Processes:
    """The processes of a command.

    Attributes:
        world_size: how many share it, on all machines.
        local_size: how many of them are on this machine; None where nobody says.
        member: which one this is, where a launcher has started them; the first of this machine,
            where this process is to start them.
        starts_them: whether this process starts those of this machine.
        timeout: for each to come, and for one that waits for others.
    """

    world_size: int = 1
    local_size: int | None = 1
    member: Member | None = None
    starts_them: bool = False
    timeout: timedelta = timedelta(minutes=TIMEOUT)


def settle(args: argparse.Namespace) -> Processes:
    """The processes that the environment and the arguments ask for.

    Args:
        args: ``num_gpus``, ``num_machines``, ``machine_rank``, ``dist_url`` (None where not given)
            and ``dist_timeout`` in minutes.

    Raises:
        InputError: they contradict each other.
    """
    num_gpus, num_machines = args.num_gpus or 1, args.num_machines or 1
    for flag, number in (("--num-gpus", args.num_gpus), ("--num-machines", args.num_machines)):
        if number is not None and number < 1:
            raise InputError(f"{flag}: expected at least 1, got {number}")
    if not 0 < args.dist_timeout <= 1e6:
        raise InputError(
            f"--dist-timeout: expected minutes, more than 0, got {args.dist_timeout:g}"
        )
    timeout = timedelta(minutes=args.dist_timeout)
    this = member()
    if this is not None and this.launcher == "srun" and num_machines > 1:
        if num_machines != this.world_size:
            raise InputError(
                f"--num-machines {num_machines}: srun has started {this.world_size} tasks; start "
                f"one for each machine, or leave the option out and one for each GPU"
            )
        this = None  # each task starts the processes of its machine
    if this is not None:
        _check_options(args, this)
        return Processes(this.world_size, this.local_size, this, timeout=timeout)
    rank = args.machine_rank or 0
    if not 0 <= rank < num_machines:
        raise InputError(
            f"--machine-rank: expected one of the {num_machines} machines, from 0, got {rank}"
        )
    if num_gpus * num_machines == 1:
        return Processes(timeout=timeout)
    first = Member(
        "--num-gpus",
        rank=rank * num_gpus,
        world_size=num_gpus * num_machines,
        local_rank=0,
        local_size=num_gpus,
        url=_url(args.dist_url or "auto", num_machines),
    )
    return Processes(first.world_size, num_gpus, first, starts_them=True, timeout=timeout)


def _check_options(args: argparse.Namespace, this: Member) -> None:
    """Raise InputError for options that say otherwise than the launcher."""
    launcher = f"{this.launcher} has started {this.world_size} processes"
    given = {
        "--num-machines": args.num_machines,
        "--machine-rank": args.machine_rank,
        "--dist-url": args.dist_url,
    }
    options = [flag for flag, value in given.items() if value is not None]
    if options:
        raise InputError(
            f"{', '.join(options)}: {launcher}, and says itself where they are; leave the option "
            f"out, or start without {this.launcher}"
        )
    local_size = this.local_size or this.world_size
    if args.num_gpus is not None and args.num_gpus != local_size:
        raise InputError(
            f"--num-gpus {args.num_gpus}: {launcher}, {local_size} of them on this machine; leave "
            f"the option out, or start without {this.launcher}"
        )


def _url(url: str, num_machines: int) -> str:
    if url == "auto":
        if num_machines > 1:
            raise InputError(
                "--dist-url: expected where the processes of several machines meet, a free port of "
                "the first machine such as tcp://HOST:29500, got none"
            )
        return "tcp://127.0.0.1:0"  # a port that is free
    if url.startswith("tcp://"):
        try:
            parts = urlsplit(url)
            if parts.hostname and parts.port:
                return url
        except ValueError:
            pass
    elif url.startswith("file:///"):
        return url
    raise InputError(
        f"--dist-url: expected tcp://HOST:PORT, or file:///PATH of a file that all processes "
        f"see and that does not exist, got {url!r}"
    )


def check_devices(device: str, processes: Processes) -> None:
    """Raise InputError where not every process of this machine can have a GPU of its own.

    Args:
        device: ``MODEL.DEVICE`` as it was settled.
    """
    import torch

    if processes.world_size == 1 or not device.startswith("cuda"):
        return
    if device != "cuda":
        raise InputError(
            f"config entry MODEL.DEVICE: {device} is one GPU, and {processes.world_size} processes "
            f"have one each; expected cuda"
        )
    if processes.member is not None and processes.member.has_own_gpu:
        return
    gpus, wanted = torch.cuda.device_count(), processes.local_size or 1
    if processes.member is not None:
        wanted = max(wanted, processes.member.local_rank + 1)
    if gpus < wanted:
        raise InputError(
            f"{wanted} processes on this machine have a GPU each, and torch can use {gpus} here; "
            f"start as many as there are GPUs, or set MODEL.DEVICE cpu"
        )


def run(
    processes: Processes,
    prepare: Callable[[], Prepared],
    work: Callable[[Prepared], Result],
) -> Result | None:
    """Prepare and work, in as many processes as there are to be.

    Args:
        prepare: reads and checks, and writes nothing. Where this process starts the others it is
            called here alone, and what it returns is pickled.
        work: what each process does; pickled, too.

    Returns:
        What ``work`` returns; None where other processes do it.

    Raises:
        InputError: of ``prepare`` or ``work``, also where only another process has it; or processes
            do not come, or end without a word.
    """
    if processes.starts_them:
        _start(processes, prepare(), work)
        return None
    if processes.member is None:
        return work(prepare())
    from wend.processes import agreed

    with joined(processes.member, processes.timeout):
        return work(agreed(prepare))


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
    if this.world_size == 1:
        yield
        return
    import torch
    from torch import distributed as dist

    store = _meet(this, timeout)
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
        end = time.monotonic() + WORDLESS / 2
        while this.rank == 0 and not this.is_served and time.monotonic() < end:
            if store.add("ended", 0) == this.world_size:
                break
            time.sleep(0.1)


def _meet(this: Member, timeout: timedelta) -> Store:
    """The store of a group, once all its processes have come there; see :func:`joined`."""
    from torch import distributed as dist

    end = time.monotonic() + timeout.total_seconds()
    store = dist.PrefixStore(f"wend/{this.attempt}", _store(this, timeout, end))
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


def _store(this: Member, timeout: timedelta, end: float) -> Store:
    from torch import distributed as dist

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
                    f"{_who(this)}: nobody answers at {this.url} for {_minutes(timeout)} "
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


def _start(processes: Processes, value: Prepared, work: Callable[[Prepared], Any]) -> None:
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
            store = _store(first, processes.timeout, 0.0)
            assert isinstance(store, dist.TCPStore)
            host = urlsplit(first.url).hostname
            first = replace(first, url=f"tcp://{host}:{store.port}")
        first = replace(first, is_served=True)
    errors = multiprocessing.get_context("spawn").SimpleQueue()
    with deaf_children():
        context = multiprocessing.start_processes(
            _started,
            (first, processes.timeout, errors, value, work),
            nprocs=processes.local_size or 1,
            join=False,
        )
    told: list[Exception | Interrupted] = []
    forwarded: list[int] = []
    with _forwarding(context.pids(), forwarded):
        try:
            while not context.join(timeout=1, grace_period=WORDLESS):
                _drain(errors, told)
        except multiprocessing.ProcessExitedException as error:
            _drain(errors, told)
            if told:  # of an interruption the main process says what is kept
                raise min(told, key=lambda each: getattr(each, "is_told", False)) from None
            if forwarded:
                raise Interrupted(forwarded[0]) from None
            if error.signal_name:
                raise InputError(
                    f"process {first.rank + error.error_index} of {first.world_size} was ended by "
                    f"{error.signal_name}, and the others with it; out of memory?"
                ) from None
            raise SystemExit(error.exit_code) from None


def _drain(errors: Any, told: list[Exception | Interrupted]) -> None:
    while not errors.empty():
        told.append(errors.get())


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


def _started(
    local_rank: int, first: Member, timeout: timedelta, errors: Any, value: Any, work: Any
) -> None:
    """A process that :func:`_start` started."""
    from wend.logs import setup_logging

    os.setpgrp()  # a signal of the terminal's comes once, through the parent
    this = replace(first, rank=first.rank + local_rank, local_rank=local_rank)
    setup_logging(this.rank)
    try:
        with handled(end_at_once), joined(this, timeout):
            work(value)
    except ToldError:
        raise SystemExit(2) from None
    except KeyboardInterrupt as error:
        interrupted = error if isinstance(error, Interrupted) else Interrupted(signal.SIGINT)
        errors.put(interrupted)
        raise SystemExit(interrupted.exit_status) from None
    except InputError as error:
        try:
            errors.put(error)
        except Exception:  # of the user's code, and cannot be pickled
            errors.put(InputError(str(error)))
        raise SystemExit(2) from None
