"""Weights of samples and of images in L_sup, by name (``WEND.SAMPLE_WEIGHTS``, ``IMAGE_WEIGHTS``).

A weight scales gradients: :func:`scale_gradient` stands between a detector's predictions and its
supervised losses. Those stay the library's own, with their normalizers, and the gradient is exactly
that of the weighted sum of their terms; their values, which are logged, are the unweighted ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wend.losses.chosen import Chosen
from wend.registry import FunctionRegistry

# LossContext, keywords -> (S,) >= 0
SAMPLE_WEIGHTS: FunctionRegistry[Callable[..., Tensor]] = FunctionRegistry(
    "sample weight", ("context",)
)
sample_weights = SAMPLE_WEIGHTS.register
# ImagesContext, keywords -> (N,) >= 0
IMAGE_WEIGHTS: FunctionRegistry[Callable[..., Tensor]] = FunctionRegistry(
    "image weight", ("images",)
)
image_weights = IMAGE_WEIGHTS.register


def product(
    functions: Sequence[Chosen], context: object, count: int, device: torch.device
) -> Tensor | None:
    """The product of weights (count,), float32; None of no function.

    Raises:
        InputError: a function fails, or returns something else than ``count`` finite numbers >= 0.
    """
    weights: Tensor | None = None
    for function in functions:
        with torch.no_grad():
            values = function(context, count).detach().to(device, torch.float32)
        if not bool(((values >= 0) & (values < math.inf)).all()):
            wrong = values[~((values >= 0) & (values < math.inf))]
            raise function.error("finite numbers >= 0", f"{wrong[0].item():g} ({len(wrong)} such)")
        weights = values if weights is None else weights * values
    return weights


class _ScaledGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(weights)
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (weights,) = ctx.saved_tensors
        return (gradient * weights).to(gradient.dtype), None


def scale_gradient(values: Tensor, weights: Tensor | None) -> Tensor:
    """The same values, whose gradient is multiplied by weights.

    Args:
        values: (..., any further dimensions).
        weights: (...), constants; None leaves ``values`` as they are.
    """
    if weights is None:
        return values
    further = [1] * (values.dim() - weights.dim())
    return _ScaledGradient.apply(values, weights.reshape(*weights.shape, *further))


@dataclass(frozen=True)
class WeighedOutputs:
    """A forward hook that puts weights of images on all that a module predicts in training.

    On an RPN's head it weighs the whole of the RPN's loss: proposals are made of the same values
    without a gradient, so that they stay as they are.

    Attributes:
        weigh: a tensor (N, ...) -> the same values, with the gradient of the weighted loss.
    """

    weigh: Callable[[Tensor], Tensor]

    def __call__(self, module: nn.Module, arguments: Any, outputs: Any) -> Any:
        """The outputs: tensors (N, ...) in sequences of any nesting."""
        return self._weighed(outputs) if module.training else outputs

    def _weighed(self, outputs: Any) -> Any:
        if isinstance(outputs, Tensor):
            return self.weigh(outputs)
        return type(outputs)(map(self._weighed, outputs))
