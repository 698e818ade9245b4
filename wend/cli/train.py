"""``wend train`` and ``train_net.py``: their arguments, the choice of the engine, and its start."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence

from wend.cli.failures import exit_status
from wend.cli.options import add_datasets_root_option, add_engine_option, add_import_option
from wend.cli.strict_parser import StrictParser
from wend.inference.engines import engine_module
from wend.logs import setup_logging

logger = logging.getLogger("wend")


def make_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The arguments of Detectron2's ``train_net.py``, and three of ours."""
    parser = StrictParser(
        prog=prog, description="Train or evaluate a WEND detector from a YAML config."
    )
    parser.add_argument(
        "--config-file",
        default="",
        metavar="FILE",
        help="a YAML, or the name of one of WEND's, such as CUB/fcos_R50_we (wend config --list)",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from the newest whole checkpoint of OUTPUT_DIR; without --config-file, with "
        "that training's own config",
    )
    parser.add_argument(
        "--allow-changes",
        action="store_true",
        help="with --resume: go on though config, data or number of processes differ",
    )
    parser.add_argument(
        "--eval-only", action="store_true", help="evaluate the checkpoint MODEL.WEIGHTS"
    )
    parser.add_argument(
        "--num-gpus", type=int, default=1, help="number of GPUs, or of processes without a GPU"
    )
    parser.add_argument("--num-machines", type=int, default=1, help="total number of machines")
    parser.add_argument("--machine-rank", type=int, default=0, help="the rank of this machine")
    parser.add_argument(
        "--dist-url", default="auto", help="initialization URL of the processes (default: auto)"
    )
    add_engine_option(parser, "auto: detectron2 where it is installed, else torchvision")
    add_datasets_root_option(parser)
    add_import_option(parser)
    parser.add_argument(
        "opts",
        nargs=argparse.REMAINDER,
        metavar="KEY VALUE",
        help="overrides of config entries, at the end of the command",
    )
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run a training or an evaluation; returns the exit status (2: the user's input is wrong)."""
    args = make_parser(prog).parse_args(argv)
    setup_logging()
    return exit_status(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Train or evaluate as the arguments say; returns the exit status.

    Raises:
        InputError: the user's input is wrong.
    """
    from wend.inference.own_config import completed

    with completed(args) as complete:
        if args.config_file:
            logger.info("config: %s", complete.config_file)
        logger.info("engine: %s", complete.engine)
        engine_module(complete.engine, "run").run(complete)
    return 0
