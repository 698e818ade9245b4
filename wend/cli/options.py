"""Options that several verbs share."""

from __future__ import annotations

import argparse


def add_import_option(parser: argparse.ArgumentParser) -> None:
    """``--import``, as ``imports``: modules of the user's, which :func:`main` imports first."""
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="import a module or file of your own, such as ./mine.py, before anything else; may "
        "come several times (docs/extend.md)",
    )
