"""``wend fine-tune``: train a detector on, from its weights, on another data set."""

from __future__ import annotations

import argparse

from wend.cli.options import (
    add_checkpoint_options,
    add_datasets_root_option,
    add_device_option,
    add_opts_option,
    add_overwrite_option,
    key_values,
)
from wend.errors import InputError
from wend.inference.build import TrainedDetector
from wend.inference.load import load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``wend fine-tune``."""
    add = parser.add_argument
    add("detector", metavar="RUN", help="OUTPUT_DIR of a run, or a file: .pth, .safetensors")
    add(
        "--train",
        nargs="+",
        required=True,
        metavar="NAME",
        help="data sets to train on, by name or as the YAML files that declare them",
    )
    add("--test", nargs="+", metavar="NAME", help="data sets to evaluate on (default: --train's)")
    add("--output", required=True, metavar="DIR", help="OUTPUT_DIR of the new run")
    add("--resume", action="store_true", help="go on with a run that was interrupted")
    add(
        "--allow-changes",
        action="store_true",
        help="with --resume: go on though config or data differ from that run's",
    )
    add_overwrite_option(parser)
    add_device_option(parser)
    add_checkpoint_options(parser)
    add_datasets_root_option(parser)
    add_opts_option(parser)


def run(args: argparse.Namespace) -> int:
    """Train; returns the exit status.

    Raises:
        InputError: names what is wrong.
    """
    overrides = key_values(args.opts, "--opts")
    detector = load(args.detector, device=args.device, engine=args.engine, config=args.config_file)
    if not isinstance(detector, TrainedDetector):
        raise InputError(f"{args.detector}: is exported, and cannot be trained on; name its run")
    detector.fine_tune(
        args.train,
        args.test,
        output=args.output,
        datasets_root=args.datasets_root,
        resume=args.resume,
        allow_changes=args.allow_changes,
        overwrite=args.overwrite,
        imports=args.imports,
        **overrides,
    )
    return 0
