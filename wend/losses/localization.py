"""The loss that a detector holds: L_unsup, L_cls, weights, η and f as chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from wend.errors import InputError
from wend.losses.chosen import Chosen, choose
from wend.losses.classification import CLASSIFICATION_LOSSES, OWN_LOSS
from wend.losses.context import ImagesContext, LossContext
from wend.losses.entropies import upcast
from wend.losses.force import FORCE_EVERY, UnsupervisedForce
from wend.losses.joint import UNSUPERVISED_PREFIX, joint_loss, times
from wend.losses.positives import PositiveCounts, PositiveShare
from wend.losses.process_counts import counts_per_process, micro_batch, parts_of_step
from wend.losses.readings import LOSSES, NO_LOSS
from wend.losses.weights import IMAGE_WEIGHTS, SAMPLE_WEIGHTS, GivenWeights, scale_gradient
from wend.schedules import Progress, Scheduled

CLS, OF_SAMPLES, OF_IMAGES = "WEND.CLS_LOSS", "WEND.SAMPLE_WEIGHTS", "WEND.IMAGE_WEIGHTS"


class LocalizationLoss:
    """The loss that a detector adds to its own, and what changes in its own: eqs. (1) to (4).

    The one holder of η and f, of the weights of samples and images, and of the L_cls that is chosen
    instead of the detector's own. A detector says which images come (:meth:`start_batch`), makes a
    :meth:`context` of its samples, asks for :meth:`weights` and :meth:`classification`, adds
    :meth:`unsupervised_of`, and hands all its terms to :meth:`joint`; the trainer says how far the
    training is (:func:`wend.losses.training.tell_progress`).

    Attributes:
        asked: which of WEND.CLS_LOSS, SAMPLE_WEIGHTS and IMAGE_WEIGHTS the detector has to obey,
            with the names that were chosen.
        images: the images of the batch.
        positives: counts the positives of each batch; None, where nobody asks for it.
        positive_share: counts the samples that are positive.
        images_share: images of the batch over the mean of the processes': 1 where each has as many.

    Args:
        name: name of a registered L_unsup, ``module:name`` or ``./file.py:name``. It is called
            once at the start, on no samples: a batch may have none. So are ``cls_loss`` and
            ``sample_weights``.
        eta: η of eq. (4), >= 0, constant or scheduled. It multiplies L_sup also where L_unsup is
            "none".
        factor: f, the factor on L_unsup, >= 0, constant or scheduled; see
            :func:`wend.losses.joint.joint_loss`.
        parameters: keyword-only parameters of the L_unsup; see
            :func:`wend.losses.readings.weighted_entropy`.
        cls_loss: name of a registered L_cls, given as ``name`` is; "own" is the detector's.
        cls_parameters: its keyword-only parameters.
        sample_weights, image_weights: for each registered weight that is multiplied, given as
            ``name`` is, its keyword-only parameters.

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
        cls_loss: str = OWN_LOSS,
        cls_parameters: Mapping[str, Any] | None = None,
        sample_weights: Mapping[str, Mapping[str, Any]] | None = None,
        image_weights: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.name = name
        self.eta = eta if isinstance(eta, Scheduled) else Scheduled(eta)
        self.factor = factor if isinstance(factor, Scheduled) else Scheduled(factor)
        self.parameters = dict(parameters or {})
        self.function = LOSSES.get(name)
        self.progress = Progress()
        self.force: UnsupervisedForce | None = None
        self.positives: PositiveCounts | None = None
        self.positive_share = PositiveShare()
        self.images = ImagesContext()
        self._image_weights: Tensor | None = None
        self._given = GivenWeights()
        self._obeyed: set[str] = set()
        self._box_index: Tensor | None = None
        self._num_boxes: Tensor | float | None = None
        self.images_share: Tensor | float = 1.0
        with torch.device("cpu"):  # a detector may be built where tensors have no memory
            empty = torch.zeros(0, dtype=torch.int64)
            trial = self.context(
                torch.zeros(0, requires_grad=True),
                labels=empty,
                image_index=empty,
                num_positives=1.0,
                num_boxes=1.0,
                num_samples=1.0,
                sample_boxes=torch.zeros(0, 4),
                box_index=empty,
            ).changed(is_trial=True)
            with LOSSES.trial(name, self.parameters):
                self.unsupervised_of(trial)
            self._cls: Chosen | None = None
            if cls_loss != OWN_LOSS:
                parameters = cls_parameters or {}
                self._cls = choose(CLS, CLASSIFICATION_LOSSES, cls_loss, parameters, trial)
            self._of_samples = [
                choose(OF_SAMPLES, SAMPLE_WEIGHTS, *each, trial)
                for each in (sample_weights or {}).items()
            ]
        # there is no batch without images to try these on
        self._of_images = [
            choose(OF_IMAGES, IMAGE_WEIGHTS, *each) for each in (image_weights or {}).items()
        ]
        self.asked = {
            entry: ", ".join(each.name for each in chosen)
            for entry, chosen in (
                (CLS, [] if self._cls is None else [self._cls]),
                (OF_SAMPLES, self._of_samples),
                (OF_IMAGES, self._of_images),
            )
            if chosen
        }

    @property
    def is_none(self) -> bool:
        """Whether there is no L_unsup: it asks for no samples."""
        return self.name == NO_LOSS

    @property
    def asks_for_samples(self) -> str:
        """The entry, with its value, that needs foreground log-odds of samples; empty for none."""
        if not self.is_none:
            return f"WEND.LOSS {self.name}"
        entries = (entry for entry in (CLS, OF_SAMPLES) if entry in self.asked)
        return next((f"{entry} {self.asked[entry]}" for entry in entries), "")

    def start_batch(self, images: ImagesContext | None = None) -> None:
        """Say which images the next samples come from.

        Raises:
            InputError: a weight of images fails, or is no number for each.
        """
        images = ImagesContext() if images is None else images
        self.images = replace(images, progress=self.progress)
        self._num_boxes, self.images_share = self._of_all_processes(self.images)
        self._obeyed.clear()
        self._given.clear()
        self._box_index = None
        self._image_weights = self._given.product(
            self._of_images, self.images, len(images), images.device
        )
        is_due = torch.is_grad_enabled() and self.progress.iteration % FORCE_EVERY == 0
        if micro_batch() == 0:  # the force of a step is that of all its micro-batches
            self.force = UnsupervisedForce() if is_due else None

    @staticmethod
    def _of_all_processes(images: ImagesContext) -> tuple[Tensor | float | None, Tensor | float]:
        """Boxes of a batch, and its images over those of the step's other parts."""
        if not len(images):
            return None, 1.0
        if parts_of_step() == 1:
            return max(images.num_boxes, 1), 1.0
        counted = counts_per_process(images.num_boxes, len(images), device=images.device)
        return counted[0], len(images) / counted[1]

    def context(
        self,
        logits: Tensor,
        *,
        labels: Tensor | None = None,
        image_index: Tensor | None = None,
        num_positives: Tensor | float | None = None,
        num_boxes: Tensor | float | None = None,
        num_samples: Tensor | float | None = None,
        sample_boxes: Tensor | Callable[[], Tensor] | None = None,
        box_index: Tensor | None = None,
    ) -> LossContext:
        """The context of a batch's samples; all processes make as many.

        Args:
            logits: foreground log-odds, any shape; of more than one dimension, the first is images.
            labels: labels of the same shape; see :class:`wend.losses.context.LossContext`.
            image_index: (S,); needed where ``logits`` have one dimension and the loss, or a weight
                of images, asks for it.
            num_positives: given where it is not the number of labels that are 1.
            num_boxes: given where it is not the number of those that :meth:`start_batch` received.
            num_samples: given where it is not the number of samples. All three are means over the
                processes (:mod:`wend.losses.process_counts`).
            sample_boxes: (S, 4), or a function that returns them.
            box_index: of the same shape as ``logits``; by default what :meth:`count_positives` got.
        """
        of_each: Tensor | Callable[[], Tensor] | None = image_index
        if image_index is None and logits.dim() > 1:
            of_each = partial(_image_of_each, tuple(logits.shape), logits.device)
        context = LossContext(
            logits.flatten(),
            None if labels is None else labels.flatten(),
            of_each,
            self.images.image_ids,
            num_positives,
            self._num_boxes if num_boxes is None else num_boxes,
            self.progress,
            sample_boxes,
            self.images,
            self._box_index if box_index is None else box_index.flatten(),
            num_samples,
        )
        if num_samples is None or num_positives is None:
            return self._counted(context)
        return context

    @staticmethod
    def _counted(context: LossContext) -> LossContext:
        """The context with the numbers of its samples and of its positives, where it lacks them."""
        number = len(context.logits)
        positives = None if context.labels is None else context.label_counts[0]
        own: dict[str, Any] = {}
        if parts_of_step() == 1:  # and no other part waits to be asked
            own["num_samples"] = max(number, 1)
            if positives is not None:
                own["num_positives"] = lambda: positives.clamp(min=1).float()
        else:
            asked = (number, 0 if positives is None else positives)
            counted = counts_per_process(*asked, device=context.logits.device)
            own["num_samples"] = counted[0]
            if positives is not None:
                own["num_positives"] = counted[1]
        return context.changed(**{n: v for n, v in own.items() if getattr(context, n) is None})

    def weights(self, context: LossContext) -> Tensor | None:
        """The weight (S,) of each sample's terms of L_sup, its image's included; None: all are 1.

        For :func:`wend.losses.weights.scale_gradient`.

        Raises:
            InputError: a weight fails, or is no number for each sample.
            ValueError: images have weights, and the context does not say whose samples these are.
        """
        self._obeyed |= {OF_SAMPLES, OF_IMAGES}
        device = context.logits.device
        weights = self._given.product(self._of_samples, context, len(context.logits), device)
        if self._image_weights is None:
            return weights
        if context.image_index is None:
            raise ValueError("image_index: weights of images need the image of each sample")
        by_image = self._image_weights.to(device)[context.image_index]
        return by_image if weights is None else weights * by_image

    def weigh_images(self, predictions: Tensor) -> Tensor:
        """The same predictions (N, ...), whose gradient is multiplied by the weights of images."""
        self._obeyed.add(OF_IMAGES)
        if self._image_weights is None:
            return predictions
        return scale_gradient(predictions, self._image_weights.to(predictions.device))

    def classification(
        self, own: Tensor, context: LossContext, weights: Tensor | None, scale: Tensor | float
    ) -> Tensor:
        """L_cls: the detector's own, or the chosen one's sum over the samples that are not ignored.

        Args:
            own: the detector's own, which is made of weighted predictions.
            context: the samples.
            weights: :meth:`weights` of the samples.
            scale: what the sum is multiplied by: the detector's own weight over its own normalizer.

        Raises:
            InputError: the chosen one fails, or returns no loss for each sample.
        """
        self._obeyed.add(CLS)
        if self._cls is None:
            return own
        logits = scale_gradient(upcast(context.logits), weights)
        losses = self._cls(context.changed(logits=logits), len(logits))
        if logits.requires_grad and len(logits) and not losses.requires_grad:
            raise self._cls.error("losses with a gradient, made of context.logits", "one without")
        if context.labels is not None:
            losses = losses.masked_fill(context.labels < 0, 0.0)
        return times(scale, losses.sum())

    def unsupervised_of(
        self,
        context: LossContext,
        *,
        supervised: Tensor | None = None,
        shared: Sequence[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """L_unsup as a loss term; no term for "none".

        Args:
            context: the samples.
            supervised: the L_cls of these samples, to be compared with every
                :data:`wend.losses.force.FORCE_EVERY` steps.
            shared: the tensors that L_cls and the log-odds are both made of, by default the latter.

        Raises:
            InputError: the function returns no scalar.
        """
        if context.labels is not None:
            self.positive_share.add(context.label_counts)
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
            logits = context.logits
            self.force.add(value, supervised, logits, [logits] if shared is None else shared)
        return {UNSUPERVISED_PREFIX: value}

    def unsupervised(
        self,
        logits: Tensor,
        *,
        supervised: Tensor | None = None,
        shared: Sequence[Tensor] | None = None,
        **samples: Any,
    ) -> dict[str, Tensor]:
        """:meth:`unsupervised_of` the :meth:`context` of these log-odds.

        Args:
            logits, samples: arguments of :meth:`context`.
            supervised: see :meth:`unsupervised_of`.
            shared: by default ``logits``.
        """
        shared = [logits] if shared is None else shared
        context = self.context(logits, **samples)
        return self.unsupervised_of(context, supervised=supervised, shared=shared)

    def measured(self) -> dict[str, float]:
        """:meth:`UnsupervisedForce.scalars` of the last step, if it was one that is measured."""
        if self.force is None:
            return {}
        eta, factor = self.eta.at(self.progress), self.factor.at(self.progress)
        return self.force.scalars(eta, factor)

    def count_positives(self, matched: Tensor) -> None:
        """Say which pseudo box each sample of a batch is a positive of, once for each batch.

        The samples are in the order of the log-odds that :meth:`context` gets afterwards.

        Args:
            matched: (N, samples of an image) int64 index among the boxes of its image, as
                :meth:`start_batch` got them, -1: none.

        Raises:
            ValueError: these are other images than those of :meth:`start_batch`.
        """
        self._box_index = matched.flatten()
        if self.positives is None:
            return
        if len(matched) != len(self.images.boxes):
            raise ValueError(
                f"matched: expected the samples of the {len(self.images.boxes)} images of "
                f"start_batch, got those of {len(matched)}"
            )
        is_box = self.images.padded.is_box
        self.positives.add(matched.flatten(1), is_box, self.images.num_boxes)

    def joint(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """:func:`wend.losses.joint.joint_loss` with η and f of this point of the training.

        Where a weight was no finite number >= 0, a term is NaN; :meth:`check_weights` tells why.

        Raises:
            InputError: the detector has not obeyed an entry of :attr:`asked` in this batch.
        """
        for entry, names in self.asked.items():
            if entry not in self._obeyed:
                raise InputError(
                    f"config entry {entry}: the detector makes no use of {names}; leave it out, or "
                    f"let the detector ask its localization_loss for it (docs/extend.md)"
                )
        eta, factor = self.eta.at(self.progress), self.factor.at(self.progress)
        terms = joint_loss(losses, eta=eta, factor=factor)
        doubt = self._given.doubt()
        if doubt is not None and terms:
            first = next(iter(terms))
            terms[first] = terms[first] + doubt
        return terms

    def check_weights(self) -> None:
        """Look at the weights of the batch's samples and images; waits for the device.

        Raises:
            InputError: one is no finite number >= 0.
        """
        self._given.check()


def _image_of_each(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """The image (S,) of each of so many samples (N, ...)."""
    images = torch.arange(shape[0], device=device)
    return images.view(-1, *[1] * (len(shape) - 1)).expand(shape).flatten()
