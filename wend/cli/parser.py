"""The command ``wend``: a thin function or a module for each verb.

A verb's module is imported when that verb is called: ``wend --help`` waits for nothing.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from dataclasses import fields

from wend import __version__
from wend.cli.options import add_datasets_root_option, add_import_option
from wend.errors import InputError
from wend.user_code import load_modules

MODULES = {  # verb -> module with add_arguments and run, help
    "evaluate": ("wend.cli.evaluate", "score detections from files, under any protocol"),
    "compare": ("wend.cli.compare", "test two sets of detections against each other"),
    "data": ("wend.cli.data", "import a data set, check it, cache its images"),
    "boxes": ("wend.cli.boxes", "report on pseudo boxes: coverage, shapes, agreement, accuracy"),
    "classify": ("wend.cli.classify", "a classifier's classes of each image, as a file"),
    "doctor": ("wend.cli.doctor", "what is installed, what works, how to mend the rest"),
    "entries": ("wend.cli.entries", "the config entries: defaults, ranges and meanings"),
    "pseudo-boxes": ("wend.cli.pseudo_boxes", "boxes from images alone, to train on"),
}


def _toy(args: argparse.Namespace) -> int:
    from wend.datasets.toy import ToyConfig, write_toy

    chosen = {f.name: getattr(args, f.name) for f in fields(ToyConfig)}
    summary = write_toy(args.root, ToyConfig(**chosen))
    for split, counts in summary.items():
        print(
            f"{args.root}: {split}: {counts['images']} images, {counts['objects']} objects; "
            f"{100 * counts['pseudo_box_accuracy']:.1f} % of the pseudo boxes have IoU > 0.5"
        )
    return 0


def _report(args: argparse.Namespace) -> int:
    from wend.datasets.catalog import DataSets
    from wend.reports.summary import summarize_run

    table, written = summarize_run(args.output_dir, DataSets(args.datasets_root), args.num_images)
    print(f"\n{table}\n")
    for path in written:
        print(f"written: {path}")
    return 0


def _make_parser(chosen: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="wend", description="Object boxes without box labels.")
    parser.add_argument("--version", action="version", version=f"wend {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    verbs.add_parser("train", add_help=False, help="train or evaluate; same as train_net.py")

    toy = verbs.add_parser(
        "toy",
        help="generate the toy data set",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    toy.add_argument("root", help="new folder; .../toy below DETECTRON2_DATASETS to train on it")
    if chosen == "toy":
        _add_toy_arguments(toy)
    toy.set_defaults(run=_toy)

    report = verbs.add_parser("report", help="table, picture and curve of a finished run")
    report.add_argument("output_dir", help="OUTPUT_DIR of the run")
    report.add_argument("--num-images", type=int, default=16, help="images in the picture")
    add_datasets_root_option(report)
    add_import_option(report)
    report.set_defaults(run=_report)
    for verb, (module, purpose) in MODULES.items():
        command = verbs.add_parser(verb, help=purpose)
        if chosen == verb:
            loaded = importlib.import_module(module)
            loaded.add_arguments(command)
            command.set_defaults(run=loaded.run)
    return parser


def _add_toy_arguments(parser: argparse.ArgumentParser) -> None:
    from wend.datasets.toy import ToyConfig

    for entry in fields(ToyConfig):
        default: object = entry.default
        values = default if isinstance(default, tuple) else (default,)
        parser.add_argument(
            f"--{entry.name.replace('_', '-')}",
            type=type(values[0]),
            nargs=len(values) if values is default else None,
            default=default,
            help="see wend.datasets.toy.ToyConfig",
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``wend ...``; returns the exit status (2: the user's input is wrong)."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv[:1] == ["train"]:
        from wend.cli.train import main as train_main

        return train_main(argv[1:], prog="wend train")
    verb = next((text for text in argv if not text.startswith("-")), None)
    args = _make_parser(verb).parse_args(argv)
    from wend.logs import setup_logging

    setup_logging()
    try:
        load_modules(getattr(args, "imports", ()))
        return args.run(args)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
