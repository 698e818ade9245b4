"""Counts that losses are divided by, of all processes: a training on n GPUs is that on one.

The gradients of n processes are averaged. So a sum over each process's samples is to be divided by
the number of all samples over n, not by the process's own: then η and f mean the same on any number
of GPUs, however samples are spread over them. Sums by fixed numbers need nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wend import processes


def counts_per_process(*counts: Tensor | float, device: torch.device) -> Tensor:
    """The mean of each count over the processes, at least one sample of all; all processes call it.

    Args:
        counts: C counts of this process.
        device: of the result.

    Returns:
        (C,) float32.
    """
    own = [torch.as_tensor(count, dtype=torch.float32, device=device) for count in counts]
    return processes.mean(torch.stack(own)).clamp(min=1 / processes.world_size())


def share_of_mean(count: Tensor | float, device: torch.device) -> Tensor | float:
    """What a term is multiplied by that was divided by this process's own count, at least 1.

    So it is divided by the mean of all processes'. It is 1 where each has as many, and where there
    is one process.

    Args:
        count: the process's own; the term was divided by 1 where it is 0.
        device: of the result.
    """
    if processes.world_size() == 1:
        return 1.0
    own = torch.as_tensor(count, dtype=torch.float32, device=device)
    return own.clamp(min=1) / counts_per_process(own, device=device)[0]
