"""Options and checks that several verbs share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from wend.errors import InputError, some
from wend.inference.engines import ENGINES

if TYPE_CHECKING:  # the parser waits for no NumPy
    from wend.datasets.catalog import DataSets
    from wend.parts import Shard
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


def add_engine_option(parser: argparse._ActionsContainer, meaning: str) -> None:
    """Add ``--engine``, "auto" by default, to a parser or group; ``meaning`` says what that is."""
    parser.add_argument("--engine", default="auto", choices=["auto", *ENGINES], help=meaning)


def add_overwrite_option(parser: argparse._ActionsContainer) -> None:
    """Add ``--overwrite`` of a training."""
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="remove an earlier run that is in the output folder; without it a used folder is "
        "refused",
    )


def add_checkpoint_options(parser: argparse.ArgumentParser) -> None:
    """Add what a run's folder or checkpoint may need to be loaded: its engine, config and code."""
    add_engine_option(parser, "auto (default): the one that trained the detector")
    parser.add_argument(
        "--config-file",
        metavar="FILE",
        help="YAML, for weights that neither hold their config nor lie beside it",
    )
    add_import_option(parser)


def add_shard_option(parser: argparse._ActionsContainer, merge: str) -> None:
    """Add ``--shard``, which :func:`shard_of` reads; ``merge`` makes the whole of the shards."""
    parser.add_argument(
        "--shard",
        metavar="I/N",
        help=f"do one of N shares of the images alone, 0/N to N-1/N, as a job array does; then "
        f"{merge} (docs/scale.md)",
    )


def shard_of(args: argparse.Namespace) -> Shard | None:
    """The shard that ``--shard`` names; None where all is to be done."""
    from wend.parts import Shard

    return None if args.shard is None else Shard.parse(args.shard)


def add_device_option(parser: argparse._ActionsContainer) -> None:
    """Add ``--device``."""
    parser.add_argument(
        "--device", metavar="NAME", help="cpu, cuda, cuda:1, ... (default: the run's)"
    )


def add_opts_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--opts KEY VALUE ...``, which :func:`key_values` reads."""
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="config entries to change, such as WEND.TEST_BATCH 5, at the end of the command",
    )


def key_values(words: Sequence[str], option: str) -> dict[str, str]:
    """Words ``KEY VALUE KEY VALUE ...`` as values by config entry; of equal keys the last holds.

    Raises:
        InputError: a key has no value, or is a flag.
    """
    for key in words[::2]:
        if key.startswith("--"):
            raise InputError(f"{key}: flags come before {option}, not behind them")
    if len(words) % 2:
        raise InputError(f"{option}: expected KEY VALUE pairs, got {' '.join(words)}")
    return dict(zip(words[::2], words[1::2], strict=True))


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


def add_megapixels_option(parser: argparse._ActionsContainer, default: str = "89.5") -> None:
    """Add ``--max-megapixels``, which :func:`max_megapixels` reads; ``default`` as help says it."""
    parser.add_argument(
        "--max-megapixels",
        type=float,
        metavar="M",
        help="images that state more pixels, in millions, are not decoded: a small file can state "
        f"one that fills the memory (default: {default})",
    )


def max_megapixels(args: argparse.Namespace) -> float:
    """``--max-megapixels``, or its default, also of a command without it.

    Raises:
        InputError: it is not above 0.
    """
    from wend.structures.records import MAX_MEGAPIXELS

    value = getattr(args, "max_megapixels", None)
    if value is None:
        return MAX_MEGAPIXELS
    if not value > 0:
        raise InputError(f"--max-megapixels: expected a number above 0, got {value:g}")
    return value


def known_data_sets(args: argparse.Namespace) -> DataSets:
    """Data sets by name below ``--datasets-root``; those registered with Detectron2 alone, too.

    Only a file of the user's can have registered such ones: Detectron2 is not imported for it.
    """
    from wend.datasets.catalog import DataSets

    return DataSets(args.datasets_root, others=_of_detectron2, max_megapixels=max_megapixels(args))


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
