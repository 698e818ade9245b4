"""``train_net.py`` on torchvision's detectors: config, then train or evaluate."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch
from fvcore.common.config import CfgNode

from wend.datasets.catalog import DataSets
from wend.errors import InputError
from wend.files import atomic_write
from wend.modeling.initial_weights import initial_weights
from wend.run import Run, check_arguments, remove_logs, resolve, write_machine
from wend.run_files import CONFIG_FILE
from wend.tv.checkpointer import TVCheckpointer
from wend.tv.config import get_cfg, read_config
from wend.tv.engine import Trainer, evaluate
from wend.tv.models import build_model

logger = logging.getLogger(__name__)


def default_config() -> CfgNode:
    """The engine's config with the ``WEND`` node."""
    return get_cfg()


def setup(args: argparse.Namespace) -> Run:
    """The run that the arguments name: its config checked, its data read.

    Raises:
        InputError: names what is wrong.
    """
    if args.num_gpus > 1 or args.num_machines > 1:
        raise InputError(
            "--num-gpus, --num-machines: the torchvision engine runs one process; several need "
            "--engine detectron2"
        )
    cfg = read_config(args.config_file, args.opts, args.imports)
    check_arguments(args, cfg)
    data_sets = DataSets(args.datasets_root, max_megapixels=cfg.WEND.DATA.MAX_MEGAPIXELS)
    return resolve(cfg, data_sets, train=not args.eval_only)


def verify_results(cfg: CfgNode, results: dict[str, dict[str, float]]) -> None:
    """Check TEST.EXPECTED_RESULTS ``[[protocol, metric, value, tolerance], ...]``."""
    for protocol, metric, expected, tolerance in cfg.TEST.EXPECTED_RESULTS:
        actual = results[protocol][metric]
        if not abs(actual - expected) <= tolerance:
            raise RuntimeError(
                f"TEST.EXPECTED_RESULTS: {protocol} {metric} is {actual:.2f}, expected "
                f"{expected} ± {tolerance}"
            )


def _write_config(cfg: CfgNode) -> None:
    with atomic_write(Path(cfg.OUTPUT_DIR) / CONFIG_FILE) as file:
        file.write(cfg.dump())
    write_machine(cfg.OUTPUT_DIR, "torchvision", cfg.MODEL.DEVICE)


def run(args: argparse.Namespace) -> None:
    """Train, or with ``--eval-only`` evaluate."""
    resolved = setup(args)
    cfg = resolved.cfg
    if cfg.SEED >= 0:
        torch.manual_seed(cfg.SEED)
    model = build_model(cfg)
    if args.eval_only:
        checkpointer = TVCheckpointer(model, cfg.OUTPUT_DIR)
        checkpointer.require_all = True
        checkpointer.resume_or_load(initial_weights(cfg), resume=args.resume)
        _write_config(cfg)
        results = evaluate(resolved, model)
    else:
        trainer = Trainer(resolved, model)
        trainer.resume_or_load(resume=args.resume)
        if not args.resume:
            remove_logs(cfg.OUTPUT_DIR)
        _write_config(cfg)
        results = trainer.train()
    verify_results(cfg, next(iter(results.values())))
