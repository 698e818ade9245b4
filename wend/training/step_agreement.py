"""What all processes agree on before a step is taken: its losses, and whether it is the last."""

from __future__ import annotations

import torch

from wend.modeling.optimizer import refuse_non_finite
from wend.processes import gather, largest
from wend.training.interruption import Interruption


def agree_on_step(
    problem: str, interruption: Interruption, device: torch.device | str, iteration: int
) -> None:
    """Go on with a step on all processes or on none, by one message; all of them call it.

    Args:
        problem: of this process's losses, as of
            :func:`wend.modeling.optimizer.describe_non_finite`; empty where there is none.
        interruption: learns what signal came to any process.
        device: where the processes' tensors are.
        iteration: the step's, from 0.

    Raises:
        NonFiniteLossError: a process has a problem; names all of them.
    """
    on_any, number = largest([int(bool(problem)), interruption.noted], device)
    interruption.agree(number)
    if on_any:
        refuse_non_finite(gather(problem), f"iteration {iteration}")
