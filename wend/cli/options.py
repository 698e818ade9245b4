"""Options and checks that several verbs share."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from wend.errors import InputError, some

if TYPE_CHECKING:  # the parser waits for no NumPy
    from wend.datasets.catalog import DataSets
    from wend.structures.data_set import DataSet


def add_import_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--import``, as ``imports``: the user's own modules, which are imported first."""
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="import a module or file of your own, such as ./mine.py, before anything else; may "
        "come several times (docs/extend.md)",
    )


def add_implausible_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--implausible``: what becomes of boxes and sizes that cannot be what they should be."""
    parser.add_argument(
        "--implausible",
        choices=["error", "count"],
        help="boxes outside their image, in fractions, of another copy, image sizes that are not "
        "the files', ...: error (default), or count: say it and go on (docs/bad_data.md)",
    )


def add_datasets_root_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--datasets-root``: the folder that the paths of data sets start from."""
    parser.add_argument(
        "--datasets-root",
        metavar="DIR",
        help="folder of the data sets (default: $DETECTRON2_DATASETS, else datasets)",
    )


def known_data_sets(args: argparse.Namespace) -> DataSets:
    """Data sets by name below ``--datasets-root``; those registered with Detectron2 alone, too.

    Only a file of the user's can have registered such ones: Detectron2 is not imported for it.
    """
    from wend.datasets.catalog import DataSets

    return DataSets(args.datasets_root, others=_of_detectron2)


def _of_detectron2(name: str) -> DataSet | None:
    if "detectron2" not in sys.modules:
        return None
    from wend.d2.catalog import of_detectron2

    return of_detectron2(name)


def check_keys_differ(data_set: DataSet, output: str) -> None:
    """Raise InputError if images share a key, by which a file of ``output`` names them."""
    twice = data_set.shared_keys()
    if twice:
        raise InputError(
            f"data set {data_set.name}: {len(twice)} images share class folder and file name with "
            f"another ({some(twice)}); {output} could not tell them apart"
        )
