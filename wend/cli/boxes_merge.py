"""``wend boxes merge``: the boxes of all images, of what shards of ``wend pseudo-boxes`` did."""

from __future__ import annotations

import argparse
from pathlib import Path

from wend import __version__
from wend.cli.options import add_import_option
from wend.cli.pseudo_boxes import (
    add_images_options,
    add_page_option,
    check_page,
    finish,
    read_images,
)
from wend.errors import InputError
from wend.localize.found import FORMAT, LEFTOVERS, from_row, part_folder
from wend.localize.whole import check_split, describe_images, write_whole
from wend.localize.writers import is_done
from wend.partial import differences
from wend.parts import Parts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``wend boxes merge``."""
    parser.add_argument("output", metavar="DIR", help="the shards' --output")
    parser.add_argument("--split", default="train", help="the shards' (default: train)")
    add_images_options(parser, required=False)
    add_page_option(parser)
    add_import_option(parser)


def run(args: argparse.Namespace) -> int:
    """Merge, as the arguments say; returns the exit status.

    Raises:
        InputError: images are missing, parts do not fit together, or not the images.
    """
    check_split(args.split)
    check_page(args.page)
    folder = part_folder(args.output, args.split)
    output = Path(args.output) / args.split
    parts: Parts = Parts.of_folder(
        output, folder, FORMAT, from_row, LEFTOVERS, doing="wend boxes merge"
    )
    settings = parts.settings
    if not args.images:
        args.dataset = args.dataset or settings.get("dataset")
    if not args.images and not args.dataset:
        raise InputError(
            f"{folder}: is of a folder of images, {settings.get('images')}; name it: --images DIR"
        )
    if settings["versions"]["wend"] != __version__:
        raise InputError(
            f"{folder}: was made by WEND {settings['versions']['wend']}, this is {__version__}; "
            f"merge with that version"
        )
    data_set = read_images(args, keep_unreadable=True)  # shards may have skipped them
    images = describe_images(data_set, args.dataset, args.images)
    changed = differences({key: settings.get(key) for key in images}, images)
    if changed:
        raise InputError(f"{folder}: is of other images ({changed})")
    with parts:
        if is_done(args.output, args.split, data_set.keys, settings):
            raise InputError(f"{args.output}: is there already, whole; {folder} can be removed")
        boxes = write_whole(args.output, args.split, data_set, parts)
        finish(args, data_set, settings, boxes)
    return 0
