"""Learning rates that a config asks for, where a checkpoint of a training with others goes on."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

logger = logging.getLogger(__name__)


class AskedRates:
    """What the config asks of an optimizer: a checkpoint's state holds its own rates, and they win.

    Args:
        optimizer, scheduler: as the config has made them, before a checkpoint is loaded.
    """

    def __init__(self, optimizer: Optimizer, scheduler: LRScheduler) -> None:
        self.optimizer, self.scheduler = optimizer, scheduler
        self.base_rates = list(scheduler.base_lrs)
        self.groups = [
            {name: value for name, value in group.items() if name != "params"}
            for group in optimizer.param_groups
        ]

    def restore(self, changed: Collection[str]) -> None:
        """Let them hold again after a checkpoint was loaded, at its place in the schedule.

        Args:
            changed: the config entries that differ from the checkpoint's; where there are none, all
                stays as it was loaded.
        """
        if not changed:
            return
        group: dict[str, Any]
        for group, own in zip(self.optimizer.param_groups, self.groups, strict=True):
            group.update(own)
        self.scheduler.base_lrs = self.base_rates
        self.scheduler.last_epoch -= 1  # a step sets the rates of the one that follows
        with warnings.catch_warnings():  # that the optimizer has taken no step yet
            warnings.simplefilter("ignore", UserWarning)
            self.scheduler.step()
        if "WEND.OPTIMIZER" in changed:
            self.optimizer.state.clear()
            logger.warning("the state of the checkpoint's optimizer is of another kind: left out")
