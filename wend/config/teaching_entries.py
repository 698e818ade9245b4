"""The entries ``WEND.EMA.*`` and ``WEND.TEACHER.*``: the average of the weights as a teacher."""

from wend.config.entries import BELOW_1, CLOSER, NOT_NEGATIVE, SHARE, Entry, config_entries

EMA = (
    Entry(
        "DECAY",
        0.0,
        "d, how much of the exponential moving average of the weights stays in each step, [0, 1); "
        "0: there is no average.",
        BELOW_1,
    ),
    Entry(
        "WARM_UP",
        0.75,
        "Power p of the warm-up: after t steps d is at most 1 - (1 + t)^-p. 1 is Mean Teacher's, "
        "the plain mean; 3/4 timm's for short trainings; 0: none.",
        NOT_NEGATIVE,
    ),
    Entry(
        "EVALUATE",
        True,
        "Whether the average is evaluated and saved as the model, in every checkpoint. False: the "
        "weights are, and the average only teaches.",
    ),
)

TEACHER = (
    Entry(
        "ENABLED",
        False,
        "Whether the average predicts the boxes of each batch also where WEND.REFINE is none, for "
        "weights of images such as teacher_agreement.",
    ),
    Entry("START", 0.3, "Share of the training from which on it does, [0, 1].", SHARE),
    Entry(
        "FLIP",
        False,
        "Whether it also predicts each crop mirrored, as INPUT.RANDOM_FLIP does, and takes the "
        "mean of both; with CLOSER_LOOK that is the mirrored one.",
    ),
    Entry(
        "CLOSER_LOOK",
        0.0,
        "f: its best box is predicted once more on the part of the crop f times as wide and as "
        "high around it, enlarged, and is the mean of both; 0: no second look.",
        CLOSER,
    ),
    Entry("MIN_SCORE", 0.0, "Its boxes that score less refine nothing, [0, 1].", SHARE),
    Entry(
        "SCORE_QUANTILE",
        0.0,
        "q: its boxes that score less than the share q of the best boxes of the batch's images "
        "refine nothing, [0, 1).",
        BELOW_1,
    ),
    Entry("IOU", 0.5, "Least IoU of a given box and the teacher's that it is moved to.", SHARE),
    Entry("WEIGHT", 0.5, "Weight of the teacher's box in WEND.REFINE average, [0, 1].", SHARE),
    Entry(
        "WEIGHT_SCHEDULE",
        "constant",
        "How the weight goes from WEIGHT to WEIGHT_END in the whole training, as ETA_SCHEDULE.",
    ),
    Entry(
        "WEIGHT_END",
        1.0,
        "The weight at the end of the training; unused where constant, [0, 1].",
        SHARE,
    ),
    Entry("GAMMA", 1.0, "γ of WEND.REFINE soft, whose weight is min(score^γ, MOST).", NOT_NEGATIVE),
    Entry("MOST", 0.85, "The largest weight of WEND.REFINE soft, [0, 1].", SHARE),
)

config_entries("EMA", EMA)
config_entries("TEACHER", TEACHER)
