"""The entries of what helps against noisy boxes: ``WEND.<node>.<name>`` (docs/noisy_boxes.md)."""

import math

from wend.config.entries import (
    BELOW_1,
    NOT_NEGATIVE,
    SHARE,
    Entry,
    Range,
    config_entries,
    one_of,
)
from wend.losses.robust import BOOTSTRAP_FORMS

NEGATIVE = Range("finite and < 0", lambda x: -math.inf < x < 0, {"exclusiveMaximum": 0})

# ---- of WEND.CLS_LOSS ----

config_entries(
    "GCE",
    (
        Entry(
            "Q",
            0.7,
            "q of the generalized cross entropy (1 - p_t^q) / q in [0, 1]: 0 is cross entropy, 1 "
            "the mean absolute error, which wrong labels pull at least.",
            SHARE,
        ),
        Entry("FOCAL_ALPHA", 0.25, 'α of the foreground in "focal_gce".', SHARE),
        Entry("FOCAL_GAMMA", 2.0, 'γ of the factor (1 - p_t)^γ in "focal_gce".', NOT_NEGATIVE),
    ),
)
config_entries(
    "BOOTSTRAP",
    (
        Entry(
            "FORM",
            "soft",
            'What stands in for a part of the label: "soft", the predicted probability, or "hard", '
            "the likelier class.",
            one_of(*BOOTSTRAP_FORMS),
        ),
        Entry(
            "BETA",
            0.95,
            "β, the trust in the label; the prediction has 1 - β. The paper: 0.95 soft, 0.8 hard.",
            SHARE,
        ),
    ),
)
config_entries(
    "SCE",
    (
        Entry("ALPHA", 0.1, "α, the weight of cross entropy.", NOT_NEGATIVE),
        Entry("BETA", 1.0, "β, the weight of reverse cross entropy, -A (1 - p_t).", NOT_NEGATIVE),
        Entry("LOG_ZERO", -4.0, "A, which stands for log 0 of a label, < 0.", NEGATIVE),
    ),
)

# ---- of WEND.SAMPLE_WEIGHTS ----

config_entries(
    "DROP_LOSS",
    (
        Entry(
            "IOU",
            0.01,
            "Background whose box overlaps no pseudo box by more than this IoU has no loss.",
            BELOW_1,
        ),
    ),
)
config_entries(
    "IGNORE_REGIONS",
    (
        Entry("MIN_SCORE", 0.5, "Pseudo boxes that score less are uncertain.", SHARE),
        Entry(
            "GROW",
            1.2,
            "An uncertain box is so many times as wide and as high, about its centre; 0: only its "
            "positives are ignored.",
            NOT_NEGATIVE,
        ),
        Entry(
            "OVERLAP",
            0.5,
            "Background is ignored where more than this share of its own box is in such a box.",
            BELOW_1,
        ),
    ),
)


def _drop(words: str, default: float) -> tuple[Entry, ...]:
    """The entries of :func:`wend.losses.selection.selected_share`."""
    return (
        Entry("DROP", default, words, BELOW_1),
        Entry("START", 0.1, "Share of the training before which all are kept.", BELOW_1),
        Entry(
            "RAMP",
            0.2,
            "Share of the training, from START on, in which the end is reached in equal steps.",
            SHARE,
        ),
    )


config_entries(
    "SMALL_LOSS",
    _drop(
        "Share with the largest classification loss that is dropped in the end: images of a "
        'batch, of "small_loss_samples" samples; about the share of wrong boxes.',
        0.3,
    ),
)

# ---- of WEND.IMAGE_WEIGHTS ----

config_entries(
    "TEACHER_AGREEMENT",
    (
        Entry(
            "IOU",
            0.5,
            "The teacher agrees where its best box has this IoU with a pseudo box, or more.",
            SHARE,
        ),
        *_drop(
            "Share of a batch's images, those that agree least, which are down-weighted in the "
            "end instead of those below IOU; 0: IOU decides.",
            0.0,
        ),
        Entry("FLOOR", 0.0, "Weight of an image that the teacher disagrees with.", SHARE),
    ),
)
config_entries(
    "BOX_SCORE",
    (
        Entry(
            "EXPONENT", 1.0, "e of an image's weight s^e, s its boxes' mean score.", NOT_NEGATIVE
        ),
        Entry("FLOOR", 0.0, "The least weight of an image.", SHARE),
    ),
)
