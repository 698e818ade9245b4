"""Detectron2's training step in micro-batches, and with a factor on its losses."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from detectron2.engine import SimpleTrainer
from detectron2.utils.events import EventStorage, get_event_storage
from torch import Tensor

from wend.d2.frames import Batch
from wend.d2.log_window import end_lines_as
from wend.errors import NonFiniteLossError
from wend.training.accumulation import Accumulation
from wend.training.loss_scale import LossScale
from wend.training.step_check import StepCheck


class StorageOfMicroBatches(EventStorage):
    """Takes what the micro-batches of a step log, for the storage of the training.

    Args:
        storage: gets the mean of each number; pictures at once.
    """

    def __init__(self, storage: EventStorage) -> None:
        super().__init__(storage.iter)
        end_lines_as(self, storage)
        self._storage = storage
        self._values: dict[str, list[float]] = {}

    def put_scalar(
        self, name: str, value: Any, smoothing_hint: bool = True, cur_iter: int | None = None
    ) -> None:
        """Detectron2's; the number is one of a micro-batch."""
        super().put_scalar(name, value, smoothing_hint, cur_iter)
        self._values.setdefault(self._current_prefix + name, []).append(float(value))

    def put_image(self, img_name: str, img_tensor: Any) -> None:
        """Detectron2's, of the training's."""
        self._storage.put_image(img_name, img_tensor)

    def put_histogram(self, hist_name: str, hist_tensor: Tensor, bins: int = 1000) -> None:
        """Detectron2's, of the training's."""
        self._storage.put_histogram(hist_name, hist_tensor, bins)

    def hand_on(self) -> None:
        """Put the mean of each number into the training's storage."""
        for name, values in self._values.items():
            hint = self.smoothing_hints()[name]
            self._storage.put_scalar(name, sum(values) / len(values), smoothing_hint=hint)


class CheckedTrainer(SimpleTrainer):
    """Detectron2's ``SimpleTrainer``, which takes one look at a step's losses.

    Args:
        check: the look.
        trainer: arguments of Detectron2's.
    """

    def __init__(self, *trainer: Any, check: StepCheck) -> None:
        super().__init__(*trainer)
        self._check = check

    def run_step(self) -> None:
        """Detectron2's."""
        self._check.clear()
        super().run_step()

    def after_backward(self) -> None:
        """Detectron2's, once the losses were looked at."""
        self._check.look()
        super().after_backward()

    def _write_metrics(
        self,
        loss_dict: Mapping[str, Tensor],
        data_time: float,
        prefix: str = "",
        iter: int | None = None,
    ) -> None:
        """Detectron2's, which would wait for each term."""
        numbers = self._check.numbers(loss_dict)
        on_cpu = {name: torch.tensor(n, dtype=torch.float64) for name, n in numbers.items()}
        super()._write_metrics(on_cpu, data_time, prefix, iter)


class AccumulatingTrainer(CheckedTrainer):
    """:class:`CheckedTrainer` with micro-batches, and in float16 as Detectron2's ``AMPTrainer``.

    Args:
        check: see :class:`CheckedTrainer`.
        accumulation: the micro-batches.
        loss_scale: takes the steps.
        seed: of the training, as it is at each step.
        prepared: what is learned from, made of a micro-batch of the loader's dicts.
        count: losses of a micro-batch, without a report of numbers that are not finite.
        trainer: arguments of Detectron2's.
    """

    def __init__(
        self,
        *trainer: Any,
        check: StepCheck,
        accumulation: Accumulation,
        loss_scale: LossScale,
        seed: Callable[[], int],
        prepared: Callable[[Batch], Batch],
        count: Callable[[Batch], Any],
    ) -> None:
        super().__init__(*trainer, check=check)
        self._accumulation, self._loss_scale, self._seed = accumulation, loss_scale, seed
        self._prepared, self._count_losses = prepared, count
        accumulation.sharing(self.model)

    def run_step(self) -> None:
        """Detectron2's, its forward and backward passes micro-batch by micro-batch."""
        assert self.model.training, "the model was changed to eval mode"
        start = time.perf_counter()
        batch = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        parts = [self._prepared(part) for part in self._accumulation.parts(batch)]
        self._check.begin()
        self.optimizer.zero_grad()
        self._loss_scale.begin()
        try:
            with StorageOfMicroBatches(get_event_storage()) as storage:
                losses = self._accumulation.step(
                    parts,
                    at=(self._seed(), self.iter),
                    count=self._counted,
                    losses=self._losses,
                    backward=self._loss_scale.backward,
                )
            self._check.look()
        except NonFiniteLossError as error:
            self._loss_scale.skip(error)
            return
        storage.hand_on()
        self.after_backward()
        self._write_metrics(losses, data_time)
        self._loss_scale.step()

    def _counted(self, part: Batch) -> None:
        with EventStorage(self.iter):  # what is put there is no step's
            self._count_losses(part)

    def _losses(self, part: Batch) -> dict[str, Tensor]:
        losses = self.model(part)
        return {"total_loss": losses} if isinstance(losses, Tensor) else losses
