"""The ``WEND`` node of a config, and reading a YAML with ``_BASE_`` and ``KEY VALUE`` overrides.

Works on any fvcore ``CfgNode``: Detectron2's config and the torchvision engine's own get the same
keys. Greek letters are the paper's symbols.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import yaml
from fvcore.common.config import CfgNode

from wend.boxes import resize_and_crop
from wend.data.loading_config import ENTRIES as LOADING_ENTRIES
from wend.errors import InputError, MissingFileError
from wend.files import read_text
from wend.losses import UNSUPERVISED_LOSSES, LocalizationLoss
from wend.protocol import get_protocol

DEFAULT_MAX_ITER = 40000  # Detectron2's SOLVER.MAX_ITER


def add_wend_config(cfg: CfgNode) -> None:
    """Add the ``WEND`` node with its defaults to a config."""
    node = type(cfg)
    cfg.WEND = wend = node()

    # L_unsup of eq. (4): "weighted_entropy" (eqs. 2, 3), "entropy" (table 10) or "none".
    wend.LOSS = "weighted_entropy"
    # η of eq. (4), the weight of the supervised losses, >= 0.
    wend.ETA = 1.0
    # γ of eq. (3), how strongly confident samples are weighted down, >= 0.
    wend.GAMMA = 6.0
    # α of eq. (3), the weight of samples that look like foreground, in [0, 1].
    wend.ALPHA = 0.1
    # τ1 of eq. (3): samples with p >= τ1 look like foreground, in (0, 1), >= τ2.
    wend.TAU1 = 0.3
    # τ2 of eq. (3): samples with p < τ2 look like background, in (0, 1).
    wend.TAU2 = 0.3
    # Take the weight w(p) as a constant in the gradient (the paper does not say).
    wend.DETACH_WEIGHT = False

    # Side in pixels of the square that images are squashed to (appendix A), >= CROP.
    wend.RESIZE = 256
    # Side in pixels of the random (training) or centre (testing) crop, >= 1.
    wend.CROP = 224

    # Length of the training in epochs, evaluated and saved after each; 0: SOLVER.MAX_ITER,
    # TEST.EVAL_PERIOD and SOLVER.CHECKPOINT_PERIOD count in iterations, as in Detectron2.
    wend.EPOCHS = 50
    # Learning rate of everything but the backbone, as a multiple of SOLVER.BASE_LR, > 0.
    wend.HEAD_LR_FACTOR = 2.0

    # Evaluation protocols (wend.protocol), all computed on the same detections; at least one.
    wend.PROTOCOLS = ("psol-crop224", "original")
    # K, the boxes an image that the multi-box metrics look at, 1 .. TEST.DETECTIONS_PER_IMAGE.
    wend.MAX_BOXES = 5
    # Images a batch in evaluation, >= 1. With 1 the files do not depend on the number of processes
    # to the last bit.
    wend.TEST_BATCH = 1
    # File of class predictions (wend.data.class_predictions); empty: no Top-1 and Top-5 Loc.
    wend.CLASS_PREDICTIONS = ""

    # Binary FCOS. Feature maps that the head works on, finest first.
    wend.FCOS = node()
    wend.FCOS.IN_FEATURES = ("res5",)
    # Foreground classes, >= 1. The paper's detector has one; 200 and 1000 are table 1's comparison.
    wend.FCOS.NUM_CLASSES = 1
    # 3x3 convolutions in each of the two towers, >= 1; table 1's parameter count proves one.
    wend.FCOS.NUM_CONVS = 1
    # Channels of the towers; 0: as many as the feature map has (the paper's head), 256: a lean one.
    wend.FCOS.CONV_DIM = 0
    # Normalization in the towers: "GN" (channels a multiple of 32) or "".
    wend.FCOS.NORM = "GN"
    # Foreground probability that the classifier starts at, in (0, 1).
    wend.FCOS.PRIOR_PROB = 0.01
    # Distance in strides from a location to each side of its box that the regressor starts at, > 0.
    # Detectron2's and torchvision's start at 0, where their ReLU can stay dead from scratch.
    wend.FCOS.INITIAL_DISTANCE = 1.0
    # Locations within this many strides of a box's centre are positive, > 0.
    wend.FCOS.CENTER_SAMPLING_RADIUS = 1.5
    # α and γ of the supervised focal loss: in [0, 1] and >= 0.
    wend.FCOS.FOCAL_LOSS_ALPHA = 0.25
    wend.FCOS.FOCAL_LOSS_GAMMA = 2.0
    # Boxes that score less are not put out, in [0, 1); 0 keeps a best box for every image.
    wend.FCOS.SCORE_THRESH_TEST = 0.0
    # Locations that are decoded before non-maximum suppression, >= 1.
    wend.FCOS.TOPK_CANDIDATES_TEST = 1000
    # IoU over which the lower-scoring of two boxes is suppressed, in (0, 1].
    wend.FCOS.NMS_THRESH_TEST = 0.6

    # Bad images and the cache of resized ones (wend.data.loading_config says what each means).
    wend.DATA = node()
    for entry in LOADING_ENTRIES:
        wend.DATA[entry.name] = entry.default

    # Small plain network for training from scratch (toy data): output channels of its stages,
    # which are called stage1, stage2, ... and have strides 2, 4, ...; multiples of 32 for "GN".
    wend.SMALL_CNN = node()
    wend.SMALL_CNN.CHANNELS = (32, 64, 128)


def localization_loss(cfg: CfgNode) -> LocalizationLoss:
    """The loss that the ``WEND`` node chooses; InputError names the entry that is out of range."""
    wend = cfg.WEND
    try:
        return LocalizationLoss(
            name=wend.LOSS,
            eta=wend.ETA,
            gamma=wend.GAMMA,
            alpha=wend.ALPHA,
            tau1=wend.TAU1,
            tau2=wend.TAU2,
            detach_weight=wend.DETACH_WEIGHT,
        )
    except ValueError as error:  # "gamma must be ...": the entries have the parameters' names
        name, rest = str(error).split(" ", 1)
        raise InputError(f"config entry WEND.{name.upper()} {rest}") from None


def check_binary(entry: str, num_classes: int, loss: LocalizationLoss) -> None:
    """Raise InputError unless the loss can be used with so many foreground classes."""
    if num_classes != 1 and loss.name != "none":
        raise InputError(
            f"config entry {entry}: {loss.name} needs one foreground class, got {num_classes}; set "
            f"it to 1 or set WEND.LOSS none"
        )


def _require(name: str, value: object, wanted: str, ok: bool) -> None:
    if not ok:
        raise InputError(f"config entry {name}: expected {wanted}, got {value!r}")


def check_config(cfg: CfgNode) -> None:
    """Check the entries that can be checked without reading data.

    Raises:
        InputError: names the entry, what was expected and what came.
    """
    wend, fcos = cfg.WEND, cfg.WEND.FCOS
    _require(
        "WEND.LOSS", wend.LOSS, f"one of {UNSUPERVISED_LOSSES}", wend.LOSS in UNSUPERVISED_LOSSES
    )
    localization_loss(cfg)
    try:
        resize_and_crop(1, 1, wend.RESIZE, wend.CROP)
    except ValueError as error:
        raise InputError(f"config entries WEND.RESIZE and WEND.CROP: {error}") from None
    _require("WEND.EPOCHS", wend.EPOCHS, "a whole number >= 0", wend.EPOCHS >= 0)
    if wend.EPOCHS and cfg.SOLVER.MAX_ITER != DEFAULT_MAX_ITER:
        raise InputError(
            f"config entries WEND.EPOCHS ({wend.EPOCHS}) and SOLVER.MAX_ITER "
            f"({cfg.SOLVER.MAX_ITER}) both set the length of the training; add WEND.EPOCHS 0 to "
            f"count in iterations"
        )
    for name, value in (
        ("WEND.HEAD_LR_FACTOR", wend.HEAD_LR_FACTOR),
        ("SOLVER.BASE_LR", cfg.SOLVER.BASE_LR),
        ("WEND.FCOS.CENTER_SAMPLING_RADIUS", fcos.CENTER_SAMPLING_RADIUS),
        ("WEND.FCOS.INITIAL_DISTANCE", fcos.INITIAL_DISTANCE),
    ):
        _require(name, value, "finite and > 0", 0 < value < math.inf)
    _require(
        "SOLVER.IMS_PER_BATCH", cfg.SOLVER.IMS_PER_BATCH, ">= 1", cfg.SOLVER.IMS_PER_BATCH >= 1
    )
    _require("SOLVER.WARMUP_ITERS", cfg.SOLVER.WARMUP_ITERS, ">= 0", cfg.SOLVER.WARMUP_ITERS >= 0)
    _check_protocols(wend.PROTOCOLS)
    most = cfg.TEST.DETECTIONS_PER_IMAGE
    _require(
        "WEND.MAX_BOXES",
        wend.MAX_BOXES,
        f"1 .. TEST.DETECTIONS_PER_IMAGE ({most})",
        1 <= wend.MAX_BOXES <= most,
    )
    _require("WEND.TEST_BATCH", wend.TEST_BATCH, ">= 1", wend.TEST_BATCH >= 1)
    if wend.CLASS_PREDICTIONS and not Path(wend.CLASS_PREDICTIONS).is_file():
        raise MissingFileError(
            f"config entry WEND.CLASS_PREDICTIONS: there is no file {wend.CLASS_PREDICTIONS}"
        )
    _require("WEND.FCOS.NUM_CLASSES", fcos.NUM_CLASSES, ">= 1", fcos.NUM_CLASSES >= 1)
    _require("WEND.FCOS.NUM_CONVS", fcos.NUM_CONVS, ">= 1", fcos.NUM_CONVS >= 1)
    _require("WEND.FCOS.CONV_DIM", fcos.CONV_DIM, ">= 0", fcos.CONV_DIM >= 0)
    _require("WEND.FCOS.NORM", fcos.NORM, "'GN' or ''", fcos.NORM in ("GN", ""))
    _require("WEND.FCOS.PRIOR_PROB", fcos.PRIOR_PROB, "in (0, 1)", 0 < fcos.PRIOR_PROB < 1)
    _require(
        "WEND.FCOS.FOCAL_LOSS_ALPHA",
        fcos.FOCAL_LOSS_ALPHA,
        "in [0, 1]",
        0 <= fcos.FOCAL_LOSS_ALPHA <= 1,
    )
    _require(
        "WEND.FCOS.FOCAL_LOSS_GAMMA",
        fcos.FOCAL_LOSS_GAMMA,
        "finite and >= 0",
        0 <= fcos.FOCAL_LOSS_GAMMA < math.inf,
    )
    _require(
        "WEND.FCOS.SCORE_THRESH_TEST",
        fcos.SCORE_THRESH_TEST,
        "in [0, 1)",
        0 <= fcos.SCORE_THRESH_TEST < 1,
    )
    _require(
        "WEND.FCOS.TOPK_CANDIDATES_TEST",
        fcos.TOPK_CANDIDATES_TEST,
        ">= 1",
        fcos.TOPK_CANDIDATES_TEST >= 1,
    )
    _require(
        "WEND.FCOS.NMS_THRESH_TEST",
        fcos.NMS_THRESH_TEST,
        "in (0, 1]",
        0 < fcos.NMS_THRESH_TEST <= 1,
    )
    for entry in LOADING_ENTRIES:
        value = wend.DATA[entry.name]
        _require(f"WEND.DATA.{entry.name}", value, entry.expected, entry.holds(value))
    channels = wend.SMALL_CNN.CHANNELS
    whole = all(type(width) is int and width >= 1 for width in channels)
    _require("WEND.SMALL_CNN.CHANNELS", channels, "a whole number >= 1 a stage", whole and channels)


def _check_protocols(names: Sequence[str]) -> None:
    """Raise InputError unless the protocols are known, distinct and at least one."""
    for name in names:
        try:
            get_protocol(str(name))
        except InputError as error:
            raise InputError(f"config entry WEND.PROTOCOLS: {error}") from None
    distinct = len(names) > 0 and len(set(names)) == len(names)
    _require("WEND.PROTOCOLS", names, "distinct protocols, at least one", distinct)


def _check_filled(cfg: CfgNode, before: CfgNode, prefix: str = "") -> None:
    """Raise InputError for an entry that was emptied (``KEY:`` with nothing behind it)."""
    for name, value in cfg.items():
        if isinstance(value, CfgNode) and isinstance(before.get(name), CfgNode):
            _check_filled(value, before[name], f"{prefix}{name}.")
        elif value is None and before.get(name) is not None:
            raise InputError(f"config entry {prefix}{name}: has no value; give one or leave it out")


def _check_mapping(path: str) -> None:
    """Raise InputError unless a YAML holds a mapping at its top."""
    top = yaml.compose(read_text(path, "a config in YAML"))
    if not isinstance(top, yaml.MappingNode):
        raise InputError(
            f"{path}: expected a mapping of config entries, got an empty file or a list"
        )


def merge_config(cfg: CfgNode, config_file: str, opts: Sequence[str], unknown_key: str) -> None:
    """Read a YAML and then ``KEY VALUE`` overrides into a config, and check it.

    Args:
        cfg: a config with its defaults.
        config_file: YAML, which may name another as ``_BASE_``; empty for none.
        opts: KEY, VALUE, KEY, VALUE, ...
        unknown_key: what to tell about a key that ``cfg`` does not have.

    Raises:
        InputError: names the file or the override, and the key.
    """
    if config_file and not Path(config_file).is_file():
        raise MissingFileError(f"--config-file: there is no file {config_file}")
    before = cfg.clone()
    steps = [("command line", lambda: cfg.merge_from_list(list(opts)))]
    if config_file:
        steps.insert(0, (config_file, lambda: cfg.merge_from_file(config_file)))
        steps.insert(0, (config_file, lambda: _check_mapping(config_file)))
    for where, step in steps:
        try:
            step()
        except InputError:
            raise
        except (yaml.YAMLError, FileNotFoundError, RecursionError) as error:
            raise InputError(f"{where}: cannot be read as YAML: {error}") from None
        except (KeyError, AssertionError, ValueError, AttributeError, TypeError) as error:
            said = str(error.args[0]) if error.args else "not KEY VALUE pairs"
            if "<class 'float'> vs. <class 'int'>" in said:
                said += " (write 1.0, not 1)"
            if "Non-existent" in said:
                said += f". {unknown_key}"
            raise InputError(f"{where}: {said}") from None
    _check_filled(cfg, before)
    check_config(cfg)
