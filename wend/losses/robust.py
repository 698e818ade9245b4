"""Classification losses that a wrong label pulls at less than cross entropy (``WEND.CLS_LOSS``).

``z`` is a foreground log-odds, ``y`` the label that the pseudo boxes give, and ``p_t`` the
probability of that label: ``sigmoid(z)`` where y = 1, ``sigmoid(-z)`` where y = 0. Cross entropy
``-log p_t`` pulls hardest at the samples that contradict their label, wrong labels among them; a
loss that is bounded, or that trusts the prediction a little, lets go of them.

All are computed from log-odds, without a logarithm of 0, and half precision in float32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from wend.losses.classification import classification_loss
from wend.losses.context import LossContext
from wend.losses.entropies import check_choice, reduce, upcast

BOOTSTRAP_FORMS = ("soft", "hard")


def _log_odds_of_labels(logits: Tensor, labels: Tensor) -> Tensor:
    """The log-odds of p_t."""
    logits = upcast(logits)
    return torch.where(labels == 1, logits, -logits)


def _check_range(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ValueError(f"{name} must be in [{least:g}, {most:g}], got {value}")


def generalized_cross_entropy(
    logits: Tensor, labels: Tensor, *, q: float, reduction: str = "mean"
) -> Tensor:
    """Generalized cross entropy: ``(1 - p_t^q) / q``, in [0, 1/q].

    Its gradient is cross entropy's times ``p_t^q``. The limit q -> 0 is cross entropy, ``-log
    p_t``; q = 1 is half the mean absolute error of both probabilities, ``1 - p_t``.

    Args:
        logits: foreground log-odds, any shape. Half precision is computed in float32.
        labels: of the same shape, 1 foreground, else background.
        q: in [0, 1]; 0 is the limit.
        reduction: "none" (the shape of ``logits``), "mean" or "sum".

    Returns:
        The loss; 0 with a gradient for an empty input.

    Raises:
        ValueError: ``q`` out of its range, unknown ``reduction``, non-float ``logits``.

    Source: Zhang and Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural Networks
    with Noisy Labels", NeurIPS 2018, eq. (6).
    """
    return reduce(_generalized(_log_odds_of_labels(logits, labels), q), reduction)


def _generalized(z_t: Tensor, q: float) -> Tensor:
    _check_range("q", q, 0.0, 1.0)
    log_p = F.logsigmoid(z_t)
    return -torch.expm1(q * log_p) / q if q else -log_p  # expm1: 1 - p_t^q of a tiny q


def focal_generalized_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    q: float,
    alpha: float,
    gamma: float,
    reduction: str = "mean",
) -> Tensor:
    """Generalized cross entropy with focal loss's factors: ``α_t (1 - p_t)^γ (1 - p_t^q) / q``.

    For detectors with a sample at every location, nearly all of them easy background: γ keeps
    those small, as in focal loss, which is the limit q -> 0 (Lin et al., ICCV 2017, eq. (5)).

    Args:
        logits: foreground log-odds, any shape. Half precision is computed in float32.
        labels: of the same shape, 1 foreground, else background.
        q: in [0, 1]; 0 is the limit.
        alpha: in [0, 1], α_t of the foreground; the background's is 1 - α.
        gamma: focusing parameter γ >= 0; the gradient flows through the factor.
        reduction: "none" (the shape of ``logits``), "mean" or "sum".

    Returns:
        The loss, at most max(α, 1 - α) / q; 0 with a gradient for an empty input.

    Raises:
        ValueError: a parameter out of its range, unknown ``reduction``, non-float ``logits``.
    """
    _check_range("alpha", alpha, 0.0, 1.0)
    if not 0 <= gamma < float("inf"):
        raise ValueError(f"gamma must be finite and >= 0, got {gamma}")
    z_t = _log_odds_of_labels(logits, labels)
    # (1 - p_t)^γ as exp(γ log(1 - p_t)): its gradient stays finite where p_t rounds to 1
    factor = torch.exp(gamma * F.logsigmoid(-z_t))
    alpha_t = torch.where(labels == 1, alpha, 1 - alpha)
    return reduce(alpha_t * factor * _generalized(z_t, q), reduction)


def bootstrapped_cross_entropy(
    logits: Tensor, labels: Tensor, *, beta: float, form: str = "soft", reduction: str = "mean"
) -> Tensor:
    """Cross entropy with a target that is partly the prediction: ``-Σ_k t_k log p_k``.

    ``t = β y + (1 - β) p`` where ``form`` is "soft": ``β CE + (1 - β) H(p)``, cross entropy and
    the entropy that the paper's L_unsup is made of, through which the gradient flows. Where it is
    "hard", ``t = β y + (1 - β) [p >= 1/2]``, a constant for the gradient.

    Args:
        logits: foreground log-odds, any shape. Half precision is computed in float32.
        labels: of the same shape, 1 foreground, else background.
        beta: trust β in the label, in [0, 1]; 1 is cross entropy.
        form: "soft" or "hard".
        reduction: "none" (the shape of ``logits``), "mean" or "sum".

    Returns:
        The loss; 0 with a gradient for an empty input.

    Raises:
        ValueError: ``beta`` out of its range, unknown ``form`` or ``reduction``, non-float
            ``logits``.

    Source: Reed et al., "Training Deep Neural Networks on Noisy Labels with Bootstrapping", ICLR
    2015 workshop: β 0.95 for soft, 0.8 for hard.
    """
    _check_range("beta", beta, 0.0, 1.0)
    logits = upcast(logits)
    check_choice("form", form, BOOTSTRAP_FORMS)
    own = logits.sigmoid() if form == "soft" else (logits.detach() >= 0).to(logits)
    target = beta * (labels == 1).to(logits) + (1 - beta) * own
    # softplus(z) - t z is -t log p - (1 - t) log(1 - p); in parts, as t z alone may be large
    loss = -target * F.logsigmoid(logits) - (1 - target) * F.logsigmoid(-logits)
    return reduce(loss, reduction)


def symmetric_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    alpha: float,
    beta: float,
    log_zero: float = -4.0,
    reduction: str = "mean",
) -> Tensor:
    """Cross entropy and its reverse: ``α · -log p_t + β · -A (1 - p_t)``.

    Reverse cross entropy, ``-Σ_k p_k log y_k``, has labels of 0 and 1; their ``log 0`` is set to
    A, so that it is ``-A (1 - p_t)``, bounded and a multiple of the mean absolute error.

    Args:
        logits: foreground log-odds, any shape. Half precision is computed in float32.
        labels: of the same shape, 1 foreground, else background.
        alpha: weight α >= 0 of cross entropy.
        beta: weight β >= 0 of reverse cross entropy.
        log_zero: A < 0.
        reduction: "none" (the shape of ``logits``), "mean" or "sum".

    Returns:
        The loss; 0 with a gradient for an empty input.

    Raises:
        ValueError: a parameter out of its range, unknown ``reduction``, non-float ``logits``.

    Source: Wang et al., "Symmetric Cross Entropy for Robust Learning with Noisy Labels", ICCV
    2019: A = -4, and α 0.1, β 1 for CIFAR-10, α 6, β 0.1 for CIFAR-100.
    """
    for name, value in (("alpha", alpha), ("beta", beta)):
        if not 0 <= value < float("inf"):
            raise ValueError(f"{name} must be finite and >= 0, got {value}")
    if not -float("inf") < log_zero < 0:
        raise ValueError(f"log_zero must be finite and < 0, got {log_zero}")
    z_t = _log_odds_of_labels(logits, labels)
    return reduce(-alpha * F.logsigmoid(z_t) - beta * log_zero * (-z_t).sigmoid(), reduction)


@classification_loss("gce", node="GCE")
def gce(context: LossContext, *, q: float = 0.7) -> Tensor:
    """:func:`generalized_cross_entropy`."""
    return generalized_cross_entropy(context.logits, context.known_labels, q=q, reduction="none")


@classification_loss("focal_gce", node="GCE")
def focal_gce(
    context: LossContext,
    *,
    q: float = 0.7,
    focal_alpha: float = 0.25,
    focal_gamma: float = 2.0,
) -> Tensor:
    """:func:`focal_generalized_cross_entropy`."""
    return focal_generalized_cross_entropy(
        context.logits,
        context.known_labels,
        q=q,
        alpha=focal_alpha,
        gamma=focal_gamma,
        reduction="none",
    )


@classification_loss("bootstrap", node="BOOTSTRAP")
def bootstrap(context: LossContext, *, form: str = "soft", beta: float = 0.95) -> Tensor:
    """:func:`bootstrapped_cross_entropy`."""
    return bootstrapped_cross_entropy(
        context.logits, context.known_labels, beta=beta, form=form, reduction="none"
    )


@classification_loss("sce", node="SCE")
def sce(
    context: LossContext, *, alpha: float = 0.1, beta: float = 1.0, log_zero: float = -4.0
) -> Tensor:
    """:func:`symmetric_cross_entropy`."""
    return symmetric_cross_entropy(
        context.logits,
        context.known_labels,
        alpha=alpha,
        beta=beta,
        log_zero=log_zero,
        reduction="none",
    )
