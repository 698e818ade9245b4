"""L_unsup by name (``WEND.LOSS``): the readings of eqs. (2) and (3).

Each is a registered function of a :class:`wend.losses.context.LossContext`; ``docs/extend.md`` says
how to add one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from wend.errors import InputError
from wend.losses.context import LossContext
from wend.losses.entropies import check_choice, entropy_loss, weighted_entropy_loss
from wend.registry import FunctionRegistry

NORMALIZERS = ("samples", "positives", "boxes")  # of average_over
SAMPLES = ("all", "unassigned", "ignored")
NO_LOSS = "none"  # L_unsup = 0, also for detectors that have no samples


# (context, keywords) -> a scalar, or None for no term
LOSSES: FunctionRegistry[Callable[..., Tensor | None]] = FunctionRegistry("loss", ("context",))
unsupervised_loss = LOSSES.register


def average_over(
    losses: Tensor, context: LossContext, *, normalizer: str = "samples", samples: str = "all"
) -> Tensor:
    """The 1/N Σ of eq. (2) in its readings.

    Args:
        losses: (S,) loss of each sample.
        context: the samples.
        normalizer: N is the number of "samples" that are summed (the literal reading); of
            "positives" as the detector's own L_cls counts them, by which focal losses are divided;
            or of pseudo "boxes". Each is counted over all processes.
        samples: "all"; "unassigned", those that no pseudo box was assigned to (background and
            ignored); or "ignored" alone.

    Returns:
        A scalar; 0 with a gradient where no sample is summed.

    Raises:
        ValueError: an unknown name.
        InputError: the detector does not say what is needed.
    """
    check_choice("normalizer", normalizer, NORMALIZERS)
    check_choice("samples", samples, SAMPLES)
    number = context.num_samples
    if number is None:
        number = max(losses.numel(), 1)
    if samples != "all":
        if context.labels is None:
            raise InputError(f"samples {samples!r} need labels, and the detector assigns none")
        summed = context.labels != 1 if samples == "unassigned" else context.labels < 0
        losses = torch.where(summed, losses, torch.zeros_like(losses))
        number = context.count(summed)
    if normalizer != "samples":
        number = context.num_positives if normalizer == "positives" else context.num_boxes
    if number is None:
        raise InputError(f"normalizer {normalizer!r}: the detector does not count its {normalizer}")
    return losses.sum() / number


@unsupervised_loss("weighted_entropy", node=("WE", ""))
def weighted_entropy(
    context: LossContext,
    *,
    gamma: float = 6.0,
    alpha: float = 0.1,
    tau1: float = 0.3,
    tau2: float = 0.3,
    form: str = "entropy",
    weight_gradient: str = "flow",
    normalizer: str = "samples",
    samples: str = "all",
) -> Tensor:
    """:func:`weighted_entropy_loss`, averaged by :func:`average_over`."""
    losses = weighted_entropy_loss(
        context.logits,
        gamma=gamma,
        alpha=alpha,
        tau1=tau1,
        tau2=tau2,
        form=form,
        weight_gradient=weight_gradient,
        reduction="none",
    )
    return average_over(losses, context, normalizer=normalizer, samples=samples)


@unsupervised_loss("entropy", node="WE")
def entropy(context: LossContext, *, normalizer: str = "samples", samples: str = "all") -> Tensor:
    """:func:`entropy_loss`, averaged by :func:`average_over`."""
    losses = entropy_loss(context.logits, "none")
    return average_over(losses, context, normalizer=normalizer, samples=samples)


@unsupervised_loss(NO_LOSS)
def no_loss(context: LossContext) -> None:
    """L_unsup = 0."""
