"""A look at the losses before each step: they are finite, and no process was told to end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from detectron2.utils.events import get_event_storage
from torch import Tensor, nn

from wend.losses import check_weights
from wend.modeling.optimizer import describe_non_finite
from wend.training.interruption import Interruption
from wend.training.step_agreement import agree_on_step
from wend.user_code import is_raised_by_own

Forward = Callable[[list[dict[str, Any]]], Any]


# These two stand before a model's forward as partials: a deep copy has its own, of a closure not
def _guarded(
    model: nn.Module, forward: Forward, interruption: Interruption, batch: list[dict[str, Any]]
) -> Any:
    if not model.training:
        return forward(batch)
    interruption.begin_step()
    image_ids = [entry.get("image_id", entry.get("file_name")) for entry in batch]
    losses: dict[str, Tensor] = {}
    try:
        losses = forward(batch)
        report = describe_non_finite(losses, image_ids)
        if report:
            check_weights(model)
    except (AssertionError, FloatingPointError) as error:
        if isinstance(error, AssertionError) and is_raised_by_own(error):
            raise
        ids = ", ".join(map(str, image_ids))
        report = f"{type(error).__name__} in the losses ({error}) on the images {ids}"
    device = next(model.parameters()).device
    agree_on_step(report, interruption, device, get_event_storage().iter)
    return losses


def guard_losses(model: nn.Module, interruption: Interruption | None = None) -> None:
    """Make a training end, on every process and before the step, where a loss is not finite.

    The message names the terms and the images of the batch. NaN in a prediction can also end in an
    assertion inside fvcore's or Detectron2's losses; that is reported in the same way.

    Args:
        model: takes a batch of :class:`WSOLDatasetMapper`'s dicts and returns loss terms.
        interruption: is told when a step begins, and what signal came to any process.
    """
    model.forward = partial(_guarded, model, model.forward, interruption or Interruption())
