"""``wend rounds``: train, predict the training images anew, and train on what is predicted."""

from __future__ import annotations

import argparse

from wend.cli.nested import run_command
from wend.cli.options import (
    add_datasets_root_option,
    add_engine_option,
    add_import_option,
    key_values,
)
from wend.config.reading import config_path
from wend.errors import InputError
from wend.files import expand_user
from wend.inference.engines import choose_engine, engine_module
from wend.launch import TIMEOUT, settle
from wend.rounds.keep import KEEP
from wend.rounds.looks import DEFAULT_LOOKS, LOOKS
from wend.rounds.pipeline import Rounds, Wishes
from wend.run_lock import locked
from wend.stop_signals import SAME_COMMAND, keeping


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``wend rounds``."""
    add = parser.add_argument
    add(
        "--config-file",
        required=True,
        metavar="FILE",
        help="of the training, as of wend train: a YAML, or the name of one of WEND's",
    )
    add("--rounds", type=int, default=1, metavar="N", help="how often boxes are made anew (1)")
    add(
        "--cross-fit",
        type=int,
        default=2,
        metavar="K",
        help="detectors look at images that they have not learned from: each is trained on all of "
        "K folds but one, and looks at that one (2); 1: at those that it has learned from",
    )
    add("--seeds", type=int, default=1, metavar="M", help="detectors for each fold (1)")
    add(
        "--looks",
        default=",".join(DEFAULT_LOOKS),
        metavar="NAMES",
        help=f"ways of looking at an image, of {', '.join(LOOKS)} ({','.join(DEFAULT_LOOKS)})",
    )
    add(
        "--keep",
        choices=list(KEEP),
        default=next(iter(KEEP)),
        help="new boxes that the looks agree on, and the present ones elsewhere (agreed, the "
        "default); the former alone, without the other images; or all new boxes",
    )
    add(
        "--skip-last-check",
        action="store_true",
        help="do not judge the last round's boxes, which takes a training of each fold",
    )
    add("--num-gpus", type=int, default=1, help="number of GPUs, or of processes without a GPU")
    add_engine_option(parser, "as of wend train")
    add_datasets_root_option(parser)
    add_import_option(parser)
    add(
        "opts",
        nargs=argparse.REMAINDER,
        metavar="KEY VALUE",
        help="overrides of config entries, at the end of the command; OUTPUT_DIR is the run's",
    )


def run(args: argparse.Namespace) -> int:
    """Do what is not done yet; returns the exit status.

    Raises:
        InputError: the user's input is wrong.
    """
    for name, value in (
        ("--rounds", args.rounds),
        ("--cross-fit", args.cross_fit),
        ("--seeds", args.seeds),
    ):
        if value < 1:
            raise InputError(f"{name}: expected at least 1, got {value}")
    looks = tuple(args.looks.split(","))
    if not set(looks) <= set(LOOKS) or len(set(looks)) < len(looks):
        raise InputError(
            f"--looks: expected some of {', '.join(LOOKS)}, each once, with commas, got "
            f"{args.looks!r}"
        )
    entries = key_values(args.opts, "overrides of config entries")
    if "OUTPUT_DIR" in entries:
        entries["OUTPUT_DIR"] = str(expand_user(entries["OUTPUT_DIR"]))
    engine = choose_engine(args.engine)
    args.config_file = str(config_path(args.config_file))
    words = ["--engine", engine, "--config-file", args.config_file]
    words += [] if args.num_gpus == 1 else ["--num-gpus", str(args.num_gpus)]
    words += [] if args.datasets_root is None else ["--datasets-root", args.datasets_root]
    words += [word for module in args.imports for word in ("--import", module)]
    wishes = Wishes(
        rounds=args.rounds,
        folds=args.cross_fit,
        seeds=args.seeds,
        looks=looks,
        keep=args.keep,
        judge_last=not args.skip_last_check,
        train=words,
        entries=entries,
    )
    training = argparse.Namespace(
        **{**vars(args), "engine": engine, "resume": False, "eval_only": False},
        num_machines=None,
        machine_rank=None,
        dist_url=None,
        dist_timeout=TIMEOUT,
    )
    resolved = engine_module(engine, "run").setup(training, settle(training))
    with keeping(SAME_COMMAND), locked(resolved.cfg.OUTPUT_DIR, doing="wend rounds"):
        Rounds(wishes, run_command, resolved).run()
    return 0
