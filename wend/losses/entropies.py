"""The entropy of predictions, plain and weighted: pure functions of foreground log-odds.

``z`` is a foreground log-odds ("logit"), ``p = sigmoid(z)`` the probability of foreground.
Equation numbers are those of Xu et al., MM '23 (doi 10.1145/3581783.3611959).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

REDUCTIONS = ("none", "mean", "sum")
FORMS = ("entropy", "terms", "chosen", "swapped", "confidence")  # of weighted_entropy_loss
WEIGHT_GRADIENTS = ("flow", "detach")


def reduce(loss: Tensor, reduction: str) -> Tensor:
    """A loss's elements, their sum or their mean; ValueError for another ``reduction``."""
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    if reduction == "mean":  # on no samples: 0, connected to the graph
        return loss.sum() / max(loss.numel(), 1)
    raise ValueError(f"reduction must be one of {REDUCTIONS}, got {reduction!r}")


def _foreground_term(logits: Tensor) -> Tensor:
    """-p log p in nats, without log(0)."""
    return -logits.sigmoid() * F.logsigmoid(logits)


def _binary_entropy(logits: Tensor) -> Tensor:
    """H(p) = -p log p - (1-p) log(1-p) in nats.

    With q the probability of the likelier side, log q = log(1 - q) + |z|, so that H is
    log(1 + e^-|z|) + (1 - q) |z|: a sum of what is >= 0, in which nothing cancels.
    """
    far = -logits.abs()
    return F.softplus(far) - F.silu(far)


def check_choice(name: str, value: object, allowed: Sequence[str]) -> None:
    """Raise ValueError, which lists the allowed values, unless the value is one of them."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


def upcast(logits: Tensor) -> Tensor:
    """Half precision in float32; ValueError for a tensor that is not floating-point."""
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
    return reduce(_binary_entropy(upcast(logits)), reduction)


def weighted_entropy_loss(
    logits: Tensor,
    *,
    gamma: float,
    alpha: float,
    tau1: float,
    tau2: float,
    form: str = "entropy",
    weight_gradient: str = "flow",
    reduction: str = "mean",
) -> Tensor:
    """Weighted entropy (WE) loss, eqs. (2) and (3), of which the scan lost the symbols::

        L_unsup = 1/N · Σ_i w(p_i) H(p_i)

        w(p) = α (1-p)^γ       where p >= τ1        looks like foreground
               (1-α) p^γ       where p <  τ2        looks like background
               0               where τ2 <= p < τ1   left out, but counted in N

    That is ``form`` "entropy". With ``h1 = -p log p``, ``h0 = -(1-p) log(1-p)`` and H = h1 + h0 the
    other readings of "as in focal loss" are, outside of ``τ2 <= p < τ1``:

    ========== ============================== =====================================================
    form       the loss of a sample           the reading
    ========== ============================== =====================================================
    entropy    w(p) H(p)                      one weight, that of the sample's side
    terms      α (1-p)^γ h1 + (1-α) p^γ h0    each term with its own weight; no sides
    chosen     α (1-p)^γ h1 or (1-α) p^γ h0   only the term of the sample's side
    swapped    (1-α) p^γ H or α (1-p)^γ H     from τ1 on, below τ2: the other side's weight
    confidence (1 - max(p, 1-p))^γ H          one weight for both sides, no α
    ========== ============================== =====================================================

    The weight depends on the prediction alone, never on a pseudo label.

    Args:
        logits: foreground log-odds, any shape. Half precision is computed in float32.
        gamma: focusing parameter γ >= 0.
        alpha: weight of the foreground α in [0, 1].
        tau1, tau2: confidence thresholds τ1 >= τ2 in (0, 1); the paper sets them equal.
        form: one of :data:`FORMS`.
        weight_gradient: "flow", the gradient flows through the weight as in focal loss, or
            "detach", the weight is a constant. The paper does not say. With "flow" the sign of the
            push changes at τ and not at 0.5: at τ 0.9 a sample of p = 0.8 is pushed down.
        reduction: "none" (the shape of ``logits``), "mean" over all N elements, or "sum".

    Returns:
        The loss in nats; 0 with a gradient for an empty input.

    Raises:
        ValueError: a parameter out of its range, unknown ``form``, ``weight_gradient`` or
            ``reduction``, non-float ``logits``.
    """
    check_weighted_entropy(gamma=gamma, alpha=alpha, tau1=tau1, tau2=tau2)
    check_choice("form", form, FORMS)
    check_choice("weight_gradient", weight_gradient, WEIGHT_GRADIENTS)
    logits = upcast(logits)
    with torch.no_grad():
        p = logits.sigmoid()
        looks_foreground = p >= tau1
    if form == "terms":
        foreground, background = _powers(-logits, gamma), _powers(logits, gamma)
        if weight_gradient == "detach":
            foreground, background = foreground.detach(), background.detach()
        h1, h0 = _foreground_term(logits), _foreground_term(-logits)
        losses = alpha * foreground * h1 + (1 - alpha) * background * h0
    else:
        # The weight of the foreground at z is, but for α, that of the background at -z, and so are
        # the terms of H: each sample is computed at one of them, as background at z
        side = p >= 0.5 if form == "confidence" else looks_foreground
        signs = (1.0, -1.0) if form == "swapped" else (-1.0, 1.0)
        turned = _by_side(side, *signs, logits) * logits
        weight = _powers(turned, gamma)
        if weight_gradient == "detach":
            weight = weight.detach()
        terms = _foreground_term(-turned) if form == "chosen" else _binary_entropy(logits)
        losses = weight * terms
        if form != "confidence":
            of_side = (1 - alpha, alpha) if form == "swapped" else (alpha, 1 - alpha)
            losses = _by_side(side, *of_side, logits) * losses
    if tau1 != tau2:
        is_summed = looks_foreground | (p < tau2)
        losses = torch.where(is_summed, losses, 0.0 * losses)  # NaN where the logits are
    return reduce(losses, reduction)


def _powers(logits: Tensor, gamma: float) -> Tensor:
    """p^γ as exp(γ log p): its gradient stays finite for every γ, also where p rounds to 0."""
    return torch.exp(gamma * F.logsigmoid(logits))


def _by_side(is_foreground: Tensor, foreground: float, background: float, like: Tensor) -> Tensor:
    """A number for each sample, by its side: constants for the gradient."""
    with torch.no_grad():
        return torch.full_like(like, background).masked_fill_(is_foreground, foreground)
