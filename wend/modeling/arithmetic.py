"""How a detector computes: in which numbers, in which order in memory, compiled or not.

Weights, gradients and the optimizer are float32 in any case; ``WEND.PRECISION`` says in which
numbers layers multiply, inside :func:`torch.autocast`. Losses, boxes and matching stay float32.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import nn

from wend.errors import InputError

PRECISIONS = ("", "float32", "bfloat16", "float16")
COMPILE_MODES = ("none", "default", "reduce-overhead", "max-autotune")  # torch.compile's, and none
COMPILERS = ("torch._dynamo", "torch._inductor")  # packages whose errors are the compiler's
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Precision:
    """The numbers that a detector's layers multiply in.

    Attributes:
        training, inference: ``torch.float32``, ``torch.bfloat16`` or ``torch.float16``.
    """

    training: torch.dtype = torch.float32
    inference: torch.dtype = torch.float32


def precision_of(cfg: CfgNode) -> Precision:
    """``WEND.PRECISION``; where that is empty ``SOLVER.AMP.ENABLED``, which only training knows."""
    name = cfg.WEND.PRECISION
    if name:
        dtype = getattr(torch, name)
        return Precision(dtype, dtype)
    return Precision(torch.float16 if cfg.SOLVER.AMP.ENABLED else torch.float32)


def check_precision(cfg: CfgNode, *, train: bool) -> None:
    """Raise InputError for numbers that the device cannot compute in.

    Args:
        cfg: with the device that is used.
        train: whether it is trained, too.
    """
    precision = precision_of(cfg)
    used = {precision.inference, *([precision.training] if train else [])}
    device = torch.device(cfg.MODEL.DEVICE).type
    entry = "WEND.PRECISION" if cfg.WEND.PRECISION else "SOLVER.AMP.ENABLED"
    if torch.float16 in used and device != "cuda":
        raise InputError(
            f"config entry {entry}: float16 needs a GPU, MODEL.DEVICE is {cfg.MODEL.DEVICE}; set "
            f"SOLVER.AMP.ENABLED False and WEND.PRECISION bfloat16, which a CPU has, or float32"
        )
    if used != {torch.float32} and not torch.amp.is_autocast_available(device):
        raise InputError(
            f"config entry {entry}: PyTorch has no autocast for MODEL.DEVICE {cfg.MODEL.DEVICE}; "
            f"set WEND.PRECISION float32"
        )


def settle_precision(cfg: CfgNode) -> None:
    """Let a detector that was trained in float16 predict in float32 where there is no GPU."""
    if precision_of(cfg).inference is torch.float16 and not cfg.MODEL.DEVICE.startswith("cuda"):
        logger.info("WEND.PRECISION is float16, which needs a GPU: predicting in float32")
        cfg.WEND.PRECISION = "float32"


def compute_as(model: nn.Module, cfg: CfgNode) -> None:
    """Let a detector compute as a config says, in training and testing.

    Args:
        model: the detector, on its device.
        cfg: ``WEND.PRECISION``, ``CHANNELS_LAST``, ``COMPILE``, ``TF32``, ``CUDNN_BENCHMARK``,
            ``SOLVER.AMP``.
    """
    if cfg.CUDNN_BENCHMARK:
        torch.backends.cudnn.benchmark = True
    if cfg.WEND.TF32:
        torch.set_float32_matmul_precision("high")
    if cfg.WEND.CHANNELS_LAST:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    compile_backbone(model, cfg)
    precision = precision_of(cfg)
    if precision != Precision():
        model.precision = precision  # type: ignore[assignment]
        model.forward = partial(_in_its_numbers, model, model.forward)


def compile_backbone(model: nn.Module, cfg: CfgNode) -> None:
    """Let ``torch.compile`` make a detector's backbone when it is first called (``WEND.COMPILE``).

    In place: the names of its weights stay. A copy of a detector is not compiled. What cannot be
    compiled is an InputError then.
    """
    if cfg.WEND.COMPILE == "none":
        return
    backbone = getattr(model, "backbone", None)
    if not isinstance(backbone, nn.Module):
        raise InputError(
            f"config entry WEND.COMPILE: {type(model).__name__} has no backbone to compile; set it "
            f"to none"
        )
    backbone.compile(mode=cfg.WEND.COMPILE)
    backbone._compiled_call_impl = partial(_compiled, backbone._compiled_call_impl)


def _compiled(call: Any, *inputs: Any, **more: Any) -> Any:
    try:
        return call(*inputs, **more)
    except RuntimeError as error:
        if not type(error).__module__.startswith(COMPILERS):
            raise
        said = " ".join(str(error).partition("\n\n")[0].split())[:300]
        raise InputError(
            f"config entry WEND.COMPILE: torch.compile could not make the backbone ({said}); set "
            f"it to none"
        ) from None


def in_its_numbers(model: nn.Module) -> AbstractContextManager[Any]:
    """Compute inside as a detector does (:func:`compute_as`): as its mode is, training or not."""
    precision = vars(model).get("precision", Precision())
    dtype = precision.training if model.training else precision.inference
    if dtype is torch.float32:
        return nullcontext()
    return torch.autocast(next(model.parameters()).device.type, dtype)


# As a partial before a model's forward: a deep copy has its own, of a closure not
def _in_its_numbers(model: nn.Module, forward: Any, *inputs: Any, **more: Any) -> Any:
    with in_its_numbers(model):
        return forward(*inputs, **more)
