"""``wend train`` and ``train_net.py``: their arguments, the choice of the engine, and its start."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from wend.cli.failures import exit_status
from wend.cli.options import (
    add_datasets_root_option,
    add_engine_option,
    add_import_option,
    add_overwrite_option,
)
from wend.cli.strict_parser import StrictParser
from wend.errors import Interrupted
from wend.inference.engines import engine_module
from wend.launch import TIMEOUT
from wend.launchers import first_tells, member
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
    add_overwrite_option(parser)
    parser.add_argument(
        "--eval-only", action="store_true", help="evaluate the checkpoint MODEL.WEIGHTS"
    )
    parser.add_argument(
        "--num-gpus",
        type=int,
        help="number of GPUs of a machine, or of processes without a GPU, that are started here "
        "(default: 1); torchrun and srun start them themselves",
    )
    parser.add_argument("--num-machines", type=int, help="total number of machines (default: 1)")
    parser.add_argument("--machine-rank", type=int, help="the rank of this machine (default: 0)")
    parser.add_argument(
        "--dist-url",
        metavar="URL",
        help="where the processes of several machines meet, such as tcp://HOST:PORT of the first "
        "(default: auto, a free port of this machine)",
    )
    parser.add_argument(
        "--dist-timeout",
        type=float,
        default=TIMEOUT,
        metavar="MINUTES",
        help="how long processes wait for each other to come, and for what they exchange "
        "(default: %(default)g)",
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
    argv = sys.argv[1:] if argv is None else argv
    args = make_parser(prog).parse_args(argv)

    def start() -> int:
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # not stacks of lost connections
        this = member()
        setup_logging(0 if this is None else this.rank)
        try:
            return run(args)
        except Interrupted as error:
            kept = f"{error.kept}; go on with: {_going_on(argv, prog)}" if error.kept else ""
            raise Interrupted(error.signal, kept, error.is_told) from None

    return exit_status(start)


def _going_on(argv: Sequence[str], prog: str | None) -> str:
    """The command that goes on with a training that was interrupted."""
    words = [word for word in argv if word != "--overwrite"]
    resume = [] if "--resume" in words else ["--resume"]
    program = [sys.argv[0]] if prog is None else prog.split()
    return shlex.join([*program, *resume, *words])


def run(args: argparse.Namespace) -> int:
    """Train or evaluate as the arguments say; returns the exit status.

    Raises:
        InputError: the user's input is wrong.
    """
    from wend.inference.own_config import completed

    with ExitStack() as stack:
        with first_tells():
            complete = stack.enter_context(completed(args))
        if args.config_file:
            logger.info("config: %s", complete.config_file)
        logger.info("engine: %s", complete.engine)
        engine_module(complete.engine, "run").run(complete)
    return 0
