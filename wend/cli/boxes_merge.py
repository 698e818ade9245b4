"""``wend boxes merge``: the boxes of all images, of what shards of ``wend pseudo-boxes`` did."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wend.cli.finished_boxes import add_page_option, check_page, finish
from wend.cli.options import add_import_option
from wend.cli.pseudo_boxes import add_images_options, read_images
from wend.errors import InputError
from wend.localize.found import part_folder
from wend.localize.merging import Unmerged, merge
from wend.localize.whole import check_split, describe_images
from wend.structures.data_set import DataSet


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
    folder, methods = part_folder(args.output, args.split), _methods_folder(args)
    if methods.is_dir() and not folder.is_dir():
        _merge_fused(args, methods)
        return 0
    unmerged = Unmerged.read(args.output, args.split)
    settings = unmerged.parts.settings
    data_set, images = _images(args, settings, folder)
    (boxes,) = merge([unmerged], data_set, images)
    finish(args, data_set, settings, boxes)
    return 0


def _methods_folder(args: argparse.Namespace) -> Path:
    from wend.auto.fused import methods_folder

    return methods_folder(args.output, args.split)


def _merge_fused(args: argparse.Namespace, folder: Path) -> None:
    """Merge what shards of ``--method auto`` did of each method, and fuse the methods."""
    from wend.auto.fused import merge_methods, settings_of_methods, write_fused

    settings = settings_of_methods(args.output, args.split)
    data_set, images = _images(args, settings, folder)
    merge_methods(data_set, images, args.output, args.split)
    number = settings.get("boxes", 1)
    fused = write_fused(args.output, args.split, data_set, images, number)
    finish(args, data_set, fused.settings, fused.boxes, fused.agreed)


def _images(
    args: argparse.Namespace, settings: Mapping[str, Any], folder: Path
) -> tuple[DataSet, dict[str, Any]]:
    """The images that parts are of, and they in words."""
    if not args.images:
        args.dataset = args.dataset or settings.get("dataset")
    if not args.images and not args.dataset:
        raise InputError(
            f"{folder}: is of a folder of images, {settings.get('images')}; name it: --images DIR"
        )
    data_set = read_images(args, keep_unreadable=True)  # shards may have skipped them
    return data_set, describe_images(data_set, args.dataset, args.images)
