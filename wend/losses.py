"""The paper's losses as pure functions of foreground log-odds, and how a detector uses them.

``z`` is a foreground log-odds ("logit"), ``p = sigmoid(z)`` the probability of foreground. Each
detector turns its own output into log-odds and calls the same function, so nothing here knows a
detector. Equation numbers are those of Xu et al., MM '23 (doi 10.1145/3581783.3611959).

L_unsup is a registered function of a :class:`LossContext` (``WEND.LOSS`` names it), η may follow a
schedule (:mod:`wend.schedules`); ``docs/extend.md`` says how to add one.

Shape letters: S = samples (locations, sampled proposals or queries) of all images of a batch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wend.errors import InputError
from wend.registry import FunctionRegistry
from wend.schedules import Progress, Scheduled

logger = logging.getLogger(__name__)
REDUCTIONS = ("none", "mean", "sum")
FORMS = ("entropy", "terms", "chosen", "swapped", "confidence")  # of weighted_entropy_loss
WEIGHT_GRADIENTS = ("flow", "detach")
NORMALIZERS = ("samples", "positives", "boxes")  # of average_over
SAMPLES = ("all", "unassigned", "ignored")
UNSUPERVISED_PREFIX = "loss_unsup"  # names of the terms of L_unsup begin so; all others are L_sup
FORCE_EVERY = 20  # steps between two comparisons of L_unsup's gradient with L_cls's
HALF_SCALE = 4096.0  # of the gradients that are compared: those of half precision would round to 0
INERT = 0.01  # a smaller ratio of f · L_unsup's gradient to η · L_cls's moves nothing
NO_LOSS = "none"  # L_unsup = 0, also for detectors that have no samples


def _reduce(loss: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    if reduction == "mean":  # on no samples: 0, connected to the graph
        return loss.sum() / max(loss.numel(), 1)
    raise ValueError(f"reduction must be one of {REDUCTIONS}, got {reduction!r}")


def _entropy_terms(logits: Tensor) -> tuple[Tensor, Tensor]:
    """-p log p and -(1-p) log(1-p) in nats, without log(0) or the cancellation of 1 - p."""
    p, one_minus_p = logits.sigmoid(), (-logits).sigmoid()
    return -p * F.logsigmoid(logits), -one_minus_p * F.logsigmoid(-logits)


def _binary_entropy(logits: Tensor) -> Tensor:
    """H(p) = -p log p - (1-p) log(1-p) in nats."""
    foreground, background = _entropy_terms(logits)
    return foreground + background


def _check_choice(name: str, value: object, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


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
    _check_choice("form", form, FORMS)
    _check_choice("weight_gradient", weight_gradient, WEIGHT_GRADIENTS)
    logits = _upcast(logits)
    p = logits.detach().sigmoid()
    looks_foreground, looks_background = p >= tau1, p < tau2
    # (1-p)^γ = exp(γ log(1-p)): its gradient stays finite for every γ, also where 1-p rounds to 0
    foreground = torch.exp(gamma * F.logsigmoid(-logits))
    background = torch.exp(gamma * F.logsigmoid(logits))
    if form == "confidence":
        foreground = background = torch.where(p >= 0.5, foreground, background)
    else:
        foreground, background = alpha * foreground, (1 - alpha) * background
    if form == "swapped":
        foreground, background = background, foreground
    if weight_gradient == "detach":
        foreground, background = foreground.detach(), background.detach()
    h1, h0 = _entropy_terms(logits)
    if form == "terms":
        of_foreground = of_background = foreground * h1 + background * h0
    elif form == "chosen":
        of_foreground, of_background = foreground * h1, background * h0
    else:
        of_foreground, of_background = foreground * (h1 + h0), background * (h1 + h0)
    left_out = 0.0 * h1  # NaN where the logits are
    losses = torch.where(
        looks_foreground, of_foreground, torch.where(looks_background, of_background, left_out)
    )
    return _reduce(losses, reduction)


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
        name: (factor if name.startswith(UNSUPERVISED_PREFIX) else eta) * value
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
        index = torch.cat([each.flatten() for each in matched])
        starts = torch.tensor([0, *counts]).cumsum(0)[:-1]  # of each image's boxes in the batch
        sizes = torch.tensor([each.numel() for each in matched])
        index = torch.where(
            index < 0, 0, index + 1 + starts.repeat_interleave(sizes).to(index.device)
        )
        per_box = index.new_zeros(sum(counts) + 1).index_add_(0, index, torch.ones_like(index))[1:]
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


def average_over(
    losses: Tensor, context: LossContext, *, normalizer: str = "samples", samples: str = "all"
) -> Tensor:
    """The 1/N Σ of eq. (2) in its readings.

    Args:
        losses: (S,) loss of each sample.
        context: the samples.
        normalizer: N is the number of "samples" that are summed (the literal reading); of
            "positives" as the detector's own L_cls counts them, by which focal losses are divided;
            or of pseudo "boxes".
        samples: "all"; "unassigned", those that no pseudo box was assigned to (background and
            ignored); or "ignored" alone.

    Returns:
        A scalar; 0 with a gradient where no sample is summed.

    Raises:
        ValueError: an unknown name.
        InputError: the detector does not say what is needed.
    """
    _check_choice("normalizer", normalizer, NORMALIZERS)
    _check_choice("samples", samples, SAMPLES)
    number: Tensor | float | None = max(losses.numel(), 1)
    if samples != "all":
        if context.labels is None:
            raise InputError(f"samples {samples!r} need labels, and the detector assigns none")
        summed = context.labels != 1 if samples == "unassigned" else context.labels < 0
        losses = torch.where(summed, losses, torch.zeros_like(losses))
        number = summed.sum().clamp(min=1)
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
        supervised = eta * float(self.supervised)
        if not supervised or not self.samples:
            return {}
        return {
            "unsup_to_cls": factor * float(self.unsupervised) / supervised,
            "unsup_touched": float(self.touched) / self.samples,
        }


def _scaled_gradients(loss: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    scale = torch.full_like(loss, HALF_SCALE)
    return torch.autograd.grad(loss, tensors, scale, retain_graph=True, allow_unused=True)


def _sum_of_absolutes(scaled: Iterable[Tensor | None]) -> Tensor | float:
    return sum((each.float().abs().sum() for each in scaled if each is not None), 0.0) / HALF_SCALE


class LocalizationLoss:
    """The loss that a detector adds to its own, and their weights: eqs. (2) to (4) as chosen.

    The one holder of η and f. A detector says which images come (:meth:`start_batch`), hands its
    samples to :meth:`unsupervised`, and all its terms to :meth:`joint`; the trainer says how far
    the training is (:func:`tell_progress`).

    Attributes:
        positives: counts the positives of each batch; None, where nobody asks for it.

    Args:
        name: name of a registered L_unsup, ``module:name`` or ``./file.py:name``. It is called
            once at the start, on no samples: a batch may have none.
        eta: η of eq. (4), >= 0, constant or scheduled. It multiplies L_sup also where L_unsup is
            "none".
        factor: f, the factor on L_unsup, >= 0, constant or scheduled; see :func:`joint_loss`.
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
        *,
        factor: float | Scheduled = 1.0,
    ) -> None:
        self.name = name
        self.eta = eta if isinstance(eta, Scheduled) else Scheduled(eta)
        self.factor = factor if isinstance(factor, Scheduled) else Scheduled(factor)
        self.parameters = dict(parameters or {})
        self.function = LOSSES.get(name)
        self.progress = Progress()
        self.force: UnsupervisedForce | None = None
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
        is_due = torch.is_grad_enabled() and self.progress.iteration % FORCE_EVERY == 0
        self.force = UnsupervisedForce() if is_due else None

    def unsupervised(
        self,
        logits: Tensor,
        *,
        labels: Tensor | None = None,
        image_index: Tensor | None = None,
        num_positives: Tensor | float | None = None,
        num_boxes: Tensor | float | None = None,
        supervised: Tensor | None = None,
        shared: Sequence[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """L_unsup as a loss term; no term for "none".

        Args:
            logits: foreground log-odds, any shape; of more than one dimension, the first is images.
            labels: labels of the same shape; see :class:`LossContext`.
            image_index: (S,); needed where ``logits`` have one dimension and the loss asks for it.
            num_positives: given where it is not the number of labels that are 1.
            num_boxes: given where it is not the number that :meth:`start_batch` received.
            supervised: the detector's own L_cls of these samples, to be compared with every
                :data:`FORCE_EVERY` steps.
            shared: the tensors that L_cls and ``logits`` are both made of, by default ``logits``.

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
        if self.force is not None and supervised is not None and value.requires_grad:
            self.force.add(value, supervised, logits, [logits] if shared is None else shared)
        return {UNSUPERVISED_PREFIX: value}

    def measured(self) -> dict[str, float]:
        """:meth:`UnsupervisedForce.scalars` of the last step, if it was one that is measured."""
        if self.force is None:
            return {}
        eta, factor = self.eta.at(self.progress), self.factor.at(self.progress)
        return self.force.scalars(eta, factor)

    def count_positives(self, matched: Sequence[Tensor], counts: Sequence[int]) -> None:
        """Say which pseudo box each sample of a batch is a positive of, once for each batch.

        Args:
            matched: for each image (S of the image,) int64 index among its boxes, -1: none.
            counts: boxes of each image.
        """
        if self.positives is not None:
            self.positives.add(matched, counts)

    def joint(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """:func:`joint_loss` with η and f of this point of the training."""
        eta, factor = self.eta.at(self.progress), self.factor.at(self.progress)
        return joint_loss(losses, eta=eta, factor=factor)


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


class ForceLog:
    """The force of a detector's L_unsup for the log; says once where the loss is inert.

    Args:
        model: the detector.
        steps: steps of an epoch.
    """

    def __init__(self, model: nn.Module, steps: int) -> None:
        self.losses = localization_losses(model)
        self.steps = max(steps, FORCE_EVERY)
        self._ratios: list[float] = []
        self._step = 0
        self._is_said = False

    def after_step(self) -> dict[str, float]:
        """The scalars of the step that was taken; empty where it was not measured."""
        values = {key: value for loss in self.losses for key, value in loss.measured().items()}
        self._step += 1
        if not self._is_said and "unsup_to_cls" in values:
            self._ratios.append(values["unsup_to_cls"])
        if self._step % self.steps == 0 and self._ratios:
            mean = sum(self._ratios) / len(self._ratios)
            self._ratios.clear()
            if mean < INERT:
                self._is_said = True
                logger.warning(
                    "L_unsup is inert: over an epoch its gradient at the log-odds was %.2g %% of "
                    "η · L_cls's. WEND.WE.NORMALIZER positives or boxes, or a larger "
                    "WEND.UNSUP_FACTOR, gives it force; WEND.LOSS none leaves it out",
                    100 * mean,
                )
        return values


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
