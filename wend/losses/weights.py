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


class GivenWeights:
    """The weights that chosen functions gave in a batch, on their device until they are looked at.

    A look waits for the device, so that only :meth:`check` has one. Until then wrong weights are
    noticed by :meth:`doubt`, which makes a loss NaN.
    """

    def __init__(self) -> None:
        self._given: list[tuple[Chosen, Tensor]] = []

    def clear(self) -> None:
        """Begin a batch."""
        self._given.clear()

    @torch.no_grad()
    def product(
        self, functions: Sequence[Chosen], context: object, count: int, device: torch.device
    ) -> Tensor | None:
        """The product of weights (count,), float32; None of no function.

        Raises:
            InputError: a function fails, or returns something else than ``count`` numbers.
        """
        weights: Tensor | None = None
        for function in functions:
            values = function(context, count).detach().to(device, torch.float32)
            self._given.append((function, values))
            weights = values if weights is None else weights * values
        return weights

    def doubt(self) -> Tensor | None:
        """A scalar: 0, or NaN where a weight is no finite number >= 0; None of no weights."""
        roots = [values.sqrt().sum() for _, values in self._given]
        return 0 * sum(roots[1:], roots[0]) if roots else None

    def check(self) -> None:
        """Look at them.

        Raises:
            InputError: one is no finite number >= 0.
        """
        for function, values in self._given:
            wrong = values[~((values >= 0) & (values < math.inf))]
            if len(wrong):
                came = f"{wrong[0].item():g} ({len(wrong)} such)"
                raise function.error("finite numbers >= 0", came)


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
