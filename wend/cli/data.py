"""``wend data ...``: what is done once with a data set, before training on it.

A subcommand is an entry of ``COMMANDS``: help, a function that adds its arguments, and one that
takes them and the data sets, runs it and returns the exit status.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable

from wend.cli.options import (
    add_datasets_root_option,
    add_implausible_option,
    add_import_option,
    add_megapixels_option,
    known_data_sets,
)
from wend.datasets.catalog import DataSets
from wend.errors import InputError, some
from wend.stop_signals import keeping
from wend.structures.records import DECODERS
from wend.structures.view import VIEWS, View

logger = logging.getLogger(__name__)


def _add_import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names", nargs="+", metavar="NAME", help="data set, or the YAML file that declares it"
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="folder of the stores, with one folder for each data set (default: $WEND_STORES, else "
        ".wend below the data sets). Training finds them there if WEND_STORES names it",
    )
    parser.add_argument(
        "--force", action="store_true", help="import though nothing changed; reads all sizes again"
    )
    add_implausible_option(parser)


def _import(args: argparse.Namespace, data_sets: DataSets) -> int:
    from wend.datasets.importing import import_data_set

    for name in args.names:
        import_data_set(
            data_sets, name, args.output, force=args.force, implausible=args.implausible
        )
    return 0


def _add_check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="data set, or the YAML file that declares it")
    parser.add_argument("--workers", type=int, metavar="N", help="threads (default: by the cores)")
    parser.add_argument(
        "--output", metavar="FILE", help="the list, JSON lines (default: NAME.problems.jsonl)"
    )
    add_megapixels_option(parser)


def _check(args: argparse.Namespace, data_sets: DataSets) -> int:
    from wend.loading.check import check_data_set

    return check_data_set(data_sets, args.name, args.output, _workers(args))


def _add_cache_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="data set, or the YAML file that declares it")
    parser.add_argument("--resize", type=int, default=256, metavar="N", help="WEND.RESIZE (256)")
    parser.add_argument(
        "--view", choices=VIEWS, default="crop", help="WEND.VIEW (crop, which shares with squash)"
    )
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="folder of caches, for WEND.DATA.CACHE"
    )
    parser.add_argument(
        "--decoder",
        choices=DECODERS,
        default=DECODERS[0],
        help="WEND.DATA.DECODER of the training that reads it (pillow, as all test images)",
    )
    parser.add_argument("--workers", type=int, metavar="N", help="threads (default: by the cores)")
    add_megapixels_option(parser)


def _cache(args: argparse.Namespace, data_sets: DataSets) -> int:
    from wend.loading.fill_cache import fill_cache

    if args.resize < 1:
        raise InputError(f"--resize: expected at least 1, got {args.resize}")
    data_set = data_sets.get(args.name, keep_unreadable=True)
    padded = View(args.view, args.resize, args.resize).pads
    how = {"padded": padded, "decoder": args.decoder}
    bad = fill_cache(data_set, args.output, args.resize, data_sets.root, _workers(args), **how)
    if bad:
        logger.warning("%s", some(bad))
    return int(bool(bad))


def _workers(args: argparse.Namespace) -> int | None:
    if args.workers is not None and args.workers < 1:
        raise InputError(f"--workers: expected at least 1, got {args.workers}")
    return args.workers


COMMANDS: dict[str, tuple[str, Callable, Callable]] = {
    "import": ("read data sets once for a quick start", _add_import_arguments, _import),
    "check": ("read every image and list what is wrong", _add_check_arguments, _check),
    "cache": ("store resized images for fast loading", _add_cache_arguments, _cache),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of ``wend data``."""
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (purpose, add, run_command) in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, description=purpose)
        add(command)
        add_datasets_root_option(command)
        add_import_option(command)
        command.set_defaults(run_command=run_command)


def run(args: argparse.Namespace) -> int:
    """Run the subcommand; returns the exit status.

    Raises:
        InputError: the user's input is wrong.
    """
    with keeping("what was there before is as it was"):
        return args.run_command(args, known_data_sets(args))
