"""The start of a run on Detectron2, as its ``default_setup``: the log, the config, the generators.

Its own writes the whole config as YAML and reads it again for each of four entries that it looks
up, which takes longer than building a detector; it also colours what it writes into files.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import setup_logger

from wend.files import atomic_write, read_text
from wend.processes import is_main, rank, world_size
from wend.run_files import CONFIG_FILE


def set_up(cfg: CfgNode, args: argparse.Namespace, *, writes_config: bool = True) -> None:
    """Begin ``log.txt`` with what the run is, write ``config.yaml``, and seed the generators.

    Args:
        cfg: the whole config; its OUTPUT_DIR is there.
        args: ``config_file`` and ``eval_only``; all are logged.
        writes_config: whether ``config.yaml`` becomes this config.
    """
    for name in ("wend", "fvcore"):
        setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank(), name=name)
    logger = setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank())
    logger.info("Rank of current process: %d. World size: %d", rank(), world_size())
    logger.info("Environment info:\n%s", collect_env_info())
    logger.info("Command line arguments: %s", args)
    given = read_text(Path(args.config_file), "a config") if args.config_file else ""
    if given:
        logger.info("Contents of args.config_file=%s:\n%s", args.config_file, _shown(given))
    if is_main():
        whole = cfg.dump()
        logger.info("Running with full config:\n%s", _shown(whole))
        if writes_config:
            path = Path(cfg.OUTPUT_DIR, CONFIG_FILE)
            with atomic_write(path) as file:
                file.write(whole)
            logger.info("Full config saved to %s", path)
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED + rank())
    if not args.eval_only:
        torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
    _set_precision(cfg.get("FLOAT32_PRECISION", ""), logger)


def _shown(yaml: str) -> str:
    """YAML in colours on a terminal, if pygments is installed."""
    if not sys.stdout.isatty():
        return yaml
    try:
        from pygments import highlight
        from pygments.formatters import Terminal256Formatter
        from pygments.lexers import YamlLexer
    except ImportError:
        return yaml
    return highlight(yaml, YamlLexer(), Terminal256Formatter(style="monokai"))


def _set_precision(precision: str, logger: logging.Logger) -> None:
    """``FLOAT32_PRECISION`` of products and convolutions on a GPU."""
    if not precision:
        return
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.allow_tf32 = precision != "highest"
    logger.info("FLOAT32_PRECISION %s", precision)
