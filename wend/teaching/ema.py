"""The exponential moving average (EMA) of a model's weights: ``WEND.EMA``.

After each step every number of the state dict goes to ``d · average + (1 - d) · number``: weights,
and buffers as timm (``ModelEmaV3``), ultralytics and Unbiased Teacher do, since the statistics of
batch norm belong to the weights that they were collected with. Whole numbers (counters) are copied.

The decay d grows from 0, so that the initial weights are forgotten: after t steps it is
``min(DECAY, 1 - (1 + t)^-WARM_UP)``. Power 1 is the plain mean of all steps, the warm-up of Mean
Teacher (Tarvainen and Valpola, arXiv:1703.01780, their code's ``min(1 - 1 / (t + 1), decay)``);
timm recommends 3/4 for trainings of fewer than a million steps and 2/3 for longer ones.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from wend.errors import InputError
from wend.processes import broadcast

logger = logging.getLogger(__name__)
STATE_KEY = "weight_average"  # of checkpoints: the state of a WeightAverage
WEIGHTS, AVERAGE = "weights", "average"  # the two sets of numbers that a training has


class WeightAverage:
    """A model's average, as a model of its own in evaluation mode.

    Args:
        model: the model that is trained, before it is wrapped for several processes.
        decay: the largest d, in (0, 1).
        warm_up: power of the warm-up, >= 0; 0: the decay is constant.
        evaluates: whether the average, and not the weights, is evaluated and saved as the model.

    Attributes:
        average: the model with averaged weights; nothing else changes them.
        is_restored: whether the average was loaded from a checkpoint.
    """

    def __init__(
        self, model: nn.Module, decay: float, warm_up: float = 0.75, *, evaluates: bool = True
    ) -> None:
        self.model = model
        self.decay, self.warm_up, self.evaluates = decay, warm_up, evaluates
        self.average = copy.deepcopy(model).requires_grad_(False).eval()
        self._own, self._followed = _places(self.average), _places(model)
        self.updates = 0
        self.is_restored = False

    @property
    def evaluated(self) -> nn.Module:
        """The model that is evaluated and saved: the average, or the one that is trained."""
        return self.average if self.evaluates else self.model

    def decay_at(self, updates: int) -> float:
        """The decay d of the update after so many steps, the first of which is 1."""
        if not self.warm_up:
            return self.decay
        return min(self.decay, 1 - (1 + updates) ** -self.warm_up)

    @torch.no_grad()
    def update(self) -> None:
        """Follow the weights after a step."""
        self.updates += 1
        ours, theirs = _numbers(self._own), _numbers(self._followed)
        floats = [index for index, value in enumerate(ours) if value.is_floating_point()]
        torch._foreach_lerp_(
            [ours[index] for index in floats],
            [theirs[index] for index in floats],
            1 - self.decay_at(self.updates),
        )
        whole = sorted({*range(len(ours))}.difference(floats))
        if whole:
            torch._foreach_copy_([ours[i] for i in whole], [theirs[i] for i in whole])

    def restart(self) -> None:
        """Begin again at the model's weights, as after they were loaded."""
        self.average.load_state_dict(self.model.state_dict())
        self.updates = 0

    def state_dict(self) -> dict[str, Any]:
        """The entry of a checkpoint beside its model, which is :attr:`evaluated`.

        Returns:
            ``updates``; ``model``, which of :data:`WEIGHTS` and :data:`AVERAGE` the checkpoint's
            model is; and ``other``, the numbers of the other one.
        """
        other = self.model if self.evaluates else self.average
        return {
            "updates": self.updates,
            "model": AVERAGE if self.evaluates else WEIGHTS,
            "other": other.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore both sets, after the model has loaded the checkpoint's.

        Raises:
            InputError: the state is none of :meth:`state_dict`, or of another model.
        """
        try:
            updates, which, other = state["updates"], state["model"], state["other"]
            if which not in (WEIGHTS, AVERAGE):
                raise KeyError("model")
            if which == AVERAGE:
                self.average.load_state_dict(self.model.state_dict())
                self.model.load_state_dict(other)
            else:
                self.average.load_state_dict(other)
        except (KeyError, TypeError, RuntimeError) as error:
            raise InputError(
                f"the checkpoint's entry {STATE_KEY!r} is no average of this detector's weights "
                f"({' '.join(str(error).split())[:200]}); was it saved by another version of WEND?"
            ) from error
        self.updates = int(updates)
        self.is_restored = True


Place = tuple[dict[str, Any], str]  # a module's parameters or buffers, and the name of one


def _places(model: nn.Module) -> list[Place]:
    """Where the numbers of a model's state dict are: a walk through its modules takes longer than
    an update. A module may have other tensors there in the meantime.
    """
    places: list[Place] = []
    for module in model.modules():
        places += [(module._parameters, name) for name in module._parameters]
        left_out = module._non_persistent_buffers_set
        places += [(module._buffers, name) for name in module._buffers if name not in left_out]
    each = {id(held[name]): (held, name) for held, name in reversed(places)}  # tied ones once
    each.pop(id(None), None)
    return list(each.values())


def _numbers(places: list[Place]) -> list[torch.Tensor]:
    return [held[name] for held, name in places]


def after_loading(
    average: WeightAverage | None, checkpoint: Mapping[str, Any], *, resumed: bool
) -> None:
    """Let the average begin at loaded weights, unless it was loaded with them.

    Args:
        average: of a training; None, where it has none.
        checkpoint: what of the loaded file nobody took.
        resumed: whether a training goes on.
    """
    if average is None:
        if resumed and STATE_KEY in checkpoint:
            logger.warning(
                "the checkpoint holds an average of the weights, which WEND.EMA.DECAY 0 leaves "
                "out; the training goes on with its %s",
                checkpoint[STATE_KEY]["model"],
            )
    elif not average.is_restored:
        if resumed:
            logger.warning(
                "the checkpoint holds no average of the weights (it was saved with WEND.EMA.DECAY "
                "0): the average begins at its weights"
            )
        average.restart()


def share_average(average: WeightAverage) -> None:
    """Give all processes the first one's averaged buffers; the weights are the same anyway."""
    model = average.average
    names = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    broadcast([value for name, value in model.state_dict().items() if name not in names])
