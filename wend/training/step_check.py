"""The look at a step's losses before the weights change: they are finite, and no signal came.

A look waits for the device. So a single process takes one a step, when the backward pass is on its
way, and gets all numbers that the log wants with it. Several processes would wait for each other's
gradients there, and agree before the backward pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from wend.losses import check_weights
from wend.modeling.optimizer import non_finite, on_host, refuse_non_finite
from wend.processes import gather, largest, world_size
from wend.training.interruption import Interruption

Losses = Mapping[str, Tensor]


class StepCheck:
    """The look that a detector's trainer takes at each step.

    Args:
        model: the detector.
        interruption: is told when a step begins, and learns what signal came to any process.
        at_once: whether losses are looked at as soon as they are there, where nobody calls
            :meth:`look`.
    """

    def __init__(
        self, model: nn.Module, interruption: Interruption, *, at_once: bool = False
    ) -> None:
        self._model, self.interruption = model, interruption
        self._at_once = at_once
        self._waiting: list[tuple[Losses, Sequence[object], int]] = []
        self._seen: list[tuple[Losses, dict[str, float]]] = []

    def before_steps_of(self, optimizer: torch.optim.Optimizer) -> None:
        """Let no step of an optimizer be taken before its losses were looked at.

        A trainer looks by itself; one of the user's own, of which nobody knows, need not.
        """
        optimizer.register_step_pre_hook(lambda *_: self.look())

    def begin(self) -> None:
        """Begin a step, once its batch is there."""
        self.interruption.begin_step()
        self.clear()

    def clear(self) -> None:
        """Forget what nobody looked at: losses of no step."""
        self._waiting.clear()
        self._seen.clear()

    def add(
        self, losses: Losses, image_ids: Sequence[object], iteration: int, problem: str = ""
    ) -> None:
        """Hand in the losses of a batch or micro-batch, before they are learned from.

        All processes call it. Several look at once.

        Args:
            losses: loss terms by name, each a scalar.
            image_ids: ids of the images.
            iteration: the step's, from 0.
            problem: why there are no losses.

        Raises:
            NonFiniteLossError: a process has a problem; names all of them.
            InputError: a weight of samples or images is no finite number >= 0.
        """
        if self._waiting and self._waiting[-1][-1] != iteration:
            self.look()  # no step of the optimizer came
        if not problem:
            self._waiting.append((losses, image_ids, iteration))
        if problem or self._at_once or world_size() > 1:
            self._look(iteration, problem)

    def look(self) -> None:
        """Look at what waits, before the weights change; errors as of :meth:`add`."""
        if self._waiting:
            self._look(self._waiting[-1][-1])

    def _look(self, iteration: int, problem: str = "") -> None:
        waiting = [*self._waiting]
        self._waiting.clear()
        values = on_host([term for losses, *_ in waiting for term in losses.values()])
        problems = [problem] if problem else []
        for losses, image_ids, _ in waiting:
            own = dict(zip(losses, values, strict=False))
            del values[: len(own)]
            self._seen.append((losses, own))
            report = non_finite(own, image_ids)
            problems += [report] if report else []
        if problems and not problem:
            check_weights(self._model)
        told = "; ".join(problems)
        device = next(self._model.parameters()).device
        on_any, number = largest([int(bool(told)), self.interruption.noted], device)
        self.interruption.agree(number)
        if on_any:
            refuse_non_finite(gather(told), f"iteration {iteration}")

    def numbers(self, losses: Losses) -> dict[str, float]:
        """The numbers of loss terms; those that were looked at are there already."""
        known = [values for seen, values in self._seen if seen is losses]
        self._seen.clear()  # not longer than the step's graph has to live
        if known:
            return known[0]
        return dict(zip(losses, on_host([*losses.values()]), strict=True))
