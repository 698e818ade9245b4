"""The paper's losses as pure functions of foreground log-odds.

``z`` is a foreground log-odds ("logit"), ``p = sigmoid(z)`` the probability of foreground. Each
detector turns its own output into log-odds and calls the same function, so nothing here knows a
detector. Equation numbers are those of Xu et al., MM '23 (doi 10.1145/3581783.3611959).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

REDUCTIONS = ("none", "mean", "sum")
UNSUPERVISED_LOSSES = ("weighted_entropy", "entropy", "none")
UNSUPERVISED_PREFIX = "loss_unsup"  # names of the terms of L_unsup begin so; all others are L_sup


def _reduce(loss: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    if reduction == "mean":  # on no samples: 0, connected to the graph
        return loss.sum() / max(loss.numel(), 1)
    raise ValueError(f"reduction must be one of {REDUCTIONS}, got {reduction!r}")


def _binary_entropy(logits: Tensor) -> Tensor:
    """H(p) = -p log p - (1-p) log(1-p) in nats, without log(0) or the cancellation of 1 - p."""
    p, one_minus_p = logits.sigmoid(), (-logits).sigmoid()
    return -p * F.logsigmoid(logits) - one_minus_p * F.logsigmoid(-logits)


def _upcast(logits: Tensor) -> Tensor:
    if not logits.is_floating_point():
        raise ValueError(f"logits must be a floating-point tensor, got {logits.dtype}")
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def check_weighted_entropy(*, gamma: float, alpha: float, tau1: float, tau2: float) -> None:
    """Check the parameters of :func:`weighted_entropy_loss`.

    Raises:
        ValueError: one is out of its range; the message names it, the range and the value.
    """
    if not 0 <= gamma < float("inf"):
        raise ValueError(f"gamma must be finite and >= 0, got {gamma}")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in [0, 1], got {alpha}")
    for name, tau in (("tau1", tau1), ("tau2", tau2)):
        if not 0 < tau < 1:
            raise ValueError(f"{name} must be in (0, 1), got {tau}")
    if tau1 < tau2:
        raise ValueError(f"tau1 must be >= tau2, got tau1={tau1} < tau2={tau2}")


def entropy_loss(logits: Tensor, reduction: str = "mean") -> Tensor:
    """Plain binary entropy of the predictions (table 10): ``1/N · Σ H(p_i)``, in nats.

    Args:
        logits: foreground log-odds, any shape. Half precision is computed in float32.
        reduction: "none" (the shape of ``logits``), "mean" over all N elements, or "sum".

    Returns:
        The loss; 0 with a gradient for an empty input.

    Raises:
        ValueError: unknown ``reduction``, or ``logits`` not floating-point.
    """
    return _reduce(_binary_entropy(_upcast(logits)), reduction)


def weighted_entropy_loss(
    logits: Tensor,
    *,
    gamma: float,
    alpha: float,
    tau1: float,
    tau2: float,
    reduction: str = "mean",
    detach_weight: bool = False,
) -> Tensor:
    """Weighted entropy (WE) loss, eqs. (2) and (3)::

        L_unsup = 1/N · Σ_i w(p_i) H(p_i)

        w(p) = α (1-p)^γ       where p >= τ1        looks like foreground
               (1-α) p^γ       where p <  τ2        looks like background
               0               where τ2 <= p < τ1   left out, but counted in N

    The weight depends on the prediction alone, never on a pseudo label.

    Args:
        logits: foreground log-odds, any shape. Half precision is computed in float32.
        gamma: focusing parameter γ >= 0.
        alpha: weight of the foreground α in [0, 1].
        tau1, tau2: confidence thresholds τ1 >= τ2 in (0, 1); the paper sets them equal.
        reduction: "none" (the shape of ``logits``), "mean" over all N elements, or "sum".
        detach_weight: take w as a constant in the gradient. The paper does not say; by default the
            gradient flows through it, as in focal loss.

    Returns:
        The loss in nats; 0 with a gradient for an empty input.

    Raises:
        ValueError: a parameter out of its range, unknown ``reduction``, non-float ``logits``.
    """
    check_weighted_entropy(gamma=gamma, alpha=alpha, tau1=tau1, tau2=tau2)
    logits = _upcast(logits)
    p = logits.detach().sigmoid()
    # (1-p)^γ = exp(γ log(1-p)): its gradient stays finite for every γ, also where 1-p rounds to 0
    foreground = alpha * torch.exp(gamma * F.logsigmoid(-logits))
    background = (1 - alpha) * torch.exp(gamma * F.logsigmoid(logits))
    left_out = torch.zeros_like(logits)
    weight = torch.where(p >= tau1, foreground, torch.where(p < tau2, background, left_out))
    if detach_weight:
        weight = weight.detach()
    return _reduce(weight * _binary_entropy(logits), reduction)


def joint_loss(losses: Mapping[str, Tensor], *, eta: float) -> dict[str, Tensor]:
    """Eq. (4): ``L_loc = η · L_sup + L_unsup``, term by term.

    Args:
        losses: a detector's terms; those of L_unsup have names that begin with "loss_unsup".
        eta: the weight η >= 0 of every supervised term.

    Returns:
        The same names; their sum is L_loc.
    """
    return {
        name: value if name.startswith(UNSUPERVISED_PREFIX) else eta * value
        for name, value in losses.items()
    }


@dataclass(frozen=True)
class LocalizationLoss:
    """What a detector adds to its own losses, and how they are weighted: eqs. (2) to (4) as chosen.

    Attributes:
        name: "weighted_entropy", "entropy" (table 10) or "none" (L_unsup = 0).
        eta: η of eq. (4), >= 0. It multiplies L_sup also where L_unsup is "none".
        gamma, alpha, tau1, tau2, detach_weight: see :func:`weighted_entropy_loss`.

    Raises:
        ValueError: a value out of its range.
    """

    name: str = "weighted_entropy"
    eta: float = 1.0
    gamma: float = 6.0
    alpha: float = 0.1
    tau1: float = 0.3
    tau2: float = 0.3
    detach_weight: bool = False

    def __post_init__(self) -> None:
        if self.name not in UNSUPERVISED_LOSSES:
            raise ValueError(f"loss must be one of {UNSUPERVISED_LOSSES}, got {self.name!r}")
        if not 0 <= self.eta < float("inf"):
            raise ValueError(f"eta must be finite and >= 0, got {self.eta}")
        check_weighted_entropy(gamma=self.gamma, alpha=self.alpha, tau1=self.tau1, tau2=self.tau2)

    def unsupervised(self, logits: Tensor) -> dict[str, Tensor]:
        """L_unsup of foreground log-odds (any shape) as a loss term; no term for "none"."""
        if self.name == "none":
            return {}
        if self.name == "entropy":
            return {UNSUPERVISED_PREFIX: entropy_loss(logits)}
        loss = weighted_entropy_loss(
            logits,
            gamma=self.gamma,
            alpha=self.alpha,
            tau1=self.tau1,
            tau2=self.tau2,
            detach_weight=self.detach_weight,
        )
        return {UNSUPERVISED_PREFIX: loss}

    def joint(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """:func:`joint_loss` with this η."""
        return joint_loss(losses, eta=self.eta)
