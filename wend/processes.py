"""The processes that share a training, an evaluation or the images of a command.

A process learns here which one it is and what the others have. Everything goes through
torch.distributed's default group, which ``torchrun``, Slurm or ``--num-gpus`` makes; without one
there is a single process, and every function is the identity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch import distributed as dist

from wend.errors import InputError, ToldError

DONE, FAILED = "done", "failed"
Value = TypeVar("Value")


_apart = False  # inside alone()


def _is_shared() -> bool:
    return not _apart and dist.is_available() and dist.is_initialized()


@contextmanager
def alone() -> Iterator[None]:
    """Compute as a single process inside, without a word to the others.

    For what processes do a different number of times, such as their shares of some batches.
    """
    global _apart
    before, _apart = _apart, True
    try:
        yield
    finally:
        _apart = before


def world_size() -> int:
    """How many processes there are, at least 1."""
    return dist.get_world_size() if _is_shared() else 1


def rank() -> int:
    """Which of them this one is, from 0."""
    return dist.get_rank() if _is_shared() else 0


def is_main() -> bool:
    """Whether this one writes the files: the first one does."""
    return rank() == 0


def gather(value: Value) -> list[Value]:
    """Each process's value, in the order of ranks, on all of them; all processes call it.

    Args:
        value: anything that can be pickled.
    """
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def gather_on_main(value: Value) -> list[Value]:
    """Each process's value, in the order of ranks, on the main one; an empty list on the others.

    All processes call it.
    """
    if world_size() == 1:
        return [value]
    values: list[Any] | None = [None] * world_size() if is_main() else None
    dist.gather_object(value, values)
    return values or []


def largest(numbers: Sequence[int], device: torch.device | str) -> list[int]:
    """The largest of each process's numbers, on all of them; all call it with as many.

    Args:
        device: where the processes' tensors are.
    """
    if world_size() == 1:
        return list(numbers)
    most = torch.tensor(numbers, device=device)
    dist.all_reduce(most, dist.ReduceOp.MAX)
    return most.tolist()


def broadcast(tensors: Sequence[Tensor]) -> None:
    """Give all processes the first one's numbers, of each type in one message; all call it."""
    if world_size() == 1:
        return
    for dtype in sorted({tensor.dtype for tensor in tensors}, key=str):
        chosen = [tensor for tensor in tensors if tensor.dtype == dtype]
        flat = torch.cat([tensor.flatten() for tensor in chosen])
        dist.broadcast(flat, 0)
        for tensor, part in zip(chosen, flat.split([t.numel() for t in chosen]), strict=True):
            tensor.copy_(part.view_as(tensor))


def agreed(action: Callable[[], Value]) -> Value:
    """What an action returns, once it is done on each process; all processes call it.

    Raises:
        InputError: it cannot be done on one of them: its own error there (on several, the first
            one's), :class:`wend.errors.ToldError` on the others.
    """
    try:
        value, error = action(), None
    except InputError as wrong:
        error = wrong
    # words, since one that failed may meet others that exchange something in the action
    said = gather(FAILED if error is not None else DONE)
    failed = [index for index, word in enumerate(said) if word == FAILED]
    if not failed:
        return value
    if error is not None and failed[0] == rank():
        raise error
    raise ToldError(f"process {failed[0]} cannot go on")


def main_first(action: Callable[[], Any]) -> None:
    """Let the main process do something before the others go on; errors as of :func:`agreed`."""
    agreed(lambda: action() if is_main() else None)


def of_main(compute: Callable[[], Value]) -> Value:
    """What the main process computes, on all of them; errors as of :func:`agreed`."""
    values = gather(agreed(lambda: compute() if is_main() else None))
    return cast(Value, values[0])


def mean(value: Tensor) -> Tensor:
    """The mean of each process's numbers, on all of them; all processes call it.

    Args:
        value: of the same shape, type and kind of device on each; it is not changed.
    """
    if world_size() == 1:
        return value
    total = value.detach().clone().to(torch.promote_types(value.dtype, torch.float32))
    dist.all_reduce(total)
    return total / world_size()


def wait_for_all() -> None:
    """Go on once every process has come here."""
    if world_size() > 1:
        dist.barrier()
