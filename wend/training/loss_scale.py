"""The factor on the losses of a float16 training, and the steps that it leaves out.

Gradients below 6e-8 are 0 in float16. So losses are multiplied by a large factor, and gradients
divided by it again (torch.amp.GradScaler). A step whose numbers overflow is not taken: where the
gradients do, the factor is halved; where the losses do, statistics of norms are as before.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor, nn

from wend.errors import NonFiniteLossError

MOST_IN_A_ROW = 40  # the factor, which begins at 2^16, is below 2^-23 then
logger = logging.getLogger(__name__)


class LossScale:
    """Takes the steps of a training; with any numbers but float16 as its optimizer alone does.

    Args:
        model: the detector.
        optimizer: of its weights.
        dtype: in which numbers it is trained.

    Attributes:
        is_used: whether there is a factor.
        scaler: torch's, disabled where there is none.
        skipped: steps that were left out.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, dtype: torch.dtype
    ) -> None:
        device = next(model.parameters()).device.type
        self.is_used = dtype is torch.float16
        self.scaler = torch.amp.GradScaler(device, enabled=self.is_used)
        self.skipped = 0
        self._in_a_row = 0
        self._optimizer = optimizer
        self._buffers = [b for b in model.buffers() if b.is_floating_point()]
        self._before: list[Tensor] = []
        self._is_taken = False
        if self.is_used:
            optimizer.register_step_pre_hook(self._note_taken)

    def _note_taken(self, *_: Any) -> None:
        self._is_taken = True

    @torch.no_grad()
    def begin(self) -> None:
        """Begin a step: what its forward pass changes may have to be undone."""
        if not self.is_used or not self._buffers:
            return
        if not self._before:
            self._before = [buffer.clone() for buffer in self._buffers]
        torch._foreach_copy_(self._before, self._buffers)

    def backward(self, total: Tensor) -> None:
        """Add the gradients of the losses' sum, times the factor."""
        self.scaler.scale(total).backward()

    def step(self) -> None:
        """Change the weights, unless gradients overflow.

        Raises:
            NonFiniteLossError: they have done so for too many steps.
        """
        self._is_taken = not self.is_used
        self.scaler.step(self._optimizer)
        self.scaler.update()
        if self._is_taken:
            self._in_a_row = 0
        else:
            self._leave_out("gradients")

    @torch.no_grad()
    def skip(self, error: NonFiniteLossError) -> None:
        """Leave out a step whose losses are not finite; all processes call it.

        Raises:
            NonFiniteLossError: that very one, where numbers are not float16.
        """
        if not self.is_used:
            raise error
        if self._before:
            torch._foreach_copy_(self._buffers, self._before)
        self._leave_out("losses", f" ({error})")

    def _leave_out(self, which: str, more: str = "") -> None:
        self.skipped += 1
        self._in_a_row += 1
        # learning rates go on by iterations; torch warns of that where the first step is left out
        vars(self._optimizer)["_opt_called"] = True
        if self._in_a_row >= MOST_IN_A_ROW:
            raise NonFiniteLossError(
                f"the {which} of {self._in_a_row} steps in a row overflow float16{more}. Set "
                f"WEND.PRECISION bfloat16 or float32, or lower SOLVER.BASE_LR"
            )
        logger.info("a step is left out: its %s overflow float16%s", which, more)

    def scalars(self) -> dict[str, float]:
        """The factor and the number of steps that were left out, for the log; waits for the GPU."""
        if not self.is_used:
            return {}
        return {"loss_scale": self.scaler.get_scale(), "skipped_steps": float(self.skipped)}

    def state_dict(self) -> dict[str, Any]:
        """What a training that is resumed goes on with."""
        counts = {"skipped": self.skipped, "in_a_row": self._in_a_row}
        return {**counts, "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with it."""
        self.skipped, self._in_a_row = int(state["skipped"]), int(state["in_a_row"])
        self.scaler.load_state_dict(state["scaler"])
