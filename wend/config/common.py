"""The entries of the ``WEND`` node that every detector has; Greek letters are the paper's."""

from wend.config.entries import (
    BELOW_1,
    CLOSER,
    NOT_NEGATIVE,
    POSITIVE,
    PROBABILITY,
    SHARE,
    Entry,
    Range,
    at_least,
    config_entries,
    one_of,
)
from wend.losses import FORMS, NORMALIZERS, SAMPLES, WEIGHT_GRADIENTS
from wend.modeling.arithmetic import COMPILE_MODES, PRECISIONS
from wend.structures.view import VIEWS

OPTIMIZERS = ("SGD", "Adam", "AdamW")
DISTINCT = Range(
    "distinct names", lambda x: len(set(map(repr, x))) == len(x), {"uniqueItems": True}
)

# WEND.<name>
COMMON = (
    Entry(
        "IMPORTS",
        (),
        "Modules of your own, or files such as ./mine.py (beside the YAML that names them), "
        "imported before the entries are read; those of _BASE_ and of --import are added.",
    ),
    Entry(
        "LOSS",
        "weighted_entropy",
        'L_unsup of eq. (4): "weighted_entropy" (eqs. 2, 3), "entropy" (table 10), "none", or your '
        "own by its name or as ./file.py:function.",
    ),
    Entry("ETA", 1.0, "η of eq. (4), the weight of the supervised losses, >= 0.", NOT_NEGATIVE),
    Entry(
        "ETA_SCHEDULE",
        "constant",
        'How η goes from ETA to ETA_END: "constant" (stays at ETA), "linear" or "cosine" over the '
        'iterations, "step" (ETA_END from STEP_AT on), or your own by its name or as '
        "./file.py:function.",
    ),
    Entry(
        "ETA_END", 1.0, "η at the end of the training; unused where constant, >= 0.", NOT_NEGATIVE
    ),
    Entry(
        "UNSUP_FACTOR",
        1.0,
        "f, a factor on L_unsup, >= 0: η 1 and f 8 have the balance of η 0.125 without its "
        "eighth of the learning rate.",
        NOT_NEGATIVE,
    ),
    Entry(
        "UNSUP_FACTOR_SCHEDULE",
        "constant",
        "How f goes from UNSUP_FACTOR to UNSUP_FACTOR_END, as ETA_SCHEDULE.",
    ),
    Entry(
        "UNSUP_FACTOR_END",
        1.0,
        "f at the end of the training; unused where constant, >= 0.",
        NOT_NEGATIVE,
    ),
    Entry(
        "REFINE",
        "none",
        "How the average of the weights (EMA.DECAY) makes the boxes to learn from, from the share "
        'TEACHER.START of the training on: "average", "soft", "replace", "none" (the given ones), '
        "or your own by its name or as ./file.py:function.",
    ),
    Entry(
        "CLS_LOSS",
        "own",
        'L_cls of L_sup: "own" (that of the detector), or with its normalizer and weight '
        '"gce" or "focal_gce" (entries WEND.GCE), "bootstrap" (WEND.BOOTSTRAP), "sce" (WEND.SCE), '
        "or a loss of yours by its name or as ./file.py:function (docs/noisy_boxes.md).",
    ),
    Entry(
        "SAMPLE_WEIGHTS",
        (),
        "Weights of each sample's L_cls and L_reg, not of the RPN's, multiplied: \"drop_loss\" "
        '(entries WEND.DROP_LOSS), "ignore_regions" (WEND.IGNORE_REGIONS), "small_loss" or '
        '"small_loss_samples" (WEND.SMALL_LOSS), or your own by name or as ./file.py:function '
        "(docs/noisy_boxes.md).",
        DISTINCT,
    ),
    Entry(
        "IMAGE_WEIGHTS",
        (),
        "Weights of each image's L_sup, the RPN's too, multiplied: \"box_score\" (entries "
        'WEND.BOX_SCORE), "teacher_agreement" (WEND.TEACHER_AGREEMENT), or your own by name or as '
        "./file.py:function (docs/noisy_boxes.md).",
        DISTINCT,
    ),
    Entry("STEP_AT", 0.5, 'Share of the training at which a schedule "step" steps, [0, 1].', SHARE),
    Entry(
        "GAMMA",
        6.0,
        "γ of eq. (3), how strongly confident samples are weighted down, >= 0.",
        NOT_NEGATIVE,
    ),
    Entry("ALPHA", 0.1, "α of eq. (3), the weight of samples that look like foreground.", SHARE),
    Entry(
        "TAU1",
        0.3,
        "τ1 of eq. (3): samples with p >= τ1 look like foreground, (0, 1), >= τ2.",
        PROBABILITY,
    ),
    Entry(
        "TAU2",
        0.3,
        "τ2 of eq. (3): samples with p < τ2 look like background, (0, 1).",
        PROBABILITY,
    ),
    Entry(
        "VIEW",
        "crop",
        'What of an image is tested on: "crop" (the paper: squashed to RESIZE², the centre CROP²), '
        '"squash" (all of that square) or "pad" (all of the image, its aspect kept, padded to '
        "RESIZE² with MODEL.PIXEL_MEAN). Training is on random CROP² of the square.",
        one_of(*VIEWS),
    ),
    Entry("RESIZE", 256, "Side in pixels of the square that images are resized to, >= CROP."),
    Entry("CROP", 224, "Side in pixels of the random (training) or centre (testing) crop, >= 1."),
    Entry(
        "CROP_IN_MODEL",
        True,
        "Detectron2's engine, in testing: an image that comes whole, as DefaultPredictor and "
        "Detectron2's own mapper give it, is squashed and cropped by the detector itself. False: "
        "it is predicted on as it comes, for detectors trained through a mapper that crops not.",
    ),
    Entry(
        "CLOSER_LOOK",
        0.0,
        "f: the best box is predicted once more on the part of the input f times as wide and as "
        "high around it, enlarged, and is the mean of both; 0 (the paper): no second look.",
        CLOSER,
    ),
    Entry(
        "MIRROR",
        False,
        "In testing: images are seen mirrored left to right, and their boxes are turned back; "
        "another look of the same detector.",
    ),
    Entry(
        "EPOCHS",
        50,
        "Length of the training in epochs, evaluated and saved after each; 0: SOLVER.MAX_ITER, "
        "TEST.EVAL_PERIOD and SOLVER.CHECKPOINT_PERIOD count in iterations, as in Detectron2.",
        Range("a whole number >= 0", lambda x: x >= 0, {"minimum": 0}),
    ),
    Entry(
        "KEEP_BEST",
        "",
        "A number of the evaluations, the best one's checkpoint being kept as model_best.pth: "
        '"data set/protocol/metric" or the end of it, such as "gt_known_loc", or '
        '"held_out/total_loss" with HELD_OUT; empty: none (docs/best_checkpoint.md).',
    ),
    Entry(
        "EARLY_STOPPING",
        0,
        "Evaluations in a row without a better number KEEP_BEST, after which the training ends; "
        "0: it takes its whole length.",
        Range("a whole number >= 0", lambda x: x >= 0, {"minimum": 0}),
    ),
    Entry(
        "HELD_OUT",
        0.0,
        "Share of the training images that are never trained on, drawn by SEED; each evaluation "
        "computes the losses on them, for which no true boxes are needed; 0: none, [0, 1).",
        BELOW_1,
    ),
    Entry(
        "ACCUMULATE",
        1,
        "Micro-batches in which a process takes its images of a step, for batches that do not fit "
        "into memory: gradients are those of SOLVER.IMS_PER_BATCH at once, at one more forward "
        "pass; SOLVER.IMS_PER_BATCH is a multiple of processes x ACCUMULATE (docs/scale.md). 0: "
        "the smallest number that fits, tried before the training begins.",
        at_least(0),
    ),
    Entry(
        "PRECISION",
        "",
        'In which numbers layers multiply, in training, evaluation and prediction: "float32", '
        '"bfloat16" (GPUs and CPUs) or "float16" (GPUs); empty: float32, but with '
        "SOLVER.AMP.ENABLED float16 in training. Weights and losses are float32 (docs/speed.md).",
        one_of(*PRECISIONS),
    ),
    Entry(
        "CHANNELS_LAST",
        False,
        "Whether images and convolutions lie in memory by pixels instead of channels; it may pay "
        "on a GPU with bfloat16 or float16.",
    ),
    Entry(
        "COMPILE",
        "none",
        'torch.compile of the backbone: "none", "default", "reduce-overhead" (with CUDA graphs) or '
        '"max-autotune"; the first steps take a minute or more.',
        one_of(*COMPILE_MODES),
    ),
    Entry(
        "TF32",
        False,
        "Whether a GPU multiplies matrices of float32 with 10 bits after the point, as PyTorch's "
        "convolutions do in any case.",
    ),
    Entry(
        "OPTIMIZER",
        "SGD",
        "SGD (SOLVER.MOMENTUM, SOLVER.NESTEROV), or Adam or AdamW with betas 0.9 and 0.999.",
        one_of(*OPTIMIZERS),
    ),
    Entry(
        "HEAD_LR_FACTOR",
        2.0,
        "Learning rate of everything but the backbone, as a multiple of SOLVER.BASE_LR.",
        POSITIVE,
    ),
    Entry(
        "PROTOCOLS",
        ("psol-crop224", "original"),
        "Evaluation protocols, all computed on the same detections; at least one.",
    ),
    Entry(
        "MAX_BOXES",
        5,
        "K, the boxes per image that the multi-box metrics use, 1 .. TEST.DETECTIONS_PER_IMAGE.",
    ),
    Entry(
        "METRICS",
        (),
        "Metrics besides Top-1, Top-5 and GT-known Loc: registered names, or your own as "
        "module:name or ./file.py:name.",
    ),
    Entry(
        "LOGGERS",
        (),
        'Event sinks, where the numbers of a training go besides metrics.json: "tensorboard" '
        '(Detectron2 writes it in any case), "wandb", "mlflow", or your own by name, as '
        "module:name or ./file.py:name.",
        DISTINCT,
    ),
    Entry(
        "TEST_BATCH",
        1,
        "Images per batch in evaluation. With 1 the files do not depend on the number of processes "
        "to the last bit.",
        at_least(1),
    ),
    Entry(
        "CLASS_PREDICTIONS",
        "",
        "File of class predictions (wend.classes.predictions); empty: no Top-1 and Top-5 Loc.",
    ),
)

# WEND.WE.<name>: the readings of eqs. (2) and (3), whose symbols the scan lost
config_entries(
    "WE",
    (
        Entry(
            "NORMALIZER",
            "samples",
            'N of eq. (2): "samples" (all that are summed), "positives" (as the detector\'s own '
            'L_cls counts them) or "boxes" (pseudo boxes of the batch). Also of the plain entropy.',
            one_of(*NORMALIZERS),
        ),
        Entry(
            "SAMPLES",
            "all",
            'The samples that are summed: "all", "unassigned" (those without a pseudo box: '
            'background and ignored) or "ignored", for detectors of your own that ignore some: '
            "WEND's ignore none. Also of the plain entropy.",
            one_of(*SAMPLES),
        ),
        Entry(
            "FORM",
            "entropy",
            'The weights of eq. (3): "entropy" w(p) H(p), "terms" (each term of H with its own '
            'weight), "chosen" (only the term of the side), "swapped" (the other side\'s weight) '
            'or "confidence" (1 - max p)^γ.',
            one_of(*FORMS),
        ),
        Entry(
            "WEIGHT_GRADIENT",
            "flow",
            'Whether the gradient flows through the weight: "flow", or "detach" (a constant).',
            one_of(*WEIGHT_GRADIENTS),
        ),
    ),
)

IMPORTS = "WEND.IMPORTS"
# Entries that may name the user's own code as module:name or ./file.py:name, once or in a list
REFERENCES = (
    "MODEL.META_ARCHITECTURE",
    "WEND.LOSS",
    "WEND.ETA_SCHEDULE",
    "WEND.UNSUP_FACTOR_SCHEDULE",
    "WEND.REFINE",
    "WEND.TEACHER.WEIGHT_SCHEDULE",
    "WEND.CLS_LOSS",
    "WEND.SAMPLE_WEIGHTS",
    "WEND.IMAGE_WEIGHTS",
    "WEND.METRICS",
    "WEND.LOGGERS",
)
