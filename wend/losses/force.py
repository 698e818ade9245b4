"""How strongly L_unsup pulls at the log-odds, beside the supervised loss."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

FORCE_EVERY = 20  # steps between two comparisons of L_unsup's gradient with L_cls's
HALF_SCALE = 4096.0  # of the gradients that are compared: those of half precision would round to 0


@dataclass
class UnsupervisedForce:
    """How strongly L_unsup pulls at a batch's log-odds beside the detector's own L_cls.

    A loss may be as large as another and still do nothing: what counts is its gradient. Sums are
    those of absolute gradients over all samples, of several layers together; before η and f.

    Attributes:
        unsupervised: Σ |∂L_unsup / ∂z|.
        supervised: Σ |∂L_cls / ∂z|.
        touched: samples whose ∂L_unsup / ∂z is not 0.
        samples: samples.
    """

    unsupervised: Tensor | float = 0.0
    supervised: Tensor | float = 0.0
    touched: Tensor | float = 0.0
    samples: int = 0

    def add(
        self, unsupervised: Tensor, supervised: Tensor, logits: Tensor, shared: Sequence[Tensor]
    ) -> None:
        """Add the gradients of a layer's two losses.

        Args:
            unsupervised, supervised: scalars.
            logits: the log-odds, which ``unsupervised`` is a function of.
            shared: the tensors that both are functions of.
        """
        *ours, z = _scaled_gradients(unsupervised, [*shared, logits])
        theirs = _scaled_gradients(supervised, shared)
        self.unsupervised = self.unsupervised + _sum_of_absolutes(ours)
        self.supervised = self.supervised + _sum_of_absolutes(theirs)
        self.touched = self.touched + (0.0 if z is None else (z != 0).sum())
        self.samples += logits.numel()

    def scalars(self, eta: float, factor: float) -> dict[str, float]:
        """The numbers of a log; waits for the device.

        Returns:
            ``unsup_to_cls``, the ratio f Σ |∂L_unsup| / (η Σ |∂L_cls|), and ``unsup_touched``, the
            share of samples whose log-odds L_unsup moves. Empty where L_cls has no gradient.
        """
        sums = (self.unsupervised, self.supervised, self.touched)
        tensors = [each.double() for each in sums if isinstance(each, Tensor)]
        known = iter(torch.stack(tensors).tolist() if tensors else ())
        unsupervised, supervised, touched = (
            next(known) if isinstance(each, Tensor) else each for each in sums
        )
        if not eta * supervised or not self.samples:
            return {}
        return {
            "unsup_to_cls": factor * unsupervised / (eta * supervised),
            "unsup_touched": touched / self.samples,
        }


def _scaled_gradients(loss: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    # the scaled loss, and not the scale as grad_outputs, which torch checks by a symbolic library
    return torch.autograd.grad(loss * HALF_SCALE, tensors, retain_graph=True, allow_unused=True)


def _sum_of_absolutes(scaled: Iterable[Tensor | None]) -> Tensor | float:
    return sum((each.float().abs().sum() for each in scaled if each is not None), 0.0) / HALF_SCALE
