"""The command ``wend``: one thin function for each verb."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import fields

from wend import __version__
from wend.errors import InputError
from wend.train import main as train_main
from wend.train import setup_logging


def _doctor(args: argparse.Namespace) -> int:
    from wend.doctor import diagnose

    report, works = diagnose()
    print(report)
    return 0 if works else 1


def _toy(args: argparse.Namespace) -> int:
    from wend.data.toy import ToyConfig, write_toy

    chosen = {f.name: getattr(args, f.name) for f in fields(ToyConfig)}
    summary = write_toy(args.root, ToyConfig(**chosen))
    for split, counts in summary.items():
        print(
            f"{args.root}: {split}: {counts['images']} images, {counts['objects']} objects; "
            f"{100 * counts['pseudo_box_accuracy']:.1f} % of the pseudo boxes have IoU > 0.5"
        )
    return 0


def _report(args: argparse.Namespace) -> int:
    from wend.summary import summarize_run

    if args.datasets_root:
        os.environ["DETECTRON2_DATASETS"] = args.datasets_root
    table, written = summarize_run(args.output_dir, args.num_images)
    print(f"\n{table}\n")
    for path in written:
        print(f"written: {path}")
    return 0


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="wend", description="Object boxes without box labels.")
    parser.add_argument("--version", action="version", version=f"wend {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    doctor = verbs.add_parser("doctor", help="what is installed, what works, how to mend the rest")
    doctor.set_defaults(run=_doctor)

    verbs.add_parser("train", add_help=False, help="train or evaluate; same as train_net.py")

    toy = verbs.add_parser(
        "toy",
        help="generate the toy data set",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    toy.add_argument("root", help="new folder; .../toy below DETECTRON2_DATASETS to train on it")
    _add_toy_arguments(toy)
    toy.set_defaults(run=_toy)

    report = verbs.add_parser("report", help="table, picture and curve of a finished run")
    report.add_argument("output_dir", help="OUTPUT_DIR of the run")
    report.add_argument("--num-images", type=int, default=16, help="images in the picture")
    report.add_argument("--datasets-root", metavar="DIR", help="sets DETECTRON2_DATASETS")
    report.set_defaults(run=_report)
    return parser


def _add_toy_arguments(parser: argparse.ArgumentParser) -> None:
    from wend.data.toy import ToyConfig

    for entry in fields(ToyConfig):
        default = entry.default
        pair = isinstance(default, tuple)
        parser.add_argument(
            f"--{entry.name.replace('_', '-')}",
            type=type(default[0] if pair else default),
            nargs=len(default) if pair else None,
            default=default,
            help="see wend.data.toy.ToyConfig",
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``wend ...``; returns the exit status (2: the user's input is wrong)."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv[:1] == ["train"]:
        return train_main(argv[1:], prog="wend train")
    args = _make_parser().parse_args(argv)
    setup_logging()
    try:
        return args.run(args)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
