"""``wend fine-tune``: train a detector on, from its weights, on another data set."""

from __future__ import annotations

import argparse

from wend.cli.options import add_datasets_root_option, add_import_option
from wend.errors import InputError
from wend.inference.build import TrainedDetector
from wend.inference.engines import PREDICTORS
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
    add("--device", metavar="NAME", help="cpu, cuda, cuda:1, ... (default: the run's)")
    add(
        "--engine",
        default="auto",
        choices=["auto", *PREDICTORS],
        help="auto (default): the one that trained the detector",
    )
    add("--config-file", metavar="FILE", help="YAML, for weights without their config")
    add_datasets_root_option(parser)
    add_import_option(parser)
    add(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="config entries to change, at the end of the command, such as WEND.EPOCHS 5",
    )


def run(args: argparse.Namespace) -> int:
    """Train; returns the exit status.

    Raises:
        InputError: names what is wrong.
    """
    if len(args.opts) % 2:
        raise InputError(f"--opts: expected KEY VALUE pairs, got {' '.join(args.opts)}")
    detector = load(args.detector, device=args.device, engine=args.engine, config=args.config_file)
    if not isinstance(detector, TrainedDetector):
        raise InputError(f"{args.detector}: is exported, and cannot be trained on; name its run")
    detector.fine_tune(
        args.train,
        args.test,
        output=args.output,
        datasets_root=args.datasets_root,
        resume=args.resume,
        imports=args.imports,
        **dict(zip(args.opts[::2], args.opts[1::2], strict=True)),
    )
    return 0
