"""``wend report``: the table, the pictures and the page of a run, or of several."""

from __future__ import annotations

import argparse
from pathlib import Path

from wend.cli.options import add_datasets_root_option, add_import_option, known_data_sets
from wend.errors import InputError
from wend.reports.page import PAGE_FILE
from wend.reports.summary import summarize_run, summarize_runs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``wend report``."""
    parser.add_argument(
        "output_dirs",
        nargs="+",
        metavar="RUN",
        help="OUTPUT_DIR of a run; of several, they stand beside each other on one page",
    )
    parser.add_argument("--num-images", type=int, default=16, help="images in the picture")
    parser.add_argument(
        "--output",
        metavar="FILE",
        help=f"the page to write, or a folder for it (default: {PAGE_FILE} in the run's folder; of "
        f"several runs, in the current one)",
    )
    add_datasets_root_option(parser)
    add_import_option(parser)


def run(args: argparse.Namespace) -> int:
    """Write the report and print its table; returns the exit status.

    Raises:
        InputError: there is no run.
    """
    from wend.tv.config import get_cfg

    if args.num_images < 1:
        raise InputError(f"--num-images: expected at least 1, got {args.num_images}")
    page = None if args.output is None else _page_file(Path(args.output))
    first, *others = args.output_dirs
    data_sets, defaults = known_data_sets(args), get_cfg()
    if others:
        table, written = summarize_runs(
            args.output_dirs, data_sets, page=page or PAGE_FILE, defaults=defaults
        )
    else:
        table, written = summarize_run(
            first, data_sets, args.num_images, page=page, defaults=defaults
        )
    print(f"\n{table}\n")
    for path in written:
        print(f"written: {path}")
    return 0


def _page_file(path: Path) -> Path:
    """The page that ``--output`` names: a file, or one in a folder."""
    return path if path.suffix.lower() in (".html", ".htm") else path / PAGE_FILE
