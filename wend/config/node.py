"""The ``WEND`` node: made from the tables of entries, checked against them, and read.

Works on any fvcore ``CfgNode``: Detectron2's config and the torchvision engine's own get the same
entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fvcore.common.config import CfgNode

from wend.config.common import COMMON
from wend.config.data import DATA
from wend.config.detectors import DETECTORS, DETECTRON2_NODES
from wend.config.entries import (
    POSITIVE,
    Range,
    add_entries,
    at_least,
    check_entries,
    one_of,
    require,
)
from wend.errors import InputError, MissingFileError
from wend.evaluation.metrics import choose_metrics
from wend.evaluation.protocols import get_protocol
from wend.losses import LocalizationLoss
from wend.structures.frame import resize_and_crop

FREEZE_AT = Range("0 (none) .. 5 (the whole backbone)", lambda x: 0 <= x <= 5)
CHANNEL_MEANS = Range("a number for each of 3 channels", lambda x: len(x) == 3)
CHANNEL_DEVIATIONS = Range(
    "a number > 0 for each of 3 channels", lambda x: len(x) == 3 and all(one > 0 for one in x)
)
NODES = {"DATA": DATA, **DETECTORS}

# Where a detector's number of foreground classes is set; the others have one.
CLASS_ENTRIES = {
    "BinaryFCOS": ("WEND", "FCOS", "NUM_CLASSES"),
    "BinaryRCNN": ("MODEL", "ROI_HEADS", "NUM_CLASSES"),
    "CLN": ("MODEL", "ROI_HEADS", "NUM_CLASSES"),
}


def add_wend_config(cfg: CfgNode) -> None:
    """Add the ``WEND`` node with its defaults to a config."""
    node = type(cfg)
    cfg.WEND = node()
    add_entries(cfg.WEND, COMMON)
    for name, entries in NODES.items():
        cfg.WEND[name] = node()
        add_entries(cfg.WEND[name], entries)


def number_of_classes(cfg: CfgNode) -> int:
    """Foreground classes of the detector; with more than one, boxes carry the image's class."""
    value = cfg
    for part in CLASS_ENTRIES.get(cfg.MODEL.META_ARCHITECTURE, ()):
        value = value[part]
    return 1 if value is cfg else value


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


def check_config(cfg: CfgNode) -> None:
    """Check the entries that can be checked without reading data or building a detector.

    Raises:
        InputError: names the entry, what was expected and what came.
    """
    wend, solver = cfg.WEND, cfg.SOLVER
    check_entries("WEND", wend, COMMON)
    for name, entries in NODES.items():
        check_entries(f"WEND.{name}", wend[name], entries)
    _check_sampling(cfg)
    localization_loss(cfg)
    try:
        resize_and_crop(1, 1, wend.RESIZE, wend.CROP)
    except ValueError as error:
        raise InputError(f"config entries WEND.RESIZE and WEND.CROP: {error}") from None
    for name, value, allowed in (
        ("SOLVER.BASE_LR", solver.BASE_LR, POSITIVE),
        ("SOLVER.IMS_PER_BATCH", solver.IMS_PER_BATCH, at_least(1)),
        ("SOLVER.WARMUP_ITERS", solver.WARMUP_ITERS, at_least(0)),
        ("MODEL.BACKBONE.FREEZE_AT", cfg.MODEL.BACKBONE.FREEZE_AT, FREEZE_AT),
        ("MODEL.RESNETS.DEPTH", cfg.MODEL.RESNETS.DEPTH, one_of(18, 34, 50, 101, 152)),
        ("MODEL.PIXEL_MEAN", cfg.MODEL.PIXEL_MEAN, CHANNEL_MEANS),
        ("MODEL.PIXEL_STD", cfg.MODEL.PIXEL_STD, CHANNEL_DEVIATIONS),
    ):
        require(name, value, allowed.text, allowed.holds(value))
    _check_protocols(wend.PROTOCOLS)
    try:
        choose_metrics(wend.METRICS)
    except InputError as error:
        raise InputError(f"config entry WEND.METRICS: {error}") from None
    most = cfg.TEST.DETECTIONS_PER_IMAGE
    require(
        "WEND.MAX_BOXES",
        wend.MAX_BOXES,
        f"1 .. TEST.DETECTIONS_PER_IMAGE ({most})",
        1 <= wend.MAX_BOXES <= most,
    )
    if wend.CLASS_PREDICTIONS and not Path(wend.CLASS_PREDICTIONS).is_file():
        raise MissingFileError(
            f"config entry WEND.CLASS_PREDICTIONS: there is no file {wend.CLASS_PREDICTIONS}"
        )


def _check_sampling(cfg: CfgNode) -> None:
    """Raise InputError for entries of the RPN or the R-CNN that leave no samples or no boxes."""
    for name, entries in DETECTRON2_NODES.items():
        check_entries(f"MODEL.{name}", cfg.MODEL[name], entries)
    for name, labels in (("RPN", (0, -1, 1)), ("ROI_HEADS", (0, 1))):
        node = cfg.MODEL[name]
        labels = node.get("IOU_LABELS", labels)  # the torchvision engine's cannot be changed
        require(
            f"MODEL.{name}.IOU_THRESHOLDS",
            node.IOU_THRESHOLDS,
            f"{len(labels) - 1}, between the labels {list(labels)}",
            len(node.IOU_THRESHOLDS) == len(labels) - 1,
        )
        positives = int(node.POSITIVE_FRACTION * node.BATCH_SIZE_PER_IMAGE)
        require(
            f"MODEL.{name}.POSITIVE_FRACTION",
            node.POSITIVE_FRACTION,
            f"one positive or more among the {node.BATCH_SIZE_PER_IMAGE} of BATCH_SIZE_PER_IMAGE",
            positives >= 1,
        )


def _check_protocols(names: Sequence[str]) -> None:
    """Raise InputError unless the protocols are known, distinct and at least one."""
    for name in names:
        try:
            get_protocol(str(name))
        except InputError as error:
            raise InputError(f"config entry WEND.PROTOCOLS: {error}") from None
    distinct = len(names) > 0 and len(set(names)) == len(names)
    require("WEND.PROTOCOLS", names, "distinct protocols, at least one", distinct)
