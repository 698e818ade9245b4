"""``train_net.py`` on torchvision's detectors: config, then train or evaluate."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from fvcore.common.config import CfgNode

from wend import launch
from wend.datasets.catalog import DataSets
from wend.evaluation.curve import Results
from wend.files import atomic_write
from wend.launch import Processes, check_devices, settle
from wend.logs import logged_to
from wend.modeling.initial_weights import initial_weights
from wend.processes import is_main, main_first, rank
from wend.run import Run, check_arguments, check_shares, resolve, write_machine
from wend.run_files import CONFIG_FILE, checkpoint_files
from wend.training.changes import warn_if_trained_otherwise
from wend.training.checkpoints import refuse_changes
from wend.training.facts import asked_of
from wend.training.rehearsal import rehearse
from wend.training.run_folder import begin, taken
from wend.training.state import take_stored_seed
from wend.tv.checkpointer import TVCheckpointer
from wend.tv.config import get_cfg, read_config
from wend.tv.engine import Trainer, evaluate
from wend.tv.models import build_model
from wend.user_code import UserModules

logger = logging.getLogger(__name__)


def default_config() -> CfgNode:
    """The engine's config with the ``WEND`` node."""
    return get_cfg()


def setup(args: argparse.Namespace, processes: Processes) -> Run:
    """The run that the arguments name: its config checked, its data read.

    Args:
        processes: those that are to share it.

    Raises:
        InputError: names what is wrong.
    """
    cfg = read_config(args.config_file, args.opts, args.imports)
    check_arguments(args, cfg)
    resumes = args.resume and bool(checkpoint_files(cfg.OUTPUT_DIR))
    if resumes and not args.eval_only:
        take_stored_seed(cfg)
    data_sets = DataSets(args.datasets_root, max_megapixels=cfg.WEND.DATA.MAX_MEGAPIXELS)
    run = resolve(cfg, data_sets, train=not args.eval_only, needs_weights=not resumes)
    check_devices(run.cfg.MODEL.DEVICE, processes)
    if not args.eval_only:
        check_shares(run.cfg, processes.world_size)
    if resumes and not args.eval_only:
        asked = asked_of(run, "torchvision", processes=processes.world_size)
        refuse_changes(cfg.OUTPUT_DIR, asked, allow=args.allow_changes)
    rehearse(run)
    return run


def verify_results(cfg: CfgNode, results: Mapping[str, Mapping[str, float]]) -> None:
    """Check TEST.EXPECTED_RESULTS ``[[protocol, metric, value, tolerance], ...]``."""
    for protocol, metric, expected, tolerance in cfg.TEST.EXPECTED_RESULTS:
        actual = results[protocol][metric]
        if not abs(actual - expected) <= tolerance:
            raise RuntimeError(
                f"TEST.EXPECTED_RESULTS: {protocol} {metric} is {actual:.2f}, expected "
                f"{expected} ± {tolerance}"
            )


def _write_config(cfg: CfgNode) -> None:
    """Write what the run is; the main process does."""
    with atomic_write(Path(cfg.OUTPUT_DIR) / CONFIG_FILE) as file:
        file.write(cfg.dump())
    write_machine(cfg.OUTPUT_DIR, "torchvision", cfg.MODEL.DEVICE)


def _prepare(args: argparse.Namespace, processes: Processes) -> tuple[UserModules, Run]:
    """What is handed on; unpickling the modules imports the user's code before the run is."""
    resolved = setup(args, processes)
    return UserModules(resolved.cfg.WEND.IMPORTS), resolved


def _main(args: argparse.Namespace, prepared: tuple[UserModules, Run]) -> None:
    """Run one process."""
    _, resolved = prepared
    with taken(resolved.cfg.OUTPUT_DIR, "an evaluation" if args.eval_only else "a training"):
        if not args.eval_only:
            launch.go_on_if_restarted(args, resolved.cfg.OUTPUT_DIR)
            begin(resolved.cfg, overwrite=args.overwrite, resume=args.resume)
            launch.note_start(resolved.cfg.OUTPUT_DIR)
        _train_or_evaluate(args, resolved)


def _train_or_evaluate(args: argparse.Namespace, resolved: Run) -> None:
    cfg = resolved.cfg
    if cfg.SEED >= 0:  # negative: an evaluation, which draws nothing
        torch.manual_seed(cfg.SEED)
    model = build_model(cfg)
    if args.eval_only:
        checkpointer = TVCheckpointer(model, cfg.OUTPUT_DIR)
        checkpointer.require_all = True
        weights = "" if args.resume and checkpointer.has_checkpoint() else initial_weights(cfg)
        checkpointer.resume_or_load(weights, resume=args.resume)
        if is_main():
            warn_if_trained_otherwise(checkpointer.path, cfg.dump())
        if not checkpoint_files(cfg.OUTPUT_DIR):  # a training's folder keeps its own
            main_first(lambda: _write_config(cfg))
        with logged_to(cfg.OUTPUT_DIR, rank()):
            results: Results = evaluate(resolved, model)
    else:
        trainer = Trainer(resolved, model)
        trainer.resume_or_load(resume=args.resume, allow_changes=args.allow_changes)
        main_first(lambda: _write_config(cfg))
        with logged_to(cfg.OUTPUT_DIR, rank()):
            results = trainer.train()
    if is_main():
        verify_results(cfg, results.get(next(iter(resolved.tests)), {}))


def run(args: argparse.Namespace) -> None:
    """Train, or with ``--eval-only`` evaluate, in as many processes as there are to be."""
    processes = settle(args)
    launch.run(processes, partial(_prepare, args, processes), partial(_main, args))
