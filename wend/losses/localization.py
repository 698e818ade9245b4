"""The loss that a detector holds: L_unsup, η and f as chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from wend.errors import InputError
from wend.losses.context import LossContext
from wend.losses.force import FORCE_EVERY, UnsupervisedForce
from wend.losses.joint import UNSUPERVISED_PREFIX, joint_loss
from wend.losses.positives import PositiveCounts
from wend.losses.readings import LOSSES, NO_LOSS
from wend.schedules import Progress, Scheduled


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
