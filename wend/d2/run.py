"""``train_net.py`` on Detectron2: config, processes, then train or evaluate."""

from __future__ import annotations

import argparse
import logging
import socket
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import (
    ANCHOR_GENERATOR_REGISTRY,
    BACKBONE_REGISTRY,
    META_ARCH_REGISTRY,
    PROPOSAL_GENERATOR_REGISTRY,
    ROI_HEADS_REGISTRY,
    RPN_HEAD_REGISTRY,
    build_model,
)
from detectron2.utils import comm

import wend.d2  # noqa: F401  (registers detectors and data sets, also in spawned processes)
from wend.config import add_wend_config, check_carries_loss, merge_config
from wend.config.entries import require
from wend.d2.catalog import detectron2_data_sets
from wend.d2.checkpointer import WENDCheckpointer
from wend.d2.config_checks import without_effect
from wend.d2.evaluation import check_results, evaluate
from wend.d2.mapper import WSOLDatasetMapper
from wend.d2.setting_up import set_up
from wend.d2.trainer import Trainer
from wend.errors import InputError
from wend.files import atomic_write
from wend.launch import Processes
from wend.logs import StdoutHandler, let_files_fail
from wend.modeling.feature_cache import remember_frozen
from wend.modeling.undrawn import Undrawn
from wend.processes import gather, is_main, world_size
from wend.run import Run, value_of, write_machine
from wend.run_files import CONFIG_FILE, checkpoint_files
from wend.training.command import load_to_evaluate, resolve_checked, run_command
from wend.user_code import is_own

REGISTRIES = {
    "MODEL.META_ARCHITECTURE": META_ARCH_REGISTRY,
    "MODEL.BACKBONE.NAME": BACKBONE_REGISTRY,
    "MODEL.PROPOSAL_GENERATOR.NAME": PROPOSAL_GENERATOR_REGISTRY,
    "MODEL.RPN.HEAD_NAME": RPN_HEAD_REGISTRY,
    "MODEL.ANCHOR_GENERATOR.NAME": ANCHOR_GENERATOR_REGISTRY,
    "MODEL.ROI_HEADS.NAME": ROI_HEADS_REGISTRY,
}
# Detectron2 looks these up only when the training starts
CHOICES = {
    "SOLVER.LR_SCHEDULER_NAME": (
        "WarmupCosineLR",
        "WarmupMultiStepLR",
        "WarmupStepWithFixedGammaLR",
    ),
    # RandomSubsetTrainingSampler asks for an entry that Detectron2's config does not have
    "DATALOADER.SAMPLER_TRAIN": ("TrainingSampler", "RepeatFactorTrainingSampler"),
}


def default_config() -> CfgNode:
    """Detectron2's config with the ``WEND`` node."""
    cfg = get_cfg()
    add_wend_config(cfg)
    return cfg


def read_config(config_file: str, opts: Sequence[str], imports: Sequence[str] = ()) -> CfgNode:
    """Detectron2's config with the ``WEND`` node, a YAML and ``KEY VALUE`` overrides.

    See :func:`wend.config.merge_config`.
    """
    cfg = default_config()
    merge_config(cfg, config_file, opts, "Neither Detectron2 nor WEND has such an entry", imports)
    return cfg


def setup(args: argparse.Namespace, processes: Processes) -> Run:
    """The run that the arguments name: its config checked, its data read, before anything is built.

    Args:
        processes: those that are to share it.

    Raises:
        InputError: names what is wrong.
    """
    cfg = read_config(args.config_file, args.opts, args.imports)
    for entry, known in CHOICES.items():
        value = value_of(cfg, entry)
        require(entry, value, f"one of {known}", value in known)
    for message in without_effect(cfg):
        raise InputError(message)
    check_model(cfg)
    data_sets = detectron2_data_sets(args.datasets_root, cfg.WEND.DATA.MAX_MEGAPIXELS)
    return resolve_checked(args, cfg, data_sets, "detectron2", processes)


def check_model(cfg: CfgNode) -> None:
    """Build the detector without memory, so that what cannot be built ends before a run begins.

    It is built once more for the run, whose config is whole only when data are read: the length in
    iterations and the seed follow from them. A detector without memory takes milliseconds.

    Raises:
        InputError: a name that is not registered, feature maps that do not exist, ...
    """
    for entry, registry in REGISTRIES.items():
        name = value_of(cfg, entry)
        if name not in registry:
            known = ", ".join(sorted(known_name for known_name, _ in registry))
            raise InputError(
                f"config entry {entry}: {name!r} is not registered; there are: {known}; your own "
                f"is once WEND.IMPORTS or --import names its file"
            )
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "meta"
    WSOLDatasetMapper(cfg)
    _check_resnet_pyramid(cfg)
    try:
        with torch.device("meta"), Undrawn():
            model = build_model(cfg)
    except (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError) as e:
        if isinstance(e, InputError):
            raise
        if is_own(META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)):
            return  # perhaps it only cannot be built without memory; else its own traceback comes
        last = traceback.extract_tb(e.__traceback__)[-1]
        raise InputError(
            f"{cfg.MODEL.META_ARCHITECTURE} cannot be built from this config: {type(e).__name__}: "
            f"{' '.join(str(e).split())} (in {last.filename}, line {last.lineno})"
        ) from e
    check_carries_loss(cfg, model)


def _check_resnet_pyramid(cfg: CfgNode) -> None:
    """Raise InputError for a pyramid of Detectron2's own over maps that its ResNet lacks."""
    if "resnet_fpn" in cfg.MODEL.BACKBONE.NAME:
        names, maps = cfg.MODEL.FPN.IN_FEATURES, cfg.MODEL.RESNETS.OUT_FEATURES
        require(
            "MODEL.FPN.IN_FEATURES",
            names,
            f"some of the feature maps of MODEL.RESNETS.OUT_FEATURES, {', '.join(maps)}",
            len(names) > 0 and set(names) <= set(maps),
        )


def train_or_evaluate(args: argparse.Namespace, run: Run) -> dict[str, Any] | None:
    """Do in one process what the arguments ask for."""
    cfg = run.cfg
    _let_machines_differ()
    for name in ("wend", "fvcore.common.checkpoint"):  # from here on Detectron2 prints and logs
        target = logging.getLogger(name)
        target.propagate = name != "wend"
        for handler in [h for h in target.handlers if isinstance(h, StdoutHandler)]:
            target.removeHandler(handler)
    keeps_its_own = args.eval_only and bool(checkpoint_files(cfg.OUTPUT_DIR))  # a training's folder
    set_up(cfg, args, writes_config=not keeps_its_own)
    let_files_fail()
    if is_main() and not keeps_its_own:
        write_machine(cfg.OUTPUT_DIR, "detectron2", cfg.MODEL.DEVICE)
    if args.eval_only:
        return _evaluate(args, run)
    is_open = run.seed_was_drawn or not cfg.WEND.ACCUMULATE
    trainer = Trainer(cfg, run)
    trainer.resume_or_load(resume=args.resume, allow_changes=args.allow_changes)
    if is_open and is_main():  # the seed is that of the checkpoint
        with atomic_write(Path(run.cfg.OUTPUT_DIR) / CONFIG_FILE) as file:
            file.write(run.cfg.dump())
    return trainer.train()


def _let_machines_differ() -> None:
    """Make Detectron2's groups of the processes of a machine, which it has for equal ones alone."""
    if world_size() > 1:
        sizes = set(Counter(gather(socket.gethostname())).values())
        if len(sizes) == 1:
            comm.create_local_process_group(sizes.pop())


def _evaluate(args: argparse.Namespace, run: Run) -> dict[str, Any]:
    with Undrawn():
        model = Trainer.build_model(run.cfg)
    remember_frozen(model, run.cfg)
    checkpointer = WENDCheckpointer(model, save_dir=run.cfg.OUTPUT_DIR)
    load_to_evaluate(checkpointer, run.cfg, resume=args.resume)
    results = evaluate(run, model)
    if is_main():
        check_results(run.cfg, results)
    return results


def run(args: argparse.Namespace) -> None:
    """Train, or with ``--eval-only`` evaluate, in as many processes as there are to be."""
    run_command(args, setup, train_or_evaluate)
