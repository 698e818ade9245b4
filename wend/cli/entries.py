"""``wend entries``: the config entries of the ``WEND`` node, with defaults, ranges and meanings."""

from __future__ import annotations

import argparse

from tabulate import tabulate

from wend.cli.options import add_import_option
from wend.config.common import COMMON
from wend.config.entries import NODES, Table
from wend.errors import InputError

WIDTHS = (None, 24, 30, 60)  # characters: wider texts are folded


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``wend entries``."""
    parser.add_argument(
        "nodes",
        nargs="*",
        metavar="NODE",
        help="only WEND.NODE.*, such as FCOS or WEND.FCOS; by default all, those of --import among "
        "them",
    )
    add_import_option(parser)


def run(args: argparse.Namespace) -> int:
    """Print the entries; returns the exit status.

    Raises:
        InputError: there is no such node.
    """
    nodes = [node.removeprefix("WEND.") for node in args.nodes]
    for node in nodes:
        if node not in NODES:
            raise InputError(f"there is no node WEND.{node}; there are: {', '.join(NODES)}")
    tables: dict[str, Table] = {} if nodes else {"WEND": COMMON}
    tables |= {f"WEND.{node}": NODES.get(node) for node in nodes or NODES}
    rows = [
        (
            f"{node}.{entry.name}",
            repr(entry.default),
            "" if entry.range is None else entry.range.text,
            entry.meaning,
        )
        for node, table in tables.items()
        for entry in table
    ]
    header = ("entry", "default", "values", "meaning")
    print(tabulate(rows, header, disable_numparse=True, maxcolwidths=list(WIDTHS)))
    return 0
