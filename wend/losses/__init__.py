"""The paper's losses as pure functions of foreground log-odds, and how a detector uses them.

``entropies`` has the equations, ``readings`` L_unsup by name, ``context`` what such a function sees
of a batch. L_sup is changed by a loss of each sample (``classification``) and by weights of samples
and images (``weights``). A detector holds one :class:`LocalizationLoss` (``localization``), which
weights its terms by eq. (4) (``joint``); ``force`` and ``positives`` measure and count, and
``training`` is the trainer's side. Each detector turns its own output into log-odds, so nothing
here knows a detector. ``docs/extend.md`` says how to add a loss or a weight.

What helps against noisy boxes is registered here: losses of samples (``robust``), weights of
samples (``drop_loss``, ``ignore_regions``, ``small_loss``) and of images (``box_score``,
``teacher_agreement``).
"""

from wend.losses import (  # noqa: F401  (they register their functions)
    box_score,
    drop_loss,
    ignore_regions,
    robust,
    small_loss,
    teacher_agreement,
)
from wend.losses.areas import check_areas
from wend.losses.classification import CLASSIFICATION_LOSSES, OWN_LOSS, classification_loss
from wend.losses.context import ImagesContext, LossContext, image_indices
from wend.losses.entropies import (
    FORMS,
    REDUCTIONS,
    WEIGHT_GRADIENTS,
    check_weighted_entropy,
    entropy_loss,
    weighted_entropy_loss,
)
from wend.losses.force import FORCE_EVERY, UnsupervisedForce
from wend.losses.joint import UNSUPERVISED_PREFIX, joint_loss, times, weighted
from wend.losses.localization import CLS, OF_IMAGES, OF_SAMPLES, LocalizationLoss
from wend.losses.positives import PositiveCounts
from wend.losses.process_counts import counts_per_process, share_of_mean
from wend.losses.readings import (
    LOSSES,
    NO_LOSS,
    NORMALIZERS,
    SAMPLES,
    average_over,
    entropy,
    no_loss,
    unsupervised_loss,
    weighted_entropy,
)
from wend.losses.training import (
    ForceLog,
    check_weights,
    count_positives,
    localization_losses,
    tell_progress,
)
from wend.losses.weights import (
    IMAGE_WEIGHTS,
    SAMPLE_WEIGHTS,
    WeighedOutputs,
    image_weights,
    sample_weights,
    scale_gradient,
)

__all__ = [
    "CLASSIFICATION_LOSSES",
    "CLS",
    "FORCE_EVERY",
    "FORMS",
    "IMAGE_WEIGHTS",
    "LOSSES",
    "NORMALIZERS",
    "NO_LOSS",
    "OF_IMAGES",
    "OF_SAMPLES",
    "OWN_LOSS",
    "REDUCTIONS",
    "SAMPLES",
    "SAMPLE_WEIGHTS",
    "UNSUPERVISED_PREFIX",
    "WEIGHT_GRADIENTS",
    "ForceLog",
    "ImagesContext",
    "LocalizationLoss",
    "LossContext",
    "PositiveCounts",
    "UnsupervisedForce",
    "WeighedOutputs",
    "average_over",
    "check_areas",
    "check_weights",
    "check_weighted_entropy",
    "classification_loss",
    "count_positives",
    "counts_per_process",
    "entropy",
    "entropy_loss",
    "image_indices",
    "image_weights",
    "joint_loss",
    "localization_losses",
    "no_loss",
    "sample_weights",
    "scale_gradient",
    "share_of_mean",
    "tell_progress",
    "times",
    "unsupervised_loss",
    "weighted",
    "weighted_entropy",
    "weighted_entropy_loss",
]
