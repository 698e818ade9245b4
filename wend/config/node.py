"""The ``WEND`` node: made from the tables of entries, checked against them, and read.

Works on any fvcore ``CfgNode``: Detectron2's config and the torchvision engine's own get the same
entries.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode
from torch import nn

from wend.config import (  # noqa: F401  (they register their nodes)
    data,
    detectors,
    noisy_boxes,
    teaching_entries,
)
from wend.config.common import COMMON
from wend.config.detectron2_entries import DETECTRON2_NODES
from wend.config.entries import (
    NODES,
    Table,
    add_entries,
    check_entries,
    require,
)
from wend.errors import InputError, MissingFileError, shown
from wend.evaluation.best import HELD_OUT
from wend.evaluation.metrics import choose_metrics
from wend.evaluation.protocols import get_protocol
from wend.event_sinks import EVENT_SINKS
from wend.losses import (
    CLASSIFICATION_LOSSES,
    IMAGE_WEIGHTS,
    LOSSES,
    NO_LOSS,
    OWN_LOSS,
    SAMPLE_WEIGHTS,
    LocalizationLoss,
)
from wend.modeling.initial_weights import settled
from wend.registry import FunctionRegistry
from wend.schedules import SCHEDULES, Scheduled
from wend.structures.records import MAX_MEGAPIXELS
from wend.structures.view import View
from wend.teaching.refine import REFINEMENTS, Refinement
from wend.teaching.teacher import Teaching
from wend.yaml_files import leaves

EARLIER = {  # entries of earlier versions: the value that is the default now, and the others'
    "WEND.DETACH_WEIGHT": (False, "WEND.WE.WEIGHT_GRADIENT detach"),
}


ENTRIES = {entry.name: entry for entry in COMMON}


def wend_tables() -> dict[str, Table]:
    """The tables of ``WEND`` and of its nodes, the user's registered ones too, by name."""
    return {"WEND": COMMON, **{f"WEND.{name}": NODES.get(name) for name in NODES}}


def add_wend_config(cfg: CfgNode) -> None:
    """Add the ``WEND`` node with its defaults to a config, with the user's registered nodes."""
    cfg.WEND = type(cfg)()
    add_entries(cfg.WEND, COMMON)
    add_registered_nodes(cfg)
    for name in EARLIER:  # the default value, which stands in every run's config, is left out
        cfg.register_deprecated_key(name)


def add_registered_nodes(cfg: CfgNode) -> None:
    """Add the nodes of :func:`wend.config.config_entries` that ``WEND`` does not have yet."""
    for name in NODES:
        if name not in cfg.WEND:
            cfg.WEND[name] = type(cfg)()
            add_entries(cfg.WEND[name], NODES.get(name))
        elif not isinstance(cfg.WEND[name], CfgNode):
            raise InputError(f"config node {name!r}: WEND.{name} is an entry; choose another name")


def localization_loss(cfg: CfgNode) -> LocalizationLoss:
    """The loss that the ``WEND`` node chooses.

    Raises:
        InputError: names the entry that does not fit.
    """
    wend = cfg.WEND
    loss_parameters = _parameters(LOSSES, "LOSS", wend.LOSS, wend)
    cls_parameters = _parameters(CLASSIFICATION_LOSSES, "CLS_LOSS", wend.CLS_LOSS, wend)
    sample_weights, image_weights = (
        {name: _parameters(registry, entry, name, wend) for name in wend[entry]}
        for entry, registry in (
            ("SAMPLE_WEIGHTS", SAMPLE_WEIGHTS),
            ("IMAGE_WEIGHTS", IMAGE_WEIGHTS),
        )
    )
    try:
        return LocalizationLoss(
            wend.LOSS,
            _scheduled(wend, "ETA"),
            loss_parameters,
            factor=_scheduled(wend, "UNSUP_FACTOR"),
            cls_loss=wend.CLS_LOSS,
            cls_parameters=cls_parameters,
            sample_weights=sample_weights,
            image_weights=image_weights,
        )
    except InputError:
        raise
    except ValueError as error:  # two entries that do not fit each other
        raise InputError(f"config entry WEND.LOSS {wend.LOSS}: {error}") from None


def teaching_of(cfg: CfgNode) -> Teaching | None:
    """How the average of the weights teaches; None where the config asks for no teacher.

    Raises:
        InputError: names the entry that does not fit.
    """
    wend, teacher = cfg.WEND, cfg.WEND.TEACHER
    scheduled = _scheduled(wend, "WEIGHT", "TEACHER")
    with_schedule = {**wend, "TEACHER": {**teacher, "WEIGHT": scheduled}}
    try:
        refinement = Refinement(
            wend.REFINE, _parameters(REFINEMENTS, "REFINE", wend.REFINE, with_schedule)
        )
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"config entry WEND.REFINE {wend.REFINE}: {error}") from None
    if refinement.is_none and not teacher.ENABLED:
        return None
    asking = "WEND.TEACHER.ENABLED True" if refinement.is_none else f"WEND.REFINE {wend.REFINE}"
    require(
        "WEND.EMA.DECAY",
        wend.EMA.DECAY,
        f"> 0, such as 0.999, with {asking}: the average of the weights is the teacher",
        wend.EMA.DECAY > 0,
    )
    flip = cfg.INPUT.RANDOM_FLIP if teacher.FLIP else ""
    require(
        "WEND.TEACHER.FLIP",
        teacher.FLIP,
        "False, where INPUT.RANDOM_FLIP is none: the detector has never seen a mirrored image",
        flip != "none",
    )
    return Teaching(
        refinement,
        start=teacher.START,
        flip=flip,
        closer_look=teacher.CLOSER_LOOK,
        min_score=teacher.MIN_SCORE,
        score_quantile=teacher.SCORE_QUANTILE,
    )


def _scheduled(wend: CfgNode, name: str, node: str = "") -> Scheduled:
    """The number of an entry that goes by ``<name>_SCHEDULE`` to ``<name>_END``.

    Args:
        node: the node of ``WEND`` that the three are of; empty: its own.
    """
    entries, prefix = (wend[node], f"{node}.") if node else (wend, "")
    schedule = f"{name}_SCHEDULE"
    parameters = _parameters(SCHEDULES, f"{prefix}{schedule}", entries[schedule], wend)
    try:
        return Scheduled(entries[name], entries[f"{name}_END"], entries[schedule], parameters)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"config entry WEND.{prefix}{name}: {error}") from None


def _parameters(
    registry: FunctionRegistry[Callable[..., Any]], entry: str, name: str, wend: Mapping[str, Any]
) -> dict[str, Any]:
    """Keyword-only parameters of the function that an entry names, from the entries of their names.

    Args:
        entry: the entry, in the ``WEND`` node.
        name: the function, which it names.
    """
    try:
        function = registry.get(name)
    except InputError as error:
        raise type(error)(f"config entry WEND.{entry}: {error}") from error
    entries: dict[str, Any] = {}
    for node in reversed(registry.nodes(function)):  # the first goes before the others
        if node and node not in wend:
            raise InputError(
                f"{function.__name__}: its node {node!r} has no entries; call "
                f"config_entries({node!r}, [Entry(...), ...]) of wend.config"
            )
        entries |= wend[node] if node else wend
    keywords = (
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    )
    return {key: entries[key.upper()] for key in keywords if key.upper() in entries}


def view_of(cfg: CfgNode) -> View:
    """``WEND.VIEW``, ``WEND.RESIZE`` and ``WEND.CROP``; ValueError where they do not fit."""
    return View(cfg.WEND.VIEW, cfg.WEND.RESIZE, cfg.WEND.CROP)


def crop_arguments(cfg: CfgNode) -> dict[str, Any]:
    """Keyword arguments of :class:`wend.loading.crop.CropMapper` that a config sets.

    Padding has the mean colour of the detector's input, so that it is 0 once normalized.
    """
    mean = settled(cfg).MODEL.PIXEL_MEAN
    mean = mean if cfg.INPUT.FORMAT == "RGB" else mean[::-1]
    return {
        "resize": cfg.WEND.RESIZE,
        "crop": cfg.WEND.CROP,
        "view": cfg.WEND.VIEW,
        "fill": [min(max(round(channel), 0), 255) for channel in mean],
        "flip": cfg.INPUT.RANDOM_FLIP,
        "mirror": cfg.WEND.MIRROR,
        # files that an earlier version exported do not state it
        "max_megapixels": cfg.WEND.DATA.get("MAX_MEGAPIXELS", MAX_MEGAPIXELS),
        "decoder": cfg.WEND.DATA.get("DECODER", "pillow"),
        "views": cfg.WEND.DATA.get("VIEWS", 0),
    }


def check_binary(entry: str, num_classes: int, loss: LocalizationLoss) -> None:
    """Raise InputError unless the loss can be used with so many foreground classes."""
    if num_classes != 1 and loss.asks_for_samples:
        raise InputError(
            f"config entry {entry}: {loss.asks_for_samples} needs one foreground class, got "
            f"{num_classes}; set it to 1 or leave that out (WEND.LOSS none)"
        )


def _check_ignores_samples(loss: LocalizationLoss, model: nn.Module) -> None:
    """Raise InputError where L_unsup sums ignored samples, and the detector ignores none.

    A detector that does says so by an attribute ``ignores_samples``.
    """
    if loss.parameters.get("samples") == "ignored" and not getattr(model, "ignores_samples", False):
        raise InputError(
            f"config entry WEND.WE.SAMPLES: {type(model).__name__} takes each sample for "
            f"foreground or background and ignores none, so that the L_unsup of 'ignored' would be "
            f"0; set it to 'all' or 'unassigned' (docs/weighted_entropy.md)"
        )


def check_carries_loss(cfg: CfgNode, model: nn.Module) -> None:
    """Raise InputError unless a detector has the L_unsup and the η that are asked for."""
    loss = getattr(model, "localization_loss", None)
    if isinstance(loss, LocalizationLoss):
        _check_ignores_samples(loss, model)
        return
    wend = cfg.WEND
    is_eta = wend.ETA != 1 or wend.ETA_SCHEDULE != "constant"
    asked = {
        "LOSS": wend.LOSS if wend.LOSS != NO_LOSS else "η" if is_eta else "",
        "CLS_LOSS": wend.CLS_LOSS if wend.CLS_LOSS != OWN_LOSS else "",
        "SAMPLE_WEIGHTS": ", ".join(wend.SAMPLE_WEIGHTS),
        "IMAGE_WEIGHTS": ", ".join(wend.IMAGE_WEIGHTS),
    }
    for entry, name in asked.items():
        if name:
            instead = "none and WEND.ETA 1.0" if entry == "LOSS" else repr(ENTRIES[entry].default)
            raise InputError(
                f"config entry WEND.{entry}: {cfg.MODEL.META_ARCHITECTURE} is not one of WEND's "
                f"detectors and has no {name}; set WEND.{entry} {instead}, or another "
                f"MODEL.META_ARCHITECTURE, or let it hold a localization_loss (docs/extend.md)"
            )


def _check_sizes_of_numbers(cfg: CfgNode) -> None:
    """Refuse whole numbers that no float, tensor or generator holds."""
    for name, value in leaves(cfg):
        if isinstance(value, int) and abs(value) >= 2**63:
            expected = "a whole number of at most 63 bits"
            raise InputError(f"config entry {name}: expected {expected}, got {shown(value)}")


def check_config(cfg: CfgNode) -> None:
    """Check the entries that can be checked without reading data or building a detector.

    Raises:
        InputError: names the entry, the value that was expected and the one that came.
    """
    wend = cfg.WEND
    _check_sizes_of_numbers(cfg)
    for name in ("TRAIN", "TEST"):
        names = cfg.DATASETS[name]
        right = all(isinstance(each, str) and each.strip() for each in names)
        require(f"DATASETS.{name}", names, "names of data sets", right)
    check_entries("WEND", wend, COMMON)
    for name in NODES:
        if name in wend:  # it may have been registered after the config was made
            check_entries(f"WEND.{name}", wend[name], NODES.get(name))
    _check_detectron2s(cfg)
    localization_loss(cfg)
    agreement = "teacher_agreement"
    require(
        "WEND.IMAGE_WEIGHTS",
        wend.IMAGE_WEIGHTS,
        f"no {agreement} where there is no teacher (set WEND.TEACHER.ENABLED True, or WEND.REFINE)",
        teaching_of(cfg) is not None or agreement not in wend.IMAGE_WEIGHTS,
    )
    factor = wend.UNSUP_FACTOR_SCHEDULE != "constant" or wend.UNSUP_FACTOR != 1
    require(
        "WEND.UNSUP_FACTOR",
        wend.UNSUP_FACTOR,
        "1.0, constant, where WEND.LOSS is none: there is no L_unsup to multiply",
        wend.LOSS != NO_LOSS or not factor,
    )
    try:
        view_of(cfg)
    except ValueError as error:
        raise InputError(f"config entries WEND.RESIZE and WEND.CROP: {error}") from None
    _check_protocols(wend.PROTOCOLS)
    try:
        choose_metrics(wend.METRICS)
    except InputError as error:
        raise InputError(f"config entry WEND.METRICS: {error}") from None
    for name in wend.LOGGERS:
        try:
            EVENT_SINKS.get(name)
        except InputError as error:
            raise InputError(f"config entry WEND.LOGGERS: {error}") from None
    _check_choice_of_the_best(wend)
    _check_accumulation(wend)
    require(
        "WEND.PRECISION",
        wend.PRECISION,
        "bfloat16, float16 or none, where SOLVER.AMP.ENABLED is True (or set that False)",
        wend.PRECISION != "float32" or not cfg.SOLVER.AMP.ENABLED,
    )
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


def _check_accumulation(wend: CfgNode) -> None:
    """Raise InputError for what compares the images of a whole batch, which then is in parts."""
    if wend.ACCUMULATE == 1:
        return
    drop, quantile = wend.TEACHER_AGREEMENT.DROP, wend.TEACHER.SCORE_QUANTILE
    agreement = "teacher_agreement" in wend.IMAGE_WEIGHTS
    ranked = {"small_loss", "small_loss_samples"}.intersection(wend.SAMPLE_WEIGHTS)
    for entry, value, instead, is_whole in (
        ("SAMPLE_WEIGHTS", wend.SAMPLE_WEIGHTS, "no small_loss", bool(ranked)),
        ("TEACHER_AGREEMENT.DROP", drop, "0.0", agreement and drop > 0),
        ("RCNN.RATIO", wend.RCNN.RATIO, "cap", wend.RCNN.RATIO == "exact"),
        ("TEACHER.SCORE_QUANTILE", quantile, "0.0", quantile > 0),
    ):
        why = f"{instead} with WEND.ACCUMULATE {wend.ACCUMULATE}, as it compares the images of a "
        why += "whole batch and a micro-batch has a part of them (or set WEND.ACCUMULATE 1)"
        require(f"WEND.{entry}", value, why, not is_whole)


def _check_choice_of_the_best(wend: CfgNode) -> None:
    """Raise InputError where KEEP_BEST, EARLY_STOPPING and HELD_OUT do not fit each other."""
    require(
        "WEND.EARLY_STOPPING",
        wend.EARLY_STOPPING,
        "0, where WEND.KEEP_BEST names no number that could stop improving",
        wend.KEEP_BEST != "" or wend.EARLY_STOPPING == 0,
    )
    require(
        "WEND.KEEP_BEST",
        wend.KEEP_BEST,
        "no loss on a held-out part, where WEND.HELD_OUT is 0 (such as WEND.HELD_OUT 0.1)",
        wend.HELD_OUT > 0 or not wend.KEEP_BEST.startswith(f"{HELD_OUT}/"),
    )


def _check_detectron2s(cfg: CfgNode) -> None:
    """Raise InputError for entries of Detectron2's that are out of range or leave no samples."""
    for name, entries in DETECTRON2_NODES.items():
        check_entries(name, reduce(getitem, name.split(".") if name else (), cfg), entries)
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
