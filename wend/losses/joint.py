"""Eq. (4): the terms of L_sup and L_unsup with their weights."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

UNSUPERVISED_PREFIX = "loss_unsup"  # names of the terms of L_unsup begin so; all others are L_sup


def joint_loss(
    losses: Mapping[str, Tensor], *, eta: float, factor: float = 1.0
) -> dict[str, Tensor]:
    """Eq. (4), ``L_loc = η · L_sup + L_unsup``, with a factor f on L_unsup, term by term.

    With SGD a small η alone is a learning rate divided by 1/η as well; η = 1 and f = 1/η have the
    same balance without it.

    Args:
        losses: a detector's terms; those of L_unsup have names that begin with "loss_unsup".
        eta: the weight η >= 0 of every supervised term.
        factor: f >= 0, 1 in the paper.

    Returns:
        The same names; their sum is L_loc.
    """
    return {
        name: times(factor if name.startswith(UNSUPERVISED_PREFIX) else eta, value)
        for name, value in losses.items()
    }


def times(number: Tensor | float, term: Tensor) -> Tensor:
    """A term times a number, as it is where that is the number 1: mostly all are."""
    return term if isinstance(number, float | int) and number == 1 else number * term


def weighted(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> dict[str, Tensor]:
    """A detector's terms of L_sup with the λ of eq. (1).

    Args:
        losses: its terms.
        weights: name of a term -> λ >= 0; 1 for the others.
    """
    return {name: times(weights.get(name, 1.0), value) for name, value in losses.items()}
