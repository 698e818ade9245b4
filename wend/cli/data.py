"""``wend data ...``: what is done once with a data set, before training on it.

A subcommand is an entry of ``COMMANDS``: help, a function that adds its arguments, and one that
runs it and returns the exit status.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wend.cli.options import add_import_option
from wend.errors import InputError, some

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
    parser.add_argument("--datasets-root", metavar="DIR", help="sets DETECTRON2_DATASETS")
    parser.add_argument(
        "--force", action="store_true", help="import though nothing changed; reads all sizes again"
    )


def _still_fresh(folder: Path, fingerprints: list[dict[str, Any]], root: Path) -> str:
    """What to say if there is nothing to do, else nothing."""
    from wend.datasets.fingerprints import changes
    from wend.datasets.store import INFO_FILE, open_store, read_info

    if not (folder / INFO_FILE).is_file():
        return ""
    try:
        store, info = open_store(folder, root), read_info(folder)
        changed = changes(info["sources"], fingerprints)
    except (InputError, KeyError, TypeError) as error:
        logger.info("%s: cannot be used any more (%s); importing again", folder, error)
        return ""
    if changed:
        logger.info("%s: %s; importing again", folder, some(changed))
        return ""
    return f"nothing to do: {len(store)} images, imported {info.get('made')}, in {folder}"


def _write(name: str, folder: Path, root: Path, fingerprints: list, force: bool) -> dict[str, Any]:
    from wend.datasets.catalog import load_from_sources
    from wend.datasets.known_sizes import FROM_HEADERS, STARTED, KnownSizes
    from wend.datasets.store_writer import write_store
    from wend.images.reading import reused_sizes

    started = time.time_ns()
    stores = sorted(folder.parent.iterdir()) if folder.parent.is_dir() and not force else []
    known = KnownSizes([folder, *stores] if stores else [], root)
    with reused_sizes(known):
        records = load_from_sources(name)
    asked, reused = known.counts()
    more = {STARTED: started, FROM_HEADERS: asked >= len(records)}
    try:
        info = write_store(folder, records, root, name=name, sources=fingerprints, more=more)
    except OSError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{folder}: cannot be written ({error}); what was there before is as it was. Free the "
            f"disk, or choose another with --output"
        ) from error
    logger.info(
        "%s: %d image sizes read from headers, %d known from before", name, asked - reused, reused
    )
    return info


def import_data_set(name: str, stores: str | None = None, *, force: bool = False) -> None:
    """Read a data set once and write its store, unless there is one that is as its sources are.

    Args:
        name: a known data set, or the YAML file that declares it.
        stores: folder of the stores; by default where training looks for them.
        force: import in any case, and read all image sizes again.

    Raises:
        InputError: what the data set's readers say, sources that are unknown, a full disk.
    """
    from wend.datasets.catalog import dataset_sources, datasets_root, resolve_name
    from wend.datasets.fingerprints import fingerprint
    from wend.datasets.store import stores_folder

    root, sources = datasets_root(), dataset_sources(name)
    name = resolve_name(name)
    folder = (Path(stores) if stores else stores_folder(root)) / name
    if not sources:
        raise InputError(
            f"data set {name!r}: was registered without its sources, so an import could not be "
            f"told from an old one; give register_records(..., sources=...)"
        )
    fingerprints = [fingerprint(path, root) for path in sources]  # before reading: what changes
    said = "" if force else _still_fresh(folder, fingerprints, root)  # meanwhile is noticed later
    if said:
        logger.info("%s: %s", name, said)
        return
    info = _write(name, folder, root, fingerprints, force)
    counts = info["counts"]
    logger.info(
        "%s: %d images; %d true boxes on %d, %d pseudo boxes on %d; %.1f MB in %s",
        name,
        counts["images"],
        counts["gt_boxes"],
        counts["images_with_gt_boxes"],
        counts["pseudo_boxes"],
        counts["images_with_pseudo_boxes"],
        info["bytes"] / 1e6,
        folder,
    )


def _import(args: argparse.Namespace) -> int:
    for name in args.names:
        import_data_set(name, args.output, force=args.force)
    return 0


def _add_check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="data set, or the YAML file that declares it")
    parser.add_argument("--workers", type=int, metavar="N", help="threads (default: by the cores)")
    parser.add_argument(
        "--output", metavar="FILE", help="the list, JSON lines (default: NAME.problems.jsonl)"
    )
    parser.add_argument("--datasets-root", metavar="DIR", help="sets DETECTRON2_DATASETS")


def _check(args: argparse.Namespace) -> int:
    from wend.loading.check import check_data_set

    return check_data_set(args.name, args.output, _workers(args))


def _add_cache_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="data set, or the YAML file that declares it")
    parser.add_argument("--resize", type=int, default=256, metavar="N", help="WEND.RESIZE (256)")
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="folder of caches, for WEND.DATA.CACHE"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="threads (default: by the cores)")
    parser.add_argument("--datasets-root", metavar="DIR", help="sets DETECTRON2_DATASETS")


def _cache(args: argparse.Namespace) -> int:
    from wend.loading.fill_cache import fill_cache

    if args.resize < 1:
        raise InputError(f"--resize: expected at least 1, got {args.resize}")
    bad = fill_cache(args.name, args.output, args.resize, _workers(args))
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
    """The subcommands of ``wend data``."""
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (purpose, add, run_one) in COMMANDS.items():
        one = commands.add_parser(name, help=purpose, description=purpose)
        add(one)
        add_import_option(one)
        one.set_defaults(run_command=run_one)


def run(args: argparse.Namespace) -> int:
    """Run the subcommand; returns the exit status.

    Raises:
        InputError: the user's input is wrong.
    """
    if getattr(args, "datasets_root", None):
        os.environ["DETECTRON2_DATASETS"] = args.datasets_root
    try:
        return args.run_command(args)
    except KeyboardInterrupt:
        logger.warning("interrupted; what was there before is as it was")
        return 130
