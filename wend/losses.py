"""The paper's losses as pure functions of foreground log-odds, and how a detector uses them.

``z`` is a foreground log-odds ("logit"), ``p = sigmoid(z)`` the probability of foreground. Each
detector turns its own output into log-odds and calls the same function, so nothing here knows a
detector. Equation numbers are those of Xu et al., MM '23 (doi 10.1145/3581783.3611959).

L_unsup is a registered function of a :class:`LossContext` (``WEND.LOSS`` names it), η may follow a
schedule (:mod:`wend.schedules`); ``docs/extend.md`` says how to add one.

Shape letters: S = samples (locations, sampled proposals or queries) of all images of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wend.errors import InputError
from wend.registry import FunctionRegistry
from wend.schedules import Progress, Scheduled

REDUCTIONS = ("none", "mean", "sum")
UNSUPERVISED_PREFIX = "loss_unsup"  # names of the terms of L_unsup begin so; all others are L_sup
NO_LOSS = "none"  # L_unsup = 0, also for detectors that have no samples


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


# ---- the context of a loss ----


@dataclass(frozen=True, eq=False)
class LossContext:
    """The context of L_unsup: a batch's S samples, as the detector sees them.

    Attributes:
        logits: (S,) foreground log-odds.
        labels: (S,) int64: 1 assigned to a pseudo box, 0 background, -1 ignored; None where the
            detector assigns none.
        image_index: (S,) int64, which image of the batch a sample belongs to; None if not known.
        image_ids: ids of the batch's images; empty if not known.
        num_positives: samples of label 1, as the detector's own L_cls counts them (FCOS of
            Detectron2: a moving average; Deformable DETR: the mean of all processes), at least 1: a
            number or a scalar tensor; None without labels.
        num_boxes: pseudo boxes of the batch, counted and given likewise; None if not known.
        progress: how far the training is.
    """

    logits: Tensor
    labels: Tensor | None = None
    image_index: Tensor | None = None
    image_ids: Sequence[object] = ()
    num_positives: Tensor | float | None = None
    num_boxes: Tensor | float | None = None
    progress: Progress = field(default_factory=Progress)


def image_indices(counts: Sequence[int], device: torch.device) -> Tensor:
    """:attr:`LossContext.image_index` (S,) of samples that come image by image.

    Args:
        counts: samples of each image of the batch.
        device: device of the result.
    """
    images = torch.arange(len(counts))
    return images.repeat_interleave(torch.tensor(counts, dtype=torch.int64)).to(device)


# ---- positives ----


class PositiveCounts:
    """How many positive samples boxes have, over all batches until it is read."""

    def __init__(self) -> None:
        self._is_read = False
        self._boxes = 0
        self._sums: Tensor | None = None  # stays on the device until it is read

    def add(self, matched: Sequence[Tensor], counts: Sequence[int]) -> None:
        """Count a batch; see :meth:`LocalizationLoss.count_positives`."""
        if self._is_read:
            return
        per_box = torch.cat(
            [
                torch.zeros(number + 1, dtype=torch.int64, device=index.device).index_add_(
                    0, index.flatten() + 1, torch.ones_like(index.flatten())
                )[1:]
                for index, number in zip(matched, counts, strict=True)
            ]
        )
        sums = torch.stack([per_box.sum(), (per_box == 0).sum()])
        self._sums = sums if self._sums is None else self._sums + sums
        self._boxes += sum(counts)

    def read(self) -> tuple[int, int, int]:
        """Boxes, positive samples, and boxes that had none; nothing is counted from now on."""
        self._is_read = True
        samples, without = (0, 0) if self._sums is None else self._sums.tolist()
        return self._boxes, samples, without


# ---- losses by name ----

# (context, keywords) -> a scalar, or None for no term
LOSSES: FunctionRegistry[Callable[..., Tensor | None]] = FunctionRegistry("loss", ("context",))
unsupervised_loss = LOSSES.register


@unsupervised_loss("weighted_entropy")
def weighted_entropy(
    context: LossContext,
    *,
    gamma: float = 6.0,
    alpha: float = 0.1,
    tau1: float = 0.3,
    tau2: float = 0.3,
    detach_weight: bool = False,
) -> Tensor:
    """:func:`weighted_entropy_loss`, the mean over all samples."""
    return weighted_entropy_loss(
        context.logits,
        gamma=gamma,
        alpha=alpha,
        tau1=tau1,
        tau2=tau2,
        detach_weight=detach_weight,
    )


@unsupervised_loss("entropy")
def entropy(context: LossContext) -> Tensor:
    """:func:`entropy_loss`, the mean over all samples."""
    return entropy_loss(context.logits)


@unsupervised_loss(NO_LOSS)
def no_loss(context: LossContext) -> None:
    """L_unsup = 0."""


class LocalizationLoss:
    """The loss that a detector adds to its own, and their weights: eqs. (2) to (4) as chosen.

    The one holder of η. A detector says which images come (:meth:`start_batch`), hands its samples
    to :meth:`unsupervised`, and all its terms to :meth:`joint`; the trainer says how far the
    training is (:func:`tell_progress`).

    Attributes:
        positives: counts the positives of each batch; None, where nobody asks for it.

    Args:
        name: name of a registered L_unsup, ``module:name`` or ``./file.py:name``. It is called
            once at the start, on no samples: a batch may have none.
        eta: η of eq. (4), >= 0, constant or scheduled. It multiplies L_sup also where L_unsup is
            "none".
        parameters: keyword-only parameters of the L_unsup; see :func:`weighted_entropy`.

    Raises:
        ValueError: a value out of its range, an unknown name or parameter, or a function that does
            not return what it should.
    """

    def __init__(
        self,
        name: str = "weighted_entropy",
        eta: float | Scheduled = 1.0,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.eta = eta if isinstance(eta, Scheduled) else Scheduled(eta)
        self.parameters = dict(parameters or {})
        self.function = LOSSES.get(name)
        self.progress = Progress()
        self.positives: PositiveCounts | None = None
        self.start_batch()
        with torch.device("cpu"):  # a detector may be built where tensors have no memory
            logits, empty = torch.zeros(0, requires_grad=True), torch.zeros(0, dtype=torch.int64)
            with LOSSES.trial(name, self.parameters):
                self.unsupervised(logits, labels=empty, image_index=empty, num_boxes=1.0)

    @property
    def is_none(self) -> bool:
        """Whether there is no L_unsup: it asks for no samples."""
        return self.name == NO_LOSS

    def start_batch(self, image_ids: Sequence[object] = (), num_boxes: float | None = None) -> None:
        """Say which images the next samples come from, and how many pseudo boxes they have."""
        self.image_ids = image_ids
        self.num_boxes = None if num_boxes is None else max(num_boxes, 1)

    def unsupervised(
        self,
        logits: Tensor,
        *,
        labels: Tensor | None = None,
        image_index: Tensor | None = None,
        num_positives: Tensor | float | None = None,
        num_boxes: Tensor | float | None = None,
    ) -> dict[str, Tensor]:
        """L_unsup as a loss term; no term for "none".

        Args:
            logits: foreground log-odds, any shape; of more than one dimension, the first is images.
            labels: labels of the same shape; see :class:`LossContext`.
            image_index: (S,); needed where ``logits`` have one dimension and the loss asks for it.
            num_positives: given where it is not the number of labels that are 1.
            num_boxes: given where it is not the number that :meth:`start_batch` received.

        Raises:
            InputError: the function returns no scalar.
        """
        if image_index is None and logits.dim() > 1:
            images = torch.arange(len(logits), device=logits.device)
            image_index = images.view(-1, *[1] * (logits.dim() - 1)).expand_as(logits).flatten()
        if labels is not None:
            labels = labels.flatten()
            if num_positives is None:
                num_positives = (labels == 1).sum().clamp(min=1)
        context = LossContext(
            logits.flatten(),
            labels,
            image_index,
            self.image_ids,
            num_positives,
            self.num_boxes if num_boxes is None else num_boxes,
            self.progress,
        )
        value = self.function(context, **self.parameters)
        if value is None:
            return {}
        if not isinstance(value, Tensor) or value.dim() or not value.is_floating_point():
            is_tensor = isinstance(value, Tensor)
            kind = f"{tuple(value.shape)} of {value.dtype}" if is_tensor else type(value).__name__
            raise InputError(
                f"loss {self.name!r}: expected to return a scalar tensor of floats (or None for no "
                f"term), got {kind}; take its mean or its sum"
            )
        return {UNSUPERVISED_PREFIX: value}

    def count_positives(self, matched: Sequence[Tensor], counts: Sequence[int]) -> None:
        """Say which pseudo box each sample of a batch is a positive of, once for each batch.

        Args:
            matched: for each image (S of the image,) int64 index among its boxes, -1: none.
            counts: boxes of each image.
        """
        if self.positives is not None:
            self.positives.add(matched, counts)

    def joint(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """:func:`joint_loss` with η of this point of the training."""
        return joint_loss(losses, eta=self.eta.at(self.progress))


def localization_losses(model: nn.Module) -> list[LocalizationLoss]:
    """The losses that a detector's modules hold as ``localization_loss``, each once."""
    held = [vars(module).get("localization_loss") for module in model.modules()]
    return list({id(loss): loss for loss in held if isinstance(loss, LocalizationLoss)}.values())


def count_positives(model: nn.Module) -> list[PositiveCounts]:
    """Let a detector's losses count their positives from now on; where they will be."""
    counted = []
    for loss in localization_losses(model):
        loss.positives = PositiveCounts()
        counted.append(loss.positives)
    return counted


def tell_progress(model: nn.Module, iteration: int, max_iter: int) -> None:
    """Tell a detector's losses how far the training is, before each step.

    Args:
        model: the detector, also inside DistributedDataParallel.
        iteration: steps taken, from 0.
        max_iter: steps of the whole training.
    """
    progress = Progress(iteration, max_iter)
    for loss in localization_losses(model):
        loss.progress = progress
