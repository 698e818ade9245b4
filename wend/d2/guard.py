"""A look at the losses of each step: they are finite, and no process was told to end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from detectron2.utils.events import get_event_storage
from torch import Tensor, nn

from wend.training.interruption import Interruption
from wend.training.step_check import StepCheck
from wend.user_code import is_raised_by_own

Forward = Callable[[list[dict[str, Any]]], Any]


# These two stand before a model's forward as partials: a deep copy has its own, of a closure not
def _guarded(
    model: nn.Module, forward: Forward, check: StepCheck, batch: list[dict[str, Any]]
) -> Any:
    if not model.training:
        return forward(batch)
    check.interruption.begin_step()
    image_ids = [entry.get("image_id", entry.get("file_name")) for entry in batch]
    losses: dict[str, Tensor] = {}
    problem = ""
    try:
        losses = forward(batch)
        if isinstance(losses, Tensor):  # which Detectron2's trainer takes, too
            losses = {"total_loss": losses}
    except (AssertionError, FloatingPointError) as error:
        if isinstance(error, AssertionError) and is_raised_by_own(error):
            raise
        ids = ", ".join(map(str, image_ids))
        problem = f"{type(error).__name__} in the losses ({error}) on the images {ids}"
    check.add(losses, image_ids, get_event_storage().iter, problem)
    return losses


def guard_losses(model: nn.Module, check: StepCheck | None = None) -> None:
    """Make a training end, on every process and before the step, where a loss is not finite.

    The message names the terms and the images of the batch. NaN in a prediction can also end in an
    assertion inside fvcore's or Detectron2's losses; that is reported in the same way.

    Args:
        model: takes a batch of :class:`WSOLDatasetMapper`'s dicts and returns loss terms.
        check: looks at the losses before the weights change; by default as soon as they are there.
    """
    check = check or StepCheck(model, Interruption(), at_once=True)
    model.forward = partial(_guarded, model, model.forward, check)
