"""Memory of a device: what fits into it, and what is said where it does not."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from fvcore.common.config import CfgNode
from torch import nn

from wend.errors import InputError

MARGIN = 0.05  # of a GPU's memory stays free in a trial: other batches have other boxes
# PyTorch's words where the machine, not a GPU, has too little
ON_CPU = ("can't allocate memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device has too little memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in ON_CPU)


@contextmanager
def memory_named(device: torch.device | str, doing: str, advice: str) -> Iterator[None]:
    """Say what to do where memory does not suffice for what is done inside.

    Args:
        device: where the detector is.
        doing: what, such as "a training step".
        advice: what to set.

    Raises:
        InputError: a device has too little memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        said = ". ".join(" ".join(str(error).split()).split(". ")[:2])
        raise InputError(
            f"{device}: too little memory for {doing} ({said.rstrip('.')}); {advice}"
        ) from None


def in_step(cfg: CfgNode) -> AbstractContextManager[None]:
    """Take a training step inside; a device that is too small ends in words."""
    batch, number = cfg.SOLVER.IMS_PER_BATCH, cfg.WEND.ACCUMULATE
    return memory_named(
        cfg.MODEL.DEVICE,
        "a training step",
        f"set WEND.ACCUMULATE 0 (as many micro-batches as it takes; it is {number}), "
        f"WEND.PRECISION bfloat16, or a smaller SOLVER.IMS_PER_BATCH (it is {batch})",
    )


def in_evaluation(model: nn.Module) -> AbstractContextManager[None]:
    """Evaluate a detector inside; a device that is too small ends in words."""
    parameter = next(model.parameters(), None)  # a model of the user's own may have none
    device = "cpu" if parameter is None else parameter.device
    return memory_named(device, "a batch of an evaluation", "lower WEND.TEST_BATCH")


def in_prediction(cfg: CfgNode) -> AbstractContextManager[None]:
    """Predict on a batch inside; a device that is too small ends in words."""
    return memory_named(
        cfg.MODEL.DEVICE, "a batch of images", "lower batch_size (--batch-size of wend predict)"
    )


def fits(work: Callable[[], object], device: torch.device) -> bool:
    """Whether a device has memory for some work, and on a GPU a margin besides; tries it.

    Args:
        work: keeps nothing on the device.
    """
    on_gpu = device.type == "cuda"
    if on_gpu:
        _let_go()
    try:
        work()
        if not on_gpu:
            return True
        free, total = torch.cuda.mem_get_info(device)  # what PyTorch has taken is not free
        return free >= MARGIN * total
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        if on_gpu:
            _let_go()


def _let_go() -> None:
    gc.collect()
    torch.cuda.empty_cache()
