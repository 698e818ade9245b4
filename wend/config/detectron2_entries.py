"""Detectron2's own entries that matter to WEND's detectors: meanings, and ranges that are checked.

Their defaults are Detectron2's (``wend.tv.config`` has the same); what is not here is explained by
Detectron2's ``config/defaults.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

from wend.config.entries import (
    BELOW_1,
    NOT_NEGATIVE,
    POSITIVE,
    UP_TO_1,
    Entry,
    Range,
    Table,
    at_least,
    one_of,
)


def _sampling(share: float, batch: int, thresholds: Sequence[float]) -> Table:
    """The entries of a detector's sampled stage, with its defaults."""
    return (
        Entry(
            "POSITIVE_FRACTION",
            share,
            "Largest share of positive samples (of an R-CNN: WEND.RCNN.RATIO); 1:1 is 0.5, 1:4 is "
            "0.2 (table 12).",
            UP_TO_1,
        ),
        Entry("BATCH_SIZE_PER_IMAGE", batch, "Samples per image.", at_least(1)),
        Entry(
            "IOU_THRESHOLDS",
            thresholds,
            "IoU below which a sample is background and from which it is foreground.",
            Range(
                "increasing numbers in (0, 1)",
                lambda x: len(x) > 0 and sorted(x) == list(x) and 0 < x[0] and x[-1] < 1,
                {
                    "minItems": 1,
                    "items": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
                },
            ),
        ),
    )


PROPOSALS = (
    *(
        Entry(f"{when}_NMS_TOPK_{phase}", default, "Proposals kept.", at_least(1))
        for when, phase, default in (
            ("PRE", "TRAIN", 12000),
            ("PRE", "TEST", 6000),
            ("POST", "TRAIN", 2000),
            ("POST", "TEST", 1000),
        )
    ),
    Entry("NMS_THRESH", 0.7, "IoU over which the lower-scoring proposal is suppressed.", UP_TO_1),
)

BOXES = (
    Entry("SCORE_THRESH_TEST", 0.05, "Boxes that score less are not predicted.", BELOW_1),
    Entry("NMS_THRESH_TEST", 0.5, "IoU over which the lower-scoring box is suppressed.", UP_TO_1),
)

RPN_WEIGHTS = (
    Entry("LOSS_WEIGHT", 1.0, "Weight of both losses of the RPN.", NOT_NEGATIVE),
    Entry(
        "BBOX_REG_LOSS_WEIGHT",
        1.0,
        "Weight of the RPN's box loss, besides LOSS_WEIGHT.",
        NOT_NEGATIVE,
    ),
)

BOX_HEAD = (
    Entry("POOLER_RESOLUTION", 14, "Cells of a pooled proposal's side.", at_least(1)),
    Entry("FC_DIM", 1024, "Outputs of the fully connected layers.", at_least(1)),
    Entry(
        "BBOX_REG_LOSS_WEIGHT",
        1.0,
        "λ2 of eq. (1) of an R-CNN, weight of its box loss; its λ1 is 1.",
        NOT_NEGATIVE,
    ),
)

ANCHOR_NUMBERS = Range(
    "lists of numbers > 0, none of them empty",
    lambda x: (
        len(x) > 0
        and all(
            len(item) > 0 and min(item) > 0 if isinstance(item, (list, tuple)) else item > 0
            for item in x
        )
    ),
    {
        "minItems": 1,
        "items": {
            "oneOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {
                    "type": "array",
                    "minItems": 1,
                    "items": {"type": "number", "exclusiveMinimum": 0},
                },
            ]
        },
    },
)
ANCHORS = (
    Entry(
        "SIZES",
        [[32, 64, 128, 256, 512]],
        "Sides in pixels, a list per feature map.",
        ANCHOR_NUMBERS,
    ),
    Entry(
        "ASPECT_RATIOS",
        [[0.5, 1.0, 2.0]],
        "Height / width, likewise.",
        ANCHOR_NUMBERS,
    ),
)

_THREE_OR_NONE = {"oneOf": [{"maxItems": 0}, {"minItems": 3, "maxItems": 3}]}
MODEL = (
    Entry(
        "META_ARCHITECTURE",
        "GeneralizedRCNN",
        "The detector: BinaryFCOS, BinaryRCNN, CLN (Detectron2), DeformableDETR, SCR, or your own "
        "by its name or as ./file.py:Class.",
    ),
    Entry("DEVICE", "cuda", "cuda (the CPU where there is no GPU), cpu, cuda:1, mps, ..."),
    Entry(
        "WEIGHTS",
        "",
        "File of the weights to start from, or with --eval-only of the detector to evaluate; "
        "pretrained: those that an installed package has for the backbone; empty: random ones.",
    ),
    Entry(
        "PIXEL_MEAN",
        [103.53, 116.28, 123.675],
        "Mean of each channel, which is subtracted, in the order of INPUT.FORMAT, 0 .. 255; []: "
        "that of the weights' package.",
        Range(
            "a number for each of 3 channels, or [] (the weights' own)",
            lambda x: len(x) in (0, 3),
            _THREE_OR_NONE,
        ),
    ),
    Entry(
        "PIXEL_STD",
        [1.0, 1.0, 1.0],
        "Standard deviation of each channel, which is divided by; []: that of the weights' "
        "package.",
        Range(
            "a number > 0 for each of 3 channels, or [] (the weights' own)",
            lambda x: len(x) in (0, 3) and all(value > 0 for value in x),
            {**_THREE_OR_NONE, "items": {"type": "number", "exclusiveMinimum": 0}},
        ),
    ),
)

BACKBONE = (
    Entry(
        "NAME",
        "build_resnet_backbone",
        "Backbone: build_<name>_backbone, with a feature pyramid build_<name>_fpn_backbone "
        "(docs/backbones.md).",
    ),
    Entry(
        "FREEZE_AT",
        2,
        "Stages that are not trained, counted from the image.",
        Range(
            "0 (none) .. 5 (the whole backbone)",
            lambda x: 0 <= x <= 5,
            {"minimum": 0, "maximum": 5},
        ),
    ),
)

RESNETS = (
    Entry("DEPTH", 50, "Layers of the ResNet.", one_of(18, 34, 50, 101, 152)),
    Entry(
        "NORM",
        "FrozenBN",
        "Normalization in the backbone: BN (trained), FrozenBN (statistics and scales are "
        "constants), GN, SyncBN.",
    ),
    Entry(
        "STRIDE_IN_1X1",
        True,
        "Where a ResNet's bottleneck has its stride: True in the first 1x1 convolution (weights of "
        "MSRA), False in the 3x3 one (torchvision's weights).",
    ),
    Entry("OUT_FEATURES", ["res4"], "Feature maps that the backbone gives: res2 .. res5."),
)

SOLVER = (
    Entry(
        "IMS_PER_BATCH", 16, "Training images per batch, of all processes together.", at_least(1)
    ),
    Entry(
        "BASE_LR",
        0.001,
        "Learning rate of the backbone; the rest has WEND.HEAD_LR_FACTOR times that.",
        POSITIVE,
    ),
    Entry("BASE_LR_END", 0.0, "Learning rate at the end of the training."),
    Entry(
        "LR_SCHEDULER_NAME",
        "WarmupMultiStepLR",
        "How the learning rate goes: WarmupCosineLR (WEND's configs), WarmupMultiStepLR or "
        "WarmupStepWithFixedGammaLR.",
    ),
    Entry(
        "MAX_ITER", 40000, "Iterations of the training; follows from WEND.EPOCHS where that is > 0."
    ),
    Entry(
        "CHECKPOINT_PERIOD",
        5000,
        "Iterations between checkpoints; an epoch's where WEND.EPOCHS is > 0.",
    ),
    Entry("WARMUP_ITERS", 1000, "Iterations of linear warm-up.", at_least(0)),
    Entry("WARMUP_FACTOR", 0.001, "Learning rate at the start of the warm-up, of BASE_LR."),
    Entry("MOMENTUM", 0.9, "Momentum of SGD."),
    Entry("NESTEROV", False, "Whether it is Nesterov's."),
    Entry("WEIGHT_DECAY", 0.0001, "Weight decay of all but normalization layers."),
    Entry("WEIGHT_DECAY_NORM", 0.0, "Weight decay of normalization layers."),
)

AMP = (
    Entry(
        "ENABLED",
        False,
        "Whether training is in float16, or in the numbers that WEND.PRECISION names.",
    ),
)

INPUT = (
    Entry("FORMAT", "BGR", "Channels of the input: RGB (torchvision's weights) or BGR."),
    Entry("RANDOM_FLIP", "horizontal", "Random flips in training: horizontal, vertical or none."),
)

DATASETS = (
    Entry("TRAIN", (), "Names of the data sets to train on (docs/datasets.md)."),
    Entry("TEST", (), "Names of the data sets to evaluate on."),
)

DATALOADER = (
    Entry("NUM_WORKERS", 4, "Processes that read images; 0: none beside the training's own."),
    Entry(
        "FILTER_EMPTY_ANNOTATIONS",
        True,
        "Whether training images without a box are left out; False trains on them as background.",
    ),
)

TEST = (
    Entry(
        "DETECTIONS_PER_IMAGE", 100, "Boxes that are kept per image, the best-scoring ones first."
    ),
    Entry(
        "EVAL_PERIOD",
        0,
        "Iterations between evaluations, 0: at the end only; an epoch's where WEND.EPOCHS is > 0.",
    ),
    Entry(
        "EXPECTED_RESULTS",
        [],
        "Results that the run must reach: [[protocol, metric, value, tolerance], ...].",
    ),
)

ROOT = (
    Entry("OUTPUT_DIR", "./output", "Folder that the run writes to."),
    Entry("SEED", -1, "Seed of all random numbers; negative: a run draws one and writes it down."),
    Entry(
        "CUDNN_BENCHMARK",
        False,
        "Whether cuDNN tries its algorithms for each size of images and takes the fastest one.",
    ),
    Entry("VERSION", 2, "Version of Detectron2's entries.", one_of(2)),
)

# Name of a node -> its table; "" is the config itself
DETECTRON2_NODES = {
    "": ROOT,
    "MODEL": MODEL,
    "MODEL.BACKBONE": BACKBONE,
    "MODEL.RESNETS": RESNETS,
    "MODEL.ANCHOR_GENERATOR": ANCHORS,
    "MODEL.RPN": (*_sampling(0.5, 256, (0.3, 0.7)), *PROPOSALS, *RPN_WEIGHTS),
    "MODEL.ROI_HEADS": (*_sampling(0.25, 512, (0.5,)), *BOXES),
    "MODEL.ROI_BOX_HEAD": BOX_HEAD,
    "INPUT": INPUT,
    "DATASETS": DATASETS,
    "DATALOADER": DATALOADER,
    "SOLVER": SOLVER,
    "SOLVER.AMP": AMP,
    "TEST": TEST,
}
