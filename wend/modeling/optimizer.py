"""The optimizer, its two learning rates and the check of the losses, the same for every engine."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor

from wend.errors import NonFiniteLossError

ADAM_BETAS = (0.9, 0.999)  # paper, appendix A
# Projections of Deformable DETR that learn at the backbone's rate (paper, appendix A).
SLOW_PROJECTIONS = ("reference_points", "sampling_offsets")


def lr_factor(parameter: str, head_lr_factor: float) -> float:
    """Learning rate of a parameter as a multiple of the base rate (paper: 2 for the head).

    Args:
        parameter: its name in the detector. The backbone's begin with "backbone."; the pyramid's
            (``fpn...``, ``simple_fpn``, ``top_block...`` inside it) are new layers and count as
            head. Deformable DETR's :data:`SLOW_PROJECTIONS` learn at the base rate, as the backbone
            does.
        head_lr_factor: the head's multiple.
    """
    parts = parameter.split(".")
    in_pyramid = any(part.startswith(("fpn", "simple_fpn", "top_block")) for part in parts)
    in_backbone = parts[0] == "backbone" and not in_pyramid
    return 1.0 if in_backbone or set(SLOW_PROJECTIONS) & set(parts) else head_lr_factor


def optimizer_class(cfg: CfgNode) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """``WEND.OPTIMIZER``'s class and its arguments besides the groups of parameters."""
    solver, name = cfg.SOLVER, cfg.WEND.OPTIMIZER
    arguments = {"lr": solver.BASE_LR, "weight_decay": solver.WEIGHT_DECAY}
    if name == "SGD":
        arguments |= {"momentum": solver.MOMENTUM, "nesterov": solver.NESTEROV}
    else:
        arguments |= {"betas": ADAM_BETAS}
    return getattr(torch.optim, name), arguments


def describe_non_finite(losses: Mapping[str, Tensor], image_ids: Iterable[object]) -> str:
    """:func:`non_finite` of loss terms on a device, each a scalar."""
    values = on_host([*losses.values()])
    return non_finite(dict(zip(losses, values, strict=True)), image_ids)


@torch.no_grad()
def on_host(scalars: Sequence[Tensor]) -> list[float]:
    """The numbers of scalars on a device, in one copy; waits for the device."""
    return torch.stack([*scalars]).tolist() if len(scalars) else []


def non_finite(losses: Mapping[str, float], image_ids: Iterable[object]) -> str:
    """The terms that are NaN or infinite and the batch's images; empty where all are finite.

    Args:
        losses: loss terms by name.
        image_ids: ids of the batch's images.
    """
    bad = [f"{name} is {value}" for name, value in losses.items() if not math.isfinite(value)]
    if not bad:
        return ""
    return f"{', '.join(bad)} on the images {', '.join(map(str, image_ids))}"


def refuse_non_finite(reports: Iterable[str], where: str) -> None:
    """Raise NonFiniteLossError if a process has a term that is not finite.

    Args:
        reports: each process's :func:`describe_non_finite`, by rank.
        where: the iteration, for the message.
    """
    bad = [f"process {rank}: {text}" for rank, text in enumerate(reports) if text]
    if bad:
        raise NonFiniteLossError(
            f"{where}: {'; '.join(bad)}; the step was not taken. Lower SOLVER.BASE_LR, raise "
            f"SOLVER.WARMUP_ITERS, or look at these images' pseudo boxes"
        )
