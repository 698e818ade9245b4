"""``train_net.py`` on torchvision's detectors: config, then train or evaluate."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import torch
from fvcore.common.config import CfgNode

from wend.datasets.catalog import DataSets
from wend.evaluation.curve import Results
from wend.files import atomic_write
from wend.launch import Processes
from wend.logs import logged_to
from wend.modeling.feature_cache import remember_frozen
from wend.modeling.undrawn import Undrawn
from wend.processes import is_main, main_first, rank
from wend.run import Run, write_machine
from wend.run_files import CONFIG_FILE, checkpoint_files
from wend.training.command import load_to_evaluate, resolve_checked, run_command
from wend.training.memory import in_evaluation
from wend.tv.checkpointer import TVCheckpointer
from wend.tv.config import get_cfg, read_config
from wend.tv.engine import Trainer, evaluate
from wend.tv.models import build_model

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
    data_sets = DataSets(args.datasets_root, max_megapixels=cfg.WEND.DATA.MAX_MEGAPIXELS)
    return resolve_checked(args, cfg, data_sets, "torchvision", processes)


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


def train_or_evaluate(args: argparse.Namespace, resolved: Run) -> None:
    """Do in one process what the arguments ask for."""
    cfg = resolved.cfg
    if cfg.SEED >= 0:  # negative: an evaluation, which draws nothing
        torch.manual_seed(cfg.SEED)
    with Undrawn() if args.eval_only else nullcontext():
        model = build_model(cfg)
    if args.eval_only:
        remember_frozen(model, cfg)
        checkpointer = TVCheckpointer(model, cfg.OUTPUT_DIR)
        load_to_evaluate(checkpointer, cfg, resume=args.resume)
        if not checkpoint_files(cfg.OUTPUT_DIR):  # a training's folder keeps its own
            main_first(lambda: _write_config(cfg))
        with logged_to(cfg.OUTPUT_DIR, rank()), in_evaluation(model):
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
    run_command(args, setup, train_or_evaluate)
