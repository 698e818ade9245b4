"""How many processes a command runs in, as the launcher and the options say."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from wend.errors import InputError
from wend.launchers import Member, first_tells, member

TIMEOUT = 30.0  # minutes, as Detectron2


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
        with first_tells():
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
