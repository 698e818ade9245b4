"""``wend report``: table, picture and curve of a finished run."""

from __future__ import annotations

import argparse

from wend.cli.options import add_datasets_root_option, add_import_option, known_data_sets
from wend.reports.summary import summarize_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``wend report``."""
    parser.add_argument("output_dir", help="OUTPUT_DIR of the run")
    parser.add_argument("--num-images", type=int, default=16, help="images in the picture")
    add_datasets_root_option(parser)
    add_import_option(parser)


def run(args: argparse.Namespace) -> int:
    """Write the report and print its table; returns the exit status.

    Raises:
        InputError: there is no run, or its data sets are not found.
    """
    table, written = summarize_run(args.output_dir, known_data_sets(args), args.num_images)
    print(f"\n{table}\n")
    for path in written:
        print(f"written: {path}")
    return 0
