"""Counts that losses are divided by, of a whole step: of all processes and all micro-batches.

The gradients of n processes are averaged. So a sum over each process's samples is to be divided by
the number of all samples over n, not by the process's own: then η and f mean the same on any number
of GPUs, however samples are spread over them. Sums by fixed numbers need nothing.

The micro-batches of a step (``WEND.ACCUMULATE``) are as further processes, whose gradients are
averaged, too. The first of them has to be divided by what the last one counts, so that all are
counted before any is learned from: :class:`MicroBatchCounts`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from wend import processes
from wend.errors import InputError

_step: MicroBatchCounts | None = None  # inside of a micro-batch


def parts_of_step() -> int:
    """How many parts the images of a step are in: processes times micro-batches."""
    return processes.world_size() * (1 if _step is None else _step.number)


def micro_batch() -> int:
    """Which micro-batch of its process's step is computed, from 0."""
    return 0 if _step is None else _step.index


def counts_per_process(*counts: Tensor | float, device: torch.device) -> Tensor:
    """The mean of each count over the processes, at least one sample of all; all processes call it.

    Within a micro-batch the mean is over the micro-batches of all processes.

    Args:
        counts: C counts of this process, or of this micro-batch.
        device: of the result.

    Returns:
        (C,) float32.
    """
    own = torch.stack([_as_scalar(count, device) for count in counts])
    mean = processes.mean(own) if _step is None else _step.mean_of(own)
    return mean.clamp(min=1 / parts_of_step())


def _as_scalar(count: Tensor | float, device: torch.device) -> Tensor:
    """A count on a device, float32; a number is written there and not copied."""
    if isinstance(count, Tensor):
        return count.to(device, torch.float32)
    return torch.full((), float(count), dtype=torch.float32, device=device)


def share_of_mean(count: Tensor | float, device: torch.device) -> Tensor | float:
    """What a term is multiplied by that was divided by this process's own count, at least 1.

    So it is divided by the mean of all processes'. It is 1 where each has as many, and where there
    is one process with one micro-batch.

    Args:
        count: the process's own; the term was divided by 1 where it is 0.
        device: of the result.
    """
    if parts_of_step() == 1:
        return 1.0
    own = _as_scalar(count, device)
    return own.clamp(min=1) / counts_per_process(own, device=device)[0]


class MicroBatchCounts:
    """The counts of a step's micro-batches: counted in a first pass, their means had in a second.

    In both passes each micro-batch asks for the same counts in the same order.

    Args:
        number: micro-batches of this process's step; all processes have as many.

    Attributes:
        index: which micro-batch is computed.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.index = 0
        self._is_counting = True
        self._counted: list[list[Tensor]] = []  # of each micro-batch, in the order of the calls
        self._means: list[Tensor] | None = None
        self._calls = 0

    @contextmanager
    def counting(self, index: int) -> Iterator[None]:
        """Let a micro-batch count inside; its losses are those of no step."""
        self._counted.append([])
        with self._at(index):
            yield

    def exchange(self, device: torch.device, *, failed: bool = False) -> None:
        """Make the means, once each micro-batch has counted; all processes call it.

        Args:
            device: where the processes' tensors are.
            failed: whether the losses of a micro-batch could not be computed. Then there are no
                means on any process: the losses will fail once more, where that is reported.

        Raises:
            InputError: the micro-batches asked for different counts.
        """
        self._is_counting = False
        if processes.largest([int(failed)], device)[0]:
            return
        asked = [[len(counts) for counts in each] for each in self._counted]
        if any(each != asked[0] for each in asked):
            raise _asked_differently()
        if not asked or not asked[0]:
            self._means = []
            return
        rows = torch.stack([torch.cat(each) for each in self._counted])
        self._means = [*processes.mean(rows.mean(0)).split(asked[0])]

    @contextmanager
    def of_micro_batch(self, index: int) -> Iterator[None]:
        """Let a micro-batch have the means inside.

        Raises:
            InputError: it asks for other counts than in the first pass.
        """
        self._calls = 0
        with self._at(index):
            yield
        if self._means is not None and self._calls != len(self._means):
            raise _asked_differently()

    @contextmanager
    def _at(self, index: int) -> Iterator[None]:
        global _step
        before, _step, self.index = _step, self, index
        try:
            yield
        finally:
            _step = before

    def mean_of(self, own: Tensor) -> Tensor:
        """The mean of a micro-batch's counts (C,) over all; while all are counted, its own."""
        if self._is_counting:
            self._counted[-1].append(own)
        if self._means is None:
            return own
        call, self._calls = self._calls, self._calls + 1
        if call >= len(self._means) or len(self._means[call]) != len(own):
            raise _asked_differently()
        return self._means[call]


def _asked_differently() -> InputError:
    return InputError(
        "config entry WEND.ACCUMULATE: the micro-batches of a step asked for different counts; a "
        "loss has to call context.count, and a detector its localization_loss, as often for each "
        "batch, whatever is in it and with or without gradients (docs/extend.md); or set it to 1"
    )
