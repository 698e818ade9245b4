"""A config -> everything that a run needs, resolved once and handed on.

Data sets are looked up by name here and nowhere below: engines, loaders and evaluators receive the
objects. Class predictions are read once, content-blind boxes chosen once, caches opened once, and
wrong input is reported before anything is written.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fvcore.common.config import CfgNode

from wend.classes.predictions import read_class_predictions
from wend.config import view_of
from wend.config.entries import require
from wend.datasets.catalog import DataSets
from wend.datasets.declared import lasting_name
from wend.datasets.parts import hold_out
from wend.datasets.plausible_truth import check_plausible
from wend.devices import choose_device
from wend.errors import BadImageError, InputError, MissingFileError, some
from wend.evaluation.evaluation import MORE_KS, Evaluation
from wend.evaluation.fixed_boxes import FixedBoxes
from wend.evaluation.metrics import choose_metrics
from wend.evaluation.protocols import get_protocol
from wend.event_sinks import require_packages
from wend.files import write_json
from wend.loading.bad_images import TO_DO, find_listed, read_quarantine
from wend.loading.fill_cache import open_caches
from wend.loading.image_cache import ImageCache
from wend.loading.selection import Selection
from wend.modeling.arithmetic import check_precision
from wend.modeling.initial_weights import initial_weights, settle_pixels
from wend.processes import of_main
from wend.pseudo_boxes.report import KINDS
from wend.randomness import settled_seed
from wend.run_files import MACHINE_FILE, WEIGHTS, checkpoint_files
from wend.structures.data_set import DataSet
from wend.structures.records import EXIF
from wend.structures.unit_scores import describe_scores

# Detectron2's, which a config that counts in epochs has
DEFAULT_MAX_ITER, DEFAULT_EVAL_PERIOD, DEFAULT_CHECKPOINT_PERIOD = 40000, 0, 5000
BOXES_TO_LEARN = {"pseudo_boxes": "the pseudo boxes", "gt_boxes": "the TRUE boxes (an upper bound)"}
logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TrainingData:
    """The training images of a run.

    Attributes:
        images: the images with the boxes to learn from, without those in quarantine.
        caches: caches of resized images, one for each data set; none without ``WEND.DATA.CACHE``.
        most_bad: images that may be skipped because they cannot be read.
        held_out: images that are not among them, to compute the losses on; None for none.
    """

    images: Selection
    caches: tuple[ImageCache, ...]
    most_bad: int
    held_out: Selection | None = None

    @property
    def names(self) -> str:
        """The data sets, for messages."""
        return ", ".join(data_set.name for data_set in self.images.data_sets)

    @property
    def exif(self) -> str:
        """Their policy on EXIF's orientation; the default where data sets have different ones."""
        policies = {data_set.exif for data_set in self.images.data_sets}
        return policies.pop() if len(policies) == 1 else EXIF[0]

    @property
    def left_out(self) -> dict[str, int]:
        """Why boxes of the sources are no boxes to learn from, in words, and how many of them."""
        counts: Counter[str] = Counter()
        for data_set in self.images.data_sets:
            counts.update(data_set.left_out)
        return {KINDS[kind]: number for kind, number in counts.items()}


@dataclass(frozen=True, eq=False)
class TestData:
    """A data set that a detector is evaluated on.

    Attributes:
        evaluation: scores its detections.
        caches: caches of resized images; none without ``WEND.DATA.CACHE``.
        count_bad_as_wrong: an image that cannot be read has no detection, instead of an error.
    """

    evaluation: Evaluation
    caches: tuple[ImageCache, ...]
    count_bad_as_wrong: bool

    @property
    def data_set(self) -> DataSet:
        """The images, with their truth."""
        return self.evaluation.data_set


@dataclass(frozen=True, eq=False)
class Run:
    """A config with all that it names.

    Attributes:
        cfg: frozen; its schedule is in iterations, files of declarations have absolute paths.
        training: None for a run that only evaluates.
        tests: the test sets by their own names, in the config's order.
        seed_was_drawn: whether the config left the seed open (SEED -1) and ``cfg`` has one that was
            drawn; a training that is resumed takes that of its checkpoint instead.
    """

    cfg: CfgNode
    training: TrainingData | None
    tests: Mapping[str, TestData]
    seed_was_drawn: bool = False


def set_seed(cfg: CfgNode, seed: int) -> None:
    """Set ``SEED`` of a frozen config: that of the training that is resumed."""
    cfg.defrost()
    cfg.SEED = seed
    cfg.freeze()


def write_machine(output_dir: str | Path, engine: str, device: str) -> None:
    """Write ``machine.json``: where a run runs, which no other of its files says.

    Args:
        engine: the engine's name.
        device: the device that its model is on, as torch names it.
    """
    if device.startswith("cuda"):
        device = f"{device}, {torch.cuda.get_device_name(torch.device(device))}"
    machine = {
        "engine": engine,
        "device": device,
        "processor": f"{os.cpu_count()} CPU cores, {torch.get_num_threads()} threads",
        "system": platform.platform(),
    }
    write_json(Path(output_dir) / MACHINE_FILE, machine, indent=1)


def value_of(cfg: CfgNode, entry: str) -> Any:
    """The value of a config entry by its whole name, such as ``MODEL.BACKBONE.NAME``."""
    return reduce(getitem, entry.split("."), cfg)


def check_arguments(args: argparse.Namespace, cfg: CfgNode) -> None:
    """Raise InputError for arguments of ``train_net.py`` that do not fit the config."""
    resumes = args.resume and bool(checkpoint_files(cfg.OUTPUT_DIR))
    if args.eval_only and args.resume and not resumes and not cfg.MODEL.WEIGHTS:
        raise InputError(
            f"--eval-only --resume: {cfg.OUTPUT_DIR} holds no checkpoint ({WEIGHTS}), and "
            f"MODEL.WEIGHTS names none"
        )
    if args.eval_only and not cfg.MODEL.WEIGHTS and not args.resume:
        raise InputError(
            "--eval-only: config entry MODEL.WEIGHTS is empty; name the checkpoint to evaluate, "
            "such as MODEL.WEIGHTS output/model_final.pth"
        )


def check_shares(cfg: CfgNode, processes: int) -> None:
    """Raise InputError for a batch that so many processes cannot share equally.

    Each of them takes its share in ``WEND.ACCUMULATE`` micro-batches of equal size. With
    Detectron2's ``SOLVER.REFERENCE_WORLD_SIZE`` it is the batch of that many, and is scaled.
    """
    processes = cfg.SOLVER.get("REFERENCE_WORLD_SIZE") or processes
    batch, micro = cfg.SOLVER.IMS_PER_BATCH, cfg.WEND.ACCUMULATE or 1  # 0: any that divides
    expected = f"a multiple of the {processes} processes that share it"
    if micro > 1:
        expected = f"a multiple of {processes * micro}"
        expected += f" ({processes} processes of WEND.ACCUMULATE {micro} micro-batches each)"
    require("SOLVER.IMS_PER_BATCH", batch, expected, batch % (processes * micro) == 0)


def resolve(
    cfg: CfgNode, data_sets: DataSets, *, train: bool = True, needs_weights: bool = True
) -> Run:
    """Read what a config names: data sets, quarantine, caches, class predictions, fixed boxes.

    Args:
        cfg: checked entries (:func:`wend.config.check_config`).
        data_sets: the data sets by name.
        train: whether the run trains; otherwise ``DATASETS.TRAIN`` only gives fixed boxes.
        needs_weights: whether the file MODEL.WEIGHTS has to be there; a checkpoint that a training
            goes on from has its own.

    Raises:
        InputError: names the config entry, data set or file that is wrong.
    """
    if needs_weights:
        _check_weights(cfg)
    if not cfg.DATASETS.TEST:
        raise InputError("config entry DATASETS.TEST: expected at least one data set, got none")
    if train:
        require_packages(cfg.WEND.LOGGERS)
    cfg = cfg.clone()
    cfg.defrost()
    settle_pixels(cfg)
    cfg.DATASETS.TRAIN = tuple(map(lasting_name, cfg.DATASETS.TRAIN))
    cfg.DATASETS.TEST = tuple(map(lasting_name, cfg.DATASETS.TEST))
    settle_device(cfg)
    check_precision(cfg, train=train)
    _check_feature_cache(cfg, train=train)
    seed_was_drawn = train and settle_seed(cfg)
    training = resolve_training(cfg, data_sets) if train else None
    tests = resolve_tests(cfg, data_sets, training)
    if training is not None:
        cfg = resolve_schedule(cfg, len(training.images))
    cfg.freeze()
    return Run(cfg, training, tests, seed_was_drawn)


def _check_feature_cache(cfg: CfgNode, *, train: bool) -> None:
    """Raise InputError where maps cannot be kept, or never come again."""
    if not cfg.WEND.DATA.FEATURE_CACHE:
        return
    freeze_at, views = cfg.MODEL.BACKBONE.FREEZE_AT, cfg.WEND.DATA.VIEWS
    whole = "5, the whole backbone, where WEND.DATA.FEATURE_CACHE is set"
    require("MODEL.BACKBONE.FREEZE_AT", freeze_at, whole, freeze_at == 5)
    again = "1 or more where WEND.DATA.FEATURE_CACHE is set: new crops never come again"
    require("WEND.DATA.VIEWS", views, again, views > 0 or not train)


def settle_seed(cfg: CfgNode) -> bool:
    """Make ``SEED`` one that is drawn where the config leaves it open; whether it was.

    Processes that are there already have the first one's.
    """
    if cfg.SEED >= 0:
        return False
    cfg.SEED = of_main(lambda: settled_seed(cfg.SEED))
    logger.info("SEED %d was drawn for this run; the same entry repeats it", cfg.SEED)
    return True


def settle_device(cfg: CfgNode) -> None:
    """Make ``MODEL.DEVICE`` the CPU where it is a GPU and there is none; InputError if unusable."""
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        logger.info("MODEL.DEVICE is %s but there is no GPU: using the CPU", cfg.MODEL.DEVICE)
        cfg.MODEL.DEVICE = "cpu"
    choose_device(cfg.MODEL.DEVICE, "config entry MODEL.DEVICE")


def resolve_tests(
    cfg: CfgNode, data_sets: DataSets, training: TrainingData | None = None
) -> dict[str, TestData]:
    """The test sets of a config, by their own names.

    Class predictions are read once for each data set, fixed boxes chosen once for all of them.

    Args:
        cfg: ``DATASETS``, ``WEND``, ``TEST``.
        data_sets: the data sets by name.
        training: the training sets, which fixed boxes are chosen on; read here if they are not
            given and can be.

    Raises:
        InputError: names the data set or file that is wrong.
    """
    wrong = cfg.WEND.DATA.ON_BAD_TEST_IMAGE == "wrong"
    protocols = [get_protocol(name) for name in cfg.WEND.PROTOCOLS]
    metrics = choose_metrics(cfg.WEND.METRICS)
    baseline, why_not = _fixed_boxes(cfg, data_sets, training)
    tests = {}
    for name in cfg.DATASETS.TEST:
        data_set = _look_up(name, cfg, data_sets)
        _check_headers(data_set, wrong, {})
        path = cfg.WEND.CLASS_PREDICTIONS
        evaluation = Evaluation(
            data_set=data_set,
            protocols=protocols,
            max_boxes=cfg.WEND.MAX_BOXES,
            class_predictions=read_class_predictions(path, data_set) if path else None,
            view=view_of(cfg).name,
            classes_file=path,
            more_ks=[*(k for k in MORE_KS if k <= cfg.TEST.DETECTIONS_PER_IMAGE), None],
            metrics=metrics,
            **_apart(baseline, why_not, data_set),
        )
        caches = _open_caches(cfg, [data_set], data_sets)
        tests[data_set.name] = TestData(evaluation, caches, wrong)
    return tests


def _look_up(name: str, cfg: CfgNode, data_sets: DataSets) -> DataSet:
    """The data set of a name; InputError for boxes and sizes that cannot be what they should be."""
    implausible = cfg.WEND.DATA.IMPLAUSIBLE
    data_set = data_sets.get(name, keep_unreadable=True, implausible=implausible)
    check_plausible(data_set, implausible)
    return data_set


def _fixed_boxes(
    cfg: CfgNode, data_sets: DataSets, training: TrainingData | None
) -> tuple[FixedBoxes | None, str]:
    """Content-blind boxes of the training sets, for all evaluations; or why there are none."""
    names = cfg.DATASETS.TRAIN
    if not names:
        return None, "not computed (no training data set is named)"
    try:
        chosen = training.images.data_sets if training else [data_sets.get(n) for n in names]
    except InputError as error:  # names paths, which do not belong into the files
        logger.info("no fixed boxes beside the numbers: %s", error)
        return None, f"not computed ({', '.join(Path(n).name for n in names)} cannot be read here)"
    try:
        return FixedBoxes.from_training(chosen), ""
    except InputError as error:
        return None, f"not computed ({error})"


def _apart(baseline: FixedBoxes | None, why_not: str, scored: DataSet) -> dict[str, Any]:
    """The fixed boxes as an evaluation takes them; none where they know images that are scored."""
    try:
        if baseline is not None:
            baseline.check_apart(scored)
    except InputError as error:
        baseline, why_not = None, f"not computed ({error})"
    return {"baseline": baseline, "why_no_baseline": why_not}


def _check_weights(cfg: CfgNode) -> None:
    weights = initial_weights(cfg)
    if weights and "://" not in weights and not Path(weights).is_file():
        raise MissingFileError(f"config entry MODEL.WEIGHTS: there is no file {weights}")


def resolve_training(cfg: CfgNode, data_sets: DataSets) -> TrainingData:
    """The images that a config trains on, without those in quarantine; what is left out is logged.

    Raises:
        InputError: no image has a box to learn from, or headers that cannot be read.
        BadImageError: an unreadable header that the config does not allow for.
    """
    data = cfg.WEND.DATA
    listed = read_quarantine(data.QUARANTINE)
    chosen, leave_out = [], []
    for name in cfg.DATASETS.TRAIN:
        data_set = _look_up(name, cfg, data_sets)
        matched = find_listed(data_set, listed)
        _check_headers(data_set, data.ON_BAD_IMAGE == "skip", matched)
        chosen.append(data_set)
        leave_out.append(np.array(sorted(matched), dtype=np.int64))
    only_with_boxes = cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
    _log_boxes(chosen, only_with_boxes)
    for data_set in chosen:
        _check_names(data_set, data.MAX_LOST_SHARE)
    with_box = (data_set.training_boxes.with_boxes for data_set in chosen)
    if not any(len(np.setdiff1d(*each)) for each in zip(with_box, leave_out, strict=True)):
        names = ", ".join(data_set.name for data_set in chosen)
        raise InputError(
            f"config entry WEND.DATA.QUARANTINE: {data.QUARANTINE} lists every image of {names} "
            f"that has a box to train on"
        )
    _log_scores(chosen, is_weighed=bool(cfg.WEND.IMAGE_WEIGHTS or cfg.WEND.SAMPLE_WEIGHTS))
    images = Selection(chosen, with_boxes=only_with_boxes, leave_out=leave_out)
    if data.QUARANTINE:
        usable = len(Selection(chosen, with_boxes=only_with_boxes))
        logger.log(
            logging.INFO if len(images) < usable else logging.WARNING,
            "%s lists %d images; %d of %d training images are left out",
            *(data.QUARANTINE, len(listed), usable - len(images), usable),
        )
    caches = _open_caches(cfg, chosen, data_sets, cfg.WEND.DATA.DECODER)
    images, held_out = _hold_out(cfg, images)
    return TrainingData(images, caches, most_to_skip(cfg, len(images)), held_out)


def _hold_out(cfg: CfgNode, images: Selection) -> tuple[Selection, Selection | None]:
    """The images to train on, and those to hold out; a file of two data sets is on one side."""
    share = cfg.WEND.HELD_OUT
    if not share:
        return images, None
    files = np.unique(images.file_names, return_inverse=True)[1].reshape(-1)
    held_out = hold_out(files, share, max(cfg.SEED, 0))
    if not held_out.any():
        raise InputError(
            f"config entry WEND.HELD_OUT: expected 0.0, as there is a single image to train on, "
            f"got {share}"
        )
    logger.info(
        "WEND.HELD_OUT %g: %d of %d training images are held out (drawn by SEED %d)",
        *(share, held_out.sum(), len(images), max(cfg.SEED, 0)),
    )
    return images.part(~held_out), images.part(held_out)


def _log_scores(data_sets: Sequence[DataSet], *, is_weighed: bool) -> None:
    """What is to be said of the boxes' scores, and that there are none where losses are weighed."""
    for data_set in data_sets:
        scores = data_set.training_boxes.scores
        if said := describe_scores(scores):
            logger.info("%s: %s", data_set.name, said)
        if scores is None and is_weighed:
            logger.info(
                "%s: its %s have no scores; weights that are made of scores take each as 1",
                *(data_set.name, data_set.train_on),
            )


def _open_caches(
    cfg: CfgNode, chosen: Sequence[DataSet], data_sets: DataSets, decoder: str = "pillow"
) -> tuple[ImageCache, ...]:
    """The caches of resized images that the config asks for."""
    view, folder = view_of(cfg), cfg.WEND.DATA.CACHE
    side, padded = view.resize, view.pads
    return open_caches(folder, chosen, side, data_sets.root, padded=padded, decoder=decoder)


def most_to_skip(cfg: CfgNode, total: int) -> int:
    """How many of ``total`` training images may be skipped because they cannot be read."""
    data = cfg.WEND.DATA
    return int(data.MAX_BAD_SHARE * total + 1e-9) if data.ON_BAD_IMAGE == "skip" else 0


def _check_headers(data_set: DataSet, allowed: bool, listed: Mapping[int, str]) -> None:
    """Raise the error of unreadable headers unless they are allowed for or listed; log them."""
    unreadable = data_set.unreadable
    if not unreadable:
        return
    if not allowed and not listed:
        data_set.require_readable()
    unlisted = [index for index in unreadable if index not in listed]
    if unlisted and not allowed:
        raise BadImageError(f"{unreadable[unlisted[0]]}; {TO_DO}")
    names = [data_set.file_names[index] for index in unreadable]
    logger.warning(
        "%s: the headers of %d images cannot be read (%s)", data_set.name, len(names), some(names)
    )


def _log_boxes(data_sets: Sequence[DataSet], only_with_boxes: bool) -> None:
    """Log how many training images have a box; InputError if none has."""
    with_box = [len(data_set.training_boxes.with_boxes) for data_set in data_sets]
    for data_set, number in zip(data_sets, with_box, strict=True):
        logger.info(
            "%s: training on %s of %d images; %d images without one are %s",
            data_set.name,
            BOXES_TO_LEARN[data_set.train_on],
            number,
            len(data_set) - number,
            "left out" if only_with_boxes else "kept, as images without an object",
        )
    if not sum(with_box):
        names = ", ".join(data_set.name for data_set in data_sets)
        raise InputError(
            f"config entry DATASETS.TRAIN: no image of {names or 'an empty list'} has a box to "
            f"train on; name a data set with pseudo boxes, such as cub_train_c2am"
        )


def _check_names(data_set: DataSet, max_lost: float) -> None:
    """Raise InputError where boxes seek images and images seek boxes: their names do not match.

    Either alone is usual: boxes of a larger data set, or images in which nothing was found.
    """
    surplus, total = data_set.left_out.get("surplus", 0), len(data_set)
    matched = len(data_set.training_boxes.with_boxes)
    if total - matched > max_lost * total and surplus > max_lost * (surplus + matched):
        raise InputError(
            f"{data_set.name}: {total - matched} of {total} images have no box, and {surplus} of "
            f"the {surplus + matched} images of the box file are none of these; "
            f"WEND.DATA.MAX_LOST_SHARE allows {100 * max_lost:g} % of both. Are some of the names "
            f"written otherwise? The table above names the first of each"
        )


def iterations_per_epoch(cfg: CfgNode, num_images: int) -> int:
    """Iterations in which every training image is seen about once."""
    return math.ceil(num_images / cfg.SOLVER.IMS_PER_BATCH)


def _check_sampler(cfg: CfgNode) -> None:
    """Raise InputError for a sampler of Detectron2's whose passes are not of one length."""
    loader = cfg.DATALOADER
    repeats = loader.get("SAMPLER_TRAIN") == "RepeatFactorTrainingSampler"
    if repeats and loader.REPEAT_THRESHOLD > 0:
        raise InputError(
            "config entries WEND.EPOCHS and DATALOADER.SAMPLER_TRAIN: RepeatFactorTrainingSampler "
            "with REPEAT_THRESHOLD > 0 draws another number of images in each pass; set "
            "WEND.EPOCHS 0 to count in iterations, or REPEAT_THRESHOLD 0.0"
        )


def resolve_schedule(cfg: CfgNode, num_images: int) -> CfgNode:
    """A frozen copy of the config whose lengths are in iterations.

    With ``WEND.EPOCHS`` > 0 one epoch is ``ceil(num_images / SOLVER.IMS_PER_BATCH)`` iterations,
    and SOLVER.MAX_ITER, TEST.EVAL_PERIOD and SOLVER.CHECKPOINT_PERIOD follow from it (evaluation
    and a checkpoint after each epoch). Where they are set already, as in the config that a run
    wrote, they must be the same.

    Args:
        cfg: the config, in epochs or iterations.
        num_images: images that are trained on.

    Raises:
        InputError: the entries contradict each other, or the warm-up is not shorter than the
            training.
    """
    cfg = cfg.clone()
    cfg.defrost()
    epochs = cfg.WEND.EPOCHS
    if epochs > 0:
        _check_sampler(cfg)
        epoch = iterations_per_epoch(cfg, num_images)
        for entry, default, value in (
            ("SOLVER.MAX_ITER", DEFAULT_MAX_ITER, epochs * epoch),
            ("TEST.EVAL_PERIOD", DEFAULT_EVAL_PERIOD, epoch),
            ("SOLVER.CHECKPOINT_PERIOD", DEFAULT_CHECKPOINT_PERIOD, epoch),
        ):
            node, name = entry.split(".")
            if cfg[node][name] not in (default, value):
                raise InputError(
                    f"config entries WEND.EPOCHS ({epochs}) and {entry} ({cfg[node][name]}) both "
                    f"set the schedule, and {epochs} epochs of {num_images} images make {value}; "
                    f"add WEND.EPOCHS 0 to count in iterations, or leave {entry} out"
                )
            cfg[node][name] = value
    if cfg.SOLVER.WARMUP_ITERS >= cfg.SOLVER.MAX_ITER:
        raise InputError(
            f"config entry SOLVER.WARMUP_ITERS: expected fewer than the {cfg.SOLVER.MAX_ITER} "
            f"iterations of the training ({num_images} images, batch {cfg.SOLVER.IMS_PER_BATCH}, "
            f"{epochs} epochs), got {cfg.SOLVER.WARMUP_ITERS}"
        )
    cfg.freeze()
    return cfg
