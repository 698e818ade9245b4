"""The paper's losses as pure functions of foreground log-odds, and how a detector uses them.

``entropies`` has the equations, ``readings`` L_unsup by name, ``context`` what such a function sees
of a batch. A detector holds one :class:`LocalizationLoss` (``localization``), which weights its
terms by eq. (4) (``joint``); ``force`` and ``positives`` measure and count, and ``training`` is the
trainer's side. Each detector turns its own output into log-odds, so nothing here knows a detector.
``docs/extend.md`` says how to add a loss.
"""

from wend.losses.context import LossContext, image_indices
from wend.losses.entropies import (
    FORMS,
    REDUCTIONS,
    WEIGHT_GRADIENTS,
    check_weighted_entropy,
    entropy_loss,
    weighted_entropy_loss,
)
from wend.losses.force import FORCE_EVERY, UnsupervisedForce
from wend.losses.joint import UNSUPERVISED_PREFIX, joint_loss
from wend.losses.localization import LocalizationLoss
from wend.losses.positives import PositiveCounts
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
from wend.losses.training import ForceLog, count_positives, localization_losses, tell_progress

__all__ = [
    "FORCE_EVERY",
    "FORMS",
    "LOSSES",
    "NORMALIZERS",
    "NO_LOSS",
    "REDUCTIONS",
    "SAMPLES",
    "UNSUPERVISED_PREFIX",
    "WEIGHT_GRADIENTS",
    "ForceLog",
    "LocalizationLoss",
    "LossContext",
    "PositiveCounts",
    "UnsupervisedForce",
    "average_over",
    "check_weighted_entropy",
    "count_positives",
    "entropy",
    "entropy_loss",
    "image_indices",
    "joint_loss",
    "localization_losses",
    "no_loss",
    "tell_progress",
    "unsupervised_loss",
    "weighted_entropy",
    "weighted_entropy_loss",
]
