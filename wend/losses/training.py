"""What a trainer tells a detector's losses before each step, and asks them after it."""

from __future__ import annotations

import logging
from typing import Any

from torch import nn

from wend.losses.force import FORCE_EVERY
from wend.losses.localization import LocalizationLoss
from wend.losses.positives import PositiveCounts
from wend.schedules import Progress

logger = logging.getLogger(__name__)
INERT = 0.01  # a smaller ratio of f · L_unsup's gradient to η · L_cls's moves nothing


def localization_losses(model: nn.Module) -> list[LocalizationLoss]:
    """The losses that a detector's modules hold as ``localization_loss``, each once."""
    held = [vars(module).get("localization_loss") for module in model.modules()]
    return list({id(loss): loss for loss in held if isinstance(loss, LocalizationLoss)}.values())


def count_positives(model: nn.Module) -> list[PositiveCounts]:
    """Let a detector's losses count their positives from now on; where they will be."""
    counted = []
    for loss in localization_losses(model):
        loss.positives = PositiveCounts()
        counted.append(loss.positives)
    return counted


class ForceLog:
    """The force of a detector's L_unsup, and the share of its samples that are positive, for the
    log; says once where the loss is inert.

    Args:
        model: the detector.
        steps: steps of an epoch.

    Attributes:
        latest: each scalar as of the last step that it was measured at.
    """

    def __init__(self, model: nn.Module, steps: int) -> None:
        self.losses = localization_losses(model)
        self.steps = max(steps, FORCE_EVERY)
        self.latest: dict[str, float] = {}
        self._ratios: list[float] = []
        self._step = 0
        self._is_said = False

    def state_dict(self) -> dict[str, Any]:
        """What a training that is resumed goes on with, of this process."""
        return {
            "step": self._step,
            "ratios": list(self._ratios),
            "is_said": self._is_said,
            "latest": dict(self.latest),
            "positive_shares": [loss.positive_share.state_dict() for loss in self.losses],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with it."""
        self._step, self._is_said = int(state["step"]), bool(state["is_said"])
        self.latest = {str(name): float(value) for name, value in state["latest"].items()}
        self._ratios = [float(ratio) for ratio in state["ratios"]]
        for loss, share in zip(self.losses, state["positive_shares"], strict=True):
            loss.positive_share.load_state_dict(share)

    def after_step(self) -> dict[str, float]:
        """The scalars of the step that was taken; empty where it was not measured.

        ``positive_share`` is that of the steps since it was last there: after the first, and each
        :data:`FORCE_EVERY`.
        """
        values = {key: value for loss in self.losses for key, value in loss.measured().items()}
        self._step += 1
        if self._step == 1 or self._step % FORCE_EVERY == 0:
            for loss in self.losses:
                share = loss.positive_share.read()
                if share is not None:
                    values["positive_share"] = share
        self.latest |= values
        if not self._is_said and "unsup_to_cls" in values:
            self._ratios.append(values["unsup_to_cls"])
        if self._step % self.steps == 0 and self._ratios:
            mean = sum(self._ratios) / len(self._ratios)
            self._ratios.clear()
            if mean < INERT:
                self._is_said = True
                logger.warning(
                    "L_unsup is inert: over an epoch its gradient at the log-odds was %.2g %% of "
                    "η · L_cls's. WEND.WE.NORMALIZER positives or boxes, or a larger "
                    "WEND.UNSUP_FACTOR, gives it force; WEND.LOSS none leaves it out",
                    100 * mean,
                )
        return values


def check_weights(model: nn.Module) -> None:
    """Tell why a term is NaN, where a weight of :class:`LocalizationLoss` made it so.

    Raises:
        InputError: a weight of the last batch is no finite number >= 0.
    """
    for loss in localization_losses(model):
        loss.check_weights()


def tell_progress(model: nn.Module, iteration: int, max_iter: int) -> None:
    """Tell a detector's losses how far the training is, before each step.

    Args:
        model: the detector, also inside DistributedDataParallel.
        iteration: steps taken, from 0.
        max_iter: steps of the whole training.
    """
    progress = Progress(iteration, max_iter)
    for loss in localization_losses(model):
        loss.progress = progress
