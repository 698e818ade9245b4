"""``wend toy``: generate the toy data set."""

from __future__ import annotations

import argparse
from dataclasses import fields

from wend.datasets.toy import ToyConfig, write_toy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``wend toy``: an option for each field of :class:`ToyConfig`."""
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.add_argument("root", help="new folder; .../toy below DETECTRON2_DATASETS to train on it")
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


def run(args: argparse.Namespace) -> int:
    """Write the data set and print how much it holds; returns the exit status.

    Raises:
        InputError: a setting is wrong, or another data set is there.
    """
    config = ToyConfig(**{field.name: getattr(args, field.name) for field in fields(ToyConfig)})
    for split, counts in write_toy(args.root, config).items():
        print(
            f"{args.root}: {split}: {counts['images']} images, {counts['objects']} objects; "
            f"{100 * counts['pseudo_box_accuracy']:.1f} % of the pseudo boxes have IoU > 0.5"
        )
    return 0
