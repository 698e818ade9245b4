"""A step in several micro-batches, whose gradients are those of one large batch.

Each micro-batch is as a process more (:mod:`wend.losses.process_counts`): its gradient is divided
by their number, and what its losses are divided by is counted over all of them first, in a forward
pass without gradients. Both passes draw the same numbers. What is drawn, and the statistics of
batch norm, are those of a micro-batch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from wend.errors import InputError
from wend.losses import localization_losses
from wend.losses.process_counts import MicroBatchCounts
from wend.processes import rank, world_size
from wend.randomness import seed_step
from wend.training.normalizers import Normalizers
from wend.training.restoring import restored

Part = TypeVar("Part")
Losses = Mapping[str, Tensor]
logger = logging.getLogger(__name__)


class Accumulation:
    """The micro-batches of a detector's training.

    Args:
        model: the detector.
        number: micro-batches of a step, of each process: ``WEND.ACCUMULATE``.
    """

    def __init__(self, model: nn.Module, number: int) -> None:
        self.number = number
        self._model = model
        self._normalizers = Normalizers(model)
        self._ddp: DistributedDataParallel | None = None
        if number > 1 and not localization_losses(model):
            logger.warning(
                "WEND.ACCUMULATE %d: %s divides its losses by the samples of each micro-batch, so "
                "that they are not those of one large batch",
                number,
                type(model).__name__,
            )

    def sharing(self, model: Any) -> None:
        """Let processes exchange gradients at the last micro-batch alone.

        Args:
            model: the detector as it is trained, in DistributedDataParallel where there are several
                processes.
        """
        self._ddp = model if isinstance(model, DistributedDataParallel) else None

    def parts(self, batch: Sequence[Any]) -> list[list[Any]]:
        """A process's images of a step as micro-batches; m takes m, m + n, m + 2n, ... of n.

        So they are those of the further processes of a training in ``world size * number`` ones.

        Raises:
            InputError: there cannot be as many images in each.
        """
        if not batch or len(batch) % self.number:
            raise InputError(
                f"config entry WEND.ACCUMULATE: expected a divisor of the {len(batch)} images that "
                f"the loader gives this process in a step, got {self.number}"
            )
        return [list(batch[index :: self.number]) for index in range(self.number)]

    def step(
        self,
        parts: Sequence[Part],
        *,
        at: tuple[int, int],
        count: Callable[[Part], Any],
        losses: Callable[[Part], Losses],
        backward: Callable[[Tensor], Any],
    ) -> dict[str, Tensor]:
        """Add the gradients of a step to those that the parameters have.

        Args:
            parts: the micro-batches, one of :attr:`number`.
            at: the training's seed and the iteration, which a micro-batch's generators are seeded
                by; those of a single one stay as they are.
            count: computes a micro-batch's losses, without gradients, and reports nothing.
            losses: a micro-batch's loss terms.
            backward: takes the sum of a micro-batch's terms over their number.

        Returns:
            The mean of each term over the micro-batches, without gradients.
        """
        counts, begin_again = None, None
        if self.number > 1:
            counts, begin_again = self._counted(parts, at, count), self._normalizers.as_now()
        sums: dict[str, Tensor] = {}
        for index, part in enumerate(parts):
            if begin_again is not None:
                self._seed(at, index)
                begin_again()  # each of them is divided by the same moving average
            is_last = index + 1 == self.number
            shares = nullcontext() if is_last or self._ddp is None else self._ddp.no_sync()
            with shares, nullcontext() if counts is None else counts.of_micro_batch(index):
                terms = losses(part)
                backward(_total(terms, self.number))
            for name, term in terms.items():
                own = term.detach() / self.number if self.number > 1 else term.detach()
                sums[name] = sums[name] + own if name in sums else own
        return sums

    def _counted(
        self, parts: Sequence[Part], at: tuple[int, int], count: Callable[[Part], Any]
    ) -> MicroBatchCounts:
        counts, failed = MicroBatchCounts(self.number), False
        with torch.no_grad(), restored(self._model):
            for index, part in enumerate(parts):
                self._seed(at, index)
                try:
                    with counts.counting(index):
                        count(part)
                except (AssertionError, FloatingPointError):  # at numbers that are not finite
                    failed = True  # and so they will once more, where it is reported
        counts.exchange(next(self._model.parameters()).device, failed=failed)
        return counts

    def _seed(self, at: tuple[int, int], index: int) -> None:
        seed, iteration = at
        seed_step(seed, iteration, rank() + world_size() * index)


def _total(terms: Losses, number: int) -> Tensor:
    total = sum(terms.values())
    assert isinstance(total, Tensor)
    return total / number if number > 1 else total
