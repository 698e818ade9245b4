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


def add_datasets_root_option(parser: argparse.ArgumentParser) -> None:
    """``--datasets-root``: folder that the paths of data sets start from."""
    parser.add_argument(
        "--datasets-root",
        metavar="DIR",
        help="folder of the data sets (default: $DETECTRON2_DATASETS, else datasets)",
    )
