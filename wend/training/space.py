"""Whether the checkpoints of a training will fit on the disk, said before its first step."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import torch
from fvcore.common.config import CfgNode
from torch import nn

from wend.run_files import WEIGHTS

logger = logging.getLogger(__name__)
MOST_AT_ONCE = 4  # two periodic checkpoints, the last, and one that is being written


def checkpoint_bytes(model: nn.Module, optimizer: torch.optim.Optimizer, *, averaged: bool) -> int:
    """How large a checkpoint will be, nearly: weights, an average of them, the optimizer's state.

    Args:
        averaged: whether the training has an average of its weights.
    """
    weights = sum(value.nbytes for value in model.state_dict().values())
    per_weight = 0
    for group in optimizer.param_groups:
        slots = 2 if "betas" in group else int(bool(group.get("momentum")))
        per_weight += slots * sum(parameter.nbytes for parameter in group["params"])
    return weights * (1 + averaged) + per_weight


def warn_of_space(
    cfg: CfgNode, model: nn.Module, optimizer: torch.optim.Optimizer, *, averaged: bool
) -> None:
    """Log a warning where the disk of OUTPUT_DIR has no room for the checkpoints.

    Args:
        cfg: resolved.
        averaged: see :func:`checkpoint_bytes`.
    """
    folder = Path(cfg.OUTPUT_DIR).absolute()
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    free = shutil.disk_usage(there).free + sum(file.stat().st_size for file in folder.glob(WEIGHTS))
    size = checkpoint_bytes(model, optimizer, averaged=averaged)
    number = MOST_AT_ONCE + bool(cfg.WEND.KEEP_BEST)
    if free < number * size:
        logger.warning(
            "%s: %.2f GB are free, and this training's checkpoints take about %.2f GB (%d of "
            "%.2f GB at once); where the disk is full it ends",
            *(folder, free / 1e9, number * size / 1e9, number, size / 1e9),
        )
