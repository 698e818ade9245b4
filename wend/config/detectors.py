"""The entries of each detector and backbone: ``WEND.<node>.<name>``.

Anchors, proposals and samples of Faster R-CNN and CLN are set by Detectron2's own entries, but for
those of the node ``RCNN``.
"""

from wend.config.entries import (
    BELOW_1,
    NAMES,
    NOT_NEGATIVE,
    POSITIVE,
    PROBABILITY,
    SHARE,
    UP_TO_1,
    Entry,
    Range,
    at_least,
    config_entries,
    one_of,
)

FCOS = (
    Entry("IN_FEATURES", ("res5",), "Feature maps that the head works on, finest first."),
    Entry(
        "NUM_CLASSES",
        1,
        "Foreground classes. The paper's detector has one; 200 and 1000 are table 1's comparison, "
        "trained with the image's class on the pseudo box.",
        at_least(1),
    ),
    Entry(
        "NUM_CONVS",
        1,
        "3x3 convolutions in each of the two towers; table 1's parameter count fits 1.",
        at_least(1),
    ),
    Entry(
        "CONV_DIM",
        0,
        "Channels of the towers; 0: as many as reach them (the paper's head), 256: a lean one.",
        at_least(0),
    ),
    Entry(
        "REDUCE_DIM",
        0,
        "Channels of a 1x1 convolution (with NORM and ReLU) before both towers; 0: none (the "
        "paper's head).",
        at_least(0),
    ),
    Entry(
        "NORM",
        "GN",
        'Normalization in the towers: "GN" (channels a multiple of 32) or "".',
        Range("'GN' or ''", lambda x: x in ("GN", ""), {"enum": ["GN", ""]}),
    ),
    Entry("PRIOR_PROB", 0.01, "Foreground probability that the classifier starts at.", PROBABILITY),
    Entry(
        "INITIAL_DISTANCE",
        1.0,
        "Distance in strides from a location to each side of its box that the regressor starts "
        "at. Detectron2's and torchvision's start at 0, where their ReLU can stay dead.",
        POSITIVE,
    ),
    Entry(
        "CENTER_SAMPLING_RADIUS",
        1.5,
        "Locations within this many strides of a box's centre are positive.",
        POSITIVE,
    ),
    Entry("FOCAL_LOSS_ALPHA", 0.25, "α of the supervised focal loss.", SHARE),
    Entry("FOCAL_LOSS_GAMMA", 2.0, "γ of the supervised focal loss.", NOT_NEGATIVE),
    Entry("CLASS_WEIGHT", 1.0, "λ1 of eq. (1), weight of the focal loss.", NOT_NEGATIVE),
    Entry("BOX_WEIGHT", 1.0, "λ2 of eq. (1), weight of the boxes' GIoU loss.", NOT_NEGATIVE),
    Entry("CENTERNESS_WEIGHT", 1.0, "Weight of the centreness loss.", NOT_NEGATIVE),
    Entry(
        "SCORE_THRESH_TEST",
        0.0,
        "Boxes that score less are not predicted; 0 keeps a best box for every image.",
        BELOW_1,
    ),
    Entry(
        "TOPK_CANDIDATES_TEST",
        1000,
        "Locations that are decoded before non-maximum suppression.",
        at_least(1),
    ),
    Entry(
        "NMS_THRESH_TEST",
        0.6,
        "IoU over which the lower-scoring of two boxes is suppressed.",
        UP_TO_1,
    ),
)

SCR = (
    Entry("IN_FEATURE", "res5", "Feature map that is pooled (averaged over all its cells)."),
    Entry(
        "HIDDEN_DIM", 512, "Outputs of the first of the two fully connected layers.", at_least(1)
    ),
    Entry(
        "LOSS",
        "l2",
        "Loss between the box and its target, both x, y, w, h in fractions of the crop: l2 (mean "
        "squared error, PSOL's), l1 or smooth_l1 (squared within a tenth of the crop).",
        one_of("l2", "l1", "smooth_l1"),
    ),
    Entry("LOSS_WEIGHT", 50.0, "Weight of that loss; 50 in PSOL's and C2AM's code.", POSITIVE),
)

RCNN = (
    Entry(
        "RATIO",
        "cap",
        "What MODEL.ROI_HEADS.POSITIVE_FRACTION is to the samples of Faster R-CNN's and CLN's "
        "R-CNN: \"cap\", the largest share of an image's, filled up with negatives (Detectron2's "
        "and torchvision's), or \"exact\", the share of a batch's (table 12).",
        one_of("cap", "exact"),
    ),
)

CLN = (
    Entry(
        "OBJECTNESS_IOU",
        0.3,
        "Anchors with this IoU or more with a box (or, where a box has none, its best) learn the "
        "objectness (centreness) and the box.",
        PROBABILITY,
    ),
    Entry("RPN_LOC_WEIGHT", 10.0, "Weight of the RPN's IoU loss (OLN).", NOT_NEGATIVE),
    Entry("RPN_OBJECTNESS_WEIGHT", 1.0, "Weight of the RPN's centreness loss.", NOT_NEGATIVE),
    Entry(
        "NORMALIZE_FEATURES", True, "L2-normalize the RPN's hidden features over channels (OLN)."
    ),
    Entry("IOU_WEIGHT", 1.0, "Weight of the L1 loss of the R-CNN's IoU score.", NOT_NEGATIVE),
    Entry(
        "CLS_EXPONENT",
        0.3,
        "a of the final score cls^a · (rpn · iou)^(1-a); 0.3 in UniDetector.",
        SHARE,
    ),
)

DETR = (
    Entry(
        "IN_FEATURES",
        ("res3", "res4", "res5"),
        "Feature maps of the backbone, finest first.",
        NAMES,
    ),
    Entry(
        "NUM_FEATURE_LEVELS",
        4,
        "Levels that the attention samples; those beyond IN_FEATURES come from 3x3 convolutions "
        "with stride 2.",
        at_least(1),
    ),
    Entry("NUM_QUERIES", 30, "Object queries: boxes predicted per image.", at_least(1)),
    Entry(
        "HIDDEN_DIM",
        256,
        "Width of the transformer, a multiple of 32 (GroupNorm of the levels) and of NUM_HEADS.",
        Range(
            "a multiple of 32, >= 32",
            lambda x: x >= 32 and x % 32 == 0,
            {"minimum": 32, "multipleOf": 32},
        ),
    ),
    Entry("NUM_HEADS", 8, "Attention heads.", at_least(1)),
    Entry("NUM_POINTS", 4, "Points that a head samples of each level.", at_least(1)),
    Entry("ENC_LAYERS", 6, "Layers of the encoder.", at_least(1)),
    Entry(
        "DEC_LAYERS",
        6,
        "Layers of the decoder; each has its own losses.",
        at_least(1),
    ),
    Entry("FFN_DIM", 1024, "Width of the feed-forward layers.", at_least(1)),
    Entry("DROPOUT", 0.1, "Dropout in the transformer.", BELOW_1),
    Entry(
        "CLASS_COST", 2.0, "Weight of the focal classification cost in the matching.", NOT_NEGATIVE
    ),
    Entry("L1_COST", 5.0, "Weight of the boxes' L1 distance in the matching.", NOT_NEGATIVE),
    Entry("GIOU_COST", 2.0, "Weight of the generalized IoU in the matching.", NOT_NEGATIVE),
    Entry("CLASS_WEIGHT", 2.0, "Weight of the focal classification loss.", NOT_NEGATIVE),
    Entry("L1_WEIGHT", 5.0, "Weight of the boxes' L1 loss.", NOT_NEGATIVE),
    Entry("GIOU_WEIGHT", 2.0, "Weight of the boxes' generalized IoU loss.", NOT_NEGATIVE),
    Entry("FOCAL_LOSS_ALPHA", 0.25, "α of the supervised focal loss.", SHARE),
    Entry("FOCAL_LOSS_GAMMA", 2.0, "γ of the supervised focal loss.", NOT_NEGATIVE),
    Entry("PRIOR_PROB", 0.01, "Foreground probability that the classifier starts at.", PROBABILITY),
)

SMALL_CNN = (
    Entry(
        "CHANNELS",
        (32, 64, 128),
        "Small plain network for training from scratch (toy data): output channels of its stages, "
        "which are called stage1, stage2, ... and have strides 2, 4, ...; multiples of 32 for GN.",
        Range(
            "a whole number >= 1 per stage",
            lambda x: len(x) > 0 and all(type(width) is int and width >= 1 for width in x),
            {"minItems": 1, "items": {"type": "integer", "minimum": 1}},
        ),
    ),
)

TIMM = (
    Entry(
        "MODEL",
        "",
        "Name of a timm model for MODEL.BACKBONE.NAME build_timm_backbone, such as resnet18; its "
        "weights are the file MODEL.WEIGHTS.",
    ),
    Entry(
        "STRIDE",
        0,
        "Pixels of the input that a patch of a vision transformer covers, 4, 8, 16 or 32: images "
        "are resized so; 0: the one nearest to its patch (16 for patches of 14 or 16 pixels).",
        one_of(0, 4, 8, 16, 32),
    ),
)

for _node, _entries in (
    ("FCOS", FCOS),
    ("SCR", SCR),
    ("RCNN", RCNN),
    ("CLN", CLN),
    ("DETR", DETR),
    ("SMALL_CNN", SMALL_CNN),
    ("TIMM", TIMM),
):
    config_entries(_node, _entries)
