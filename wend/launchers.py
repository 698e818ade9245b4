"""What ``torchrun``, Slurm's ``srun`` and others tell the processes that they start.

Everything is in the environment: how many processes share a command, and which of them this one is.
A process that none of them started, or that is alone, is no member of a group. Imports nothing that
is slow: a command asks here before it does anything else.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from wend.errors import InputError, shown

TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
MPI = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")  # Open MPI; MPICH, Intel; MVAPICH
FIRST_PORT, PORTS = 20000, 12000  # of Slurm's jobs: below those that Linux gives away by itself
DEFAULT_PORT = 29500  # PyTorch's
SILENCE = 5.0  # seconds in which a launcher ends the others of a process that has ended


@dataclass(frozen=True)
class Member:
    """A process of several that share a command.

    Attributes:
        launcher: who started them, for messages.
        rank: which one this is, from 0, of all machines together.
        world_size: how many there are, at least 1.
        local_rank: which one of its machine this is, from 0.
        local_size: how many its machine has; None where the launcher does not say.
        url: where the processes meet, such as ``tcp://HOST:PORT`` of the first one's machine.
        is_served: whether another than the first process listens there, as torchrun does.
        attempt: how often the launcher has started the processes again.
        has_own_gpu: whether the process sees no GPU but its own.
    """

    launcher: str
    rank: int
    world_size: int
    local_rank: int
    local_size: int | None
    url: str
    is_served: bool = False
    attempt: int = 0
    has_own_gpu: bool = False


def member(environ: Mapping[str, str] = os.environ) -> Member | None:
    """The process that the environment describes; None for one that is no member of a group.

    Raises:
        InputError: a variable is missing, is no number, or contradicts another.
    """
    if environ.get("RANK") or (environ.get("WORLD_SIZE") or "1") != "1":
        return _of_torchrun(environ)
    if _number(environ, "SLURM_STEP_NUM_TASKS", 1) > 1:
        return _of_srun(environ)
    for name in MPI:
        number = environ.get(name) or "1"
        if number != "1":
            raise InputError(
                f"{name} is {shown(number)}: MPI started several processes, and WEND does not know "
                f"its ranks; start them with torchrun or srun, or give each RANK, WORLD_SIZE, "
                f"LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT"
            )
    return None


@contextmanager
def first_tells() -> Iterator[None]:
    """Let the first process alone tell of an error that each process of a group has.

    A launcher ends the others when the first one does; those that it has not ended by then tell of
    it, too: they may have it alone.
    """
    try:
        yield
    except InputError:
        this = member()
        if this is not None and this.rank:
            time.sleep(SILENCE)
        raise


def _of_torchrun(environ: Mapping[str, str]) -> Member:
    missing = [name for name in ("RANK", "WORLD_SIZE") if not environ.get(name)]
    if not missing and _number(environ, "WORLD_SIZE") > 1:
        wanted = ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
        missing = [name for name in wanted if not environ.get(name)]
    if missing:
        given = [f"{name}={environ[name]}" for name in TORCHRUN if environ.get(name)]
        raise InputError(
            f"the environment has {', '.join(given)} but no {', '.join(missing)}; torchrun sets "
            f"{', '.join(TORCHRUN)}, MASTER_ADDR and MASTER_PORT. Start the processes with it, set "
            f"all of them, or unset them for a single process"
        )
    size = _number(environ, "WORLD_SIZE", least=1)
    local_size = None
    if environ.get("LOCAL_WORLD_SIZE"):
        local_size = _number(environ, "LOCAL_WORLD_SIZE", least=1, most=size)
    return Member(
        "torchrun",
        rank=_number(environ, "RANK", most=size - 1),
        world_size=size,
        local_rank=_number(environ, "LOCAL_RANK", 0, most=(local_size or size) - 1),
        local_size=local_size,
        url=_url(environ.get("MASTER_ADDR", ""), _number(environ, "MASTER_PORT", 0, most=65535)),
        is_served=environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
        attempt=_number(environ, "TORCHELASTIC_RESTART_COUNT", 0),
    )


def _of_srun(environ: Mapping[str, str]) -> Member:
    missing = [n for n in ("SLURM_PROCID", "SLURM_LOCALID") if not environ.get(n)]
    names = ("SLURM_STEP_NODELIST", "SLURM_NODELIST", "SLURM_JOB_NODELIST")
    nodes = next((environ[name] for name in names if environ.get(name)), "")
    host = environ.get("MASTER_ADDR") or (
        first_host(nodes) if nodes else environ.get("SLURM_LAUNCH_NODE_IPADDR", "")
    )
    missing += [] if host else ["SLURM_NODELIST"]
    if missing:
        raise InputError(
            f"the environment has SLURM_STEP_NUM_TASKS={environ['SLURM_STEP_NUM_TASKS']} but no "
            f"{', '.join(missing)}; srun sets them. Unset SLURM_STEP_NUM_TASKS for a single process"
        )
    size = _number(environ, "SLURM_STEP_NUM_TASKS")
    job = _number(environ, "SLURM_JOB_ID", 0) * 31 + _number(environ, "SLURM_STEP_ID", 0)
    by_job = FIRST_PORT + job % PORTS if environ.get("SLURM_JOB_ID") else DEFAULT_PORT
    per_task = environ.get("SLURM_GPUS_PER_TASK") or environ.get("SLURM_TRES_PER_TASK", "")
    local_size = _tasks_of_node(environ)
    return Member(
        "srun",
        rank=_number(environ, "SLURM_PROCID", most=size - 1),
        world_size=size,
        local_rank=_number(environ, "SLURM_LOCALID", most=(local_size or size) - 1),
        local_size=local_size,
        url=_url(host, _number(environ, "MASTER_PORT", by_job, most=65535)),
        attempt=_number(environ, "SLURM_RESTART_COUNT", 0),
        has_own_gpu=per_task.split(":")[-1] == "1" or "gpu=1" in per_task,
    )


def _url(host: str, port: int) -> str:
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"  # an IPv6 address


def _number(
    environ: Mapping[str, str],
    name: str,
    default: int | None = None,
    *,
    least: int = 0,
    most: int | None = None,
) -> int:
    """A variable as a number; the default, where there is one, if it is not set or empty."""
    text = environ.get(name, "")
    if not text and default is not None:
        return default
    number = int(text) if re.fullmatch(r"[0-9]{1,18}", text) else -1
    if number < least or (most is not None and number > most):
        between = f"from {least} on" if most is None else f"from {least} to {most}"
        raise InputError(f"{name}: expected a whole number {between}, got {shown(text)}")
    return number


def _tasks_of_node(environ: Mapping[str, str]) -> int | None:
    """How many tasks this node has: of ``2(x3),1`` and node 3 it is 1."""
    counts: list[int] = []
    for part in filter(None, environ.get("SLURM_STEP_TASKS_PER_NODE", "").split(",")):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if match is None:
            return None
        counts += [int(match[1])] * int(match[2] or 1)
    node = environ.get("SLURM_NODEID", "0" if len(counts) == 1 else "")
    return counts[int(node)] if node.isdigit() and int(node) < len(counts) else None


def first_host(nodes: str) -> str:
    """The first host of a list as Slurm writes it: ``gpu007`` of ``gpu[007-010,12],login1``."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", nodes)
    assert first is not None
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first[0])
