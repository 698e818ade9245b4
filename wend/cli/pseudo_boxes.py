"""``wend pseudo-boxes``: boxes from images alone, in C2AM's layout and as COCO JSON.

An interrupted run goes on where it stopped: what is finished stands in
``<output>/<split>.partial``. The output itself appears at the end, whole.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
from dataclasses import asdict, replace
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from wend import __version__
from wend.cli.options import (
    add_datasets_root_option,
    add_import_option,
    add_megapixels_option,
    check_keys_differ,
    known_data_sets,
    max_megapixels,
)
from wend.errors import InputError, some
from wend.files import is_plain_name
from wend.images.sizes import SizeReader
from wend.localize.border_prior import BorderPriorConfig
from wend.localize.partial import Partial
from wend.localize.writers import found_table, is_done, write_boxes
from wend.structures.box_table import BoxTable
from wend.structures.boxes import paired_iou
from wend.structures.data_set import DataSet
from wend.structures.records import EXIF

METHODS = ("border", "ddt")
DDT_ONLY = ("backbone", "weights", "layer", "input_size", "device")
logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``wend pseudo-boxes``."""
    add = parser.add_argument
    add("--method", required=True, choices=METHODS, help="border and centre prior, or DDT")
    images = parser.add_mutually_exclusive_group(required=True)
    images.add_argument("--dataset", metavar="NAME", help="name of the data set")
    images.add_argument("--images", metavar="DIR", help="or a folder of images, all below it")
    add(
        "--exif",
        choices=EXIF,
        help="of --images: take them as stored (default), or turned by EXIF's orientation",
    )
    add("--output", required=True, metavar="DIR", help="gets <split>/pseudo_boxes and a COCO JSON")
    add("--split", default="train", help="folder in the output (default: train)")
    add("--boxes", type=int, default=1, metavar="N", help="boxes per image at most (default: 1)")
    add("--num-workers", type=int, default=2, help="processes that read images (default: 2)")
    add("--skip-unreadable", action="store_true", help="leave out and count unreadable images")
    add_megapixels_option(parser)
    add_datasets_root_option(parser)
    add_import_option(parser)
    border = parser.add_argument_group("border")
    border.add_argument("--side", type=int, metavar="N", help="working size (default: 128)")
    ddt = parser.add_argument_group("ddt").add_argument
    ddt("--backbone", metavar="MODEL", help="timm:<name> or torchvision:<name>")
    ddt(
        "--weights",
        metavar="FILE",
        help="the backbone's local checkpoint, or pretrained: what an installed package ships",
    )
    ddt("--layer", metavar="MODULE", help="its descriptors (default: the last feature map)")
    ddt("--input-size", type=int, metavar="N", help="squash images to NxN (default: 448)")
    ddt(
        "--group",
        choices=("class", "all"),
        default="class",
        help="a component per class, or one for all",
    )
    ddt("--sign", choices=("psol", "loading", "border"), default="psol", help="see docs")
    ddt(
        "--upsampling",
        choices=("nearest", "bilinear"),
        default="nearest",
        help="how the map is enlarged",
    )
    ddt("--batch-size", type=int, default=32, help="images at a time (default: 32)")
    ddt("--keep-gib", type=float, default=2.0, help="memory that spares a second pass (default: 2)")
    ddt("--device", help="cuda, cuda:1, cpu (default: a GPU if there is one)")


def run(args: argparse.Namespace) -> int:
    """Make boxes as the arguments say; returns the exit status.

    Raises:
        InputError: the user's input is wrong.
    """
    _check_arguments(args)
    data_set = _read_images(args)
    prepare = _prepare_ddt if args.method == "ddt" else _prepare_border
    settings, work = prepare(args, data_set)
    settings = {"method": args.method, **_source(args, data_set), **settings}
    if args.boxes > 1:
        settings["boxes"] = args.boxes
    settings = json.loads(json.dumps(settings))  # as they are read back
    if is_done(args.output, args.split, data_set.keys, settings, args.boxes):
        logger.info("%s: is there already, made with the same settings", args.output)
        return 0
    partial = Partial(Path(args.output) / f"{args.split}.partial", settings)
    work(partial)
    _finish(args, data_set, partial, settings)
    return 0


def _check_arguments(args: argparse.Namespace) -> None:
    if args.method == "border":
        given = [f"--{n.replace('_', '-')}" for n in DDT_ONLY if getattr(args, n) is not None]
        if given:
            raise InputError(f"--method border uses no network; leave out {', '.join(given)}")
    elif not (args.backbone and args.weights):
        raise InputError("--method ddt: needs --backbone and --weights, a local file or pretrained")
    elif args.side is not None:
        raise InputError("--side is of --method border; DDT has --input-size")
    if not is_plain_name(args.split):
        raise InputError(f"--split: expected a folder's name such as train, got {args.split!r}")
    for name, value, low in (
        ("--boxes", args.boxes, 1),
        ("--num-workers", args.num_workers, 0),
        ("--side", args.side or 128, 16),
        ("--input-size", args.input_size or 448, 1),
        ("--batch-size", args.batch_size, 1),
        ("--keep-gib", args.keep_gib, 0),
    ):
        if not value >= low:
            raise InputError(f"{name}: expected at least {low}, got {value}")


def _read_images(args: argparse.Namespace) -> DataSet:
    if args.images:
        from wend.formats.folder import load_folder

        reader = SizeReader(exif=args.exif or EXIF[0])
        data_set = replace(
            load_folder(args.images, classes="none", sizes=reader),
            exif=reader.exif,
            max_megapixels=max_megapixels(args),
        )
    elif args.exif:
        raise InputError("--exif is for --images; a data set's declaration has the key 'exif'")
    else:
        data_set = known_data_sets(args).get(args.dataset)
    check_keys_differ(data_set, "boxes")
    return data_set


def _source(args: argparse.Namespace, data_set: DataSet) -> dict[str, Any]:
    """The images, their names as a digest, so that a resumed run has the same ones."""
    digest = hashlib.sha256("\n".join(data_set.keys).encode()).hexdigest()
    source = {"dataset": args.dataset} if args.dataset else {"images": Path(args.images).name}
    turned = {} if data_set.exif == "ignore" else {"exif": data_set.exif}
    return source | {"num_images": len(data_set), "keys_sha256": digest, **turned}


def _prepare_border(args: argparse.Namespace, data_set: DataSet) -> tuple:
    from wend.localize.border_prior import localize

    config = BorderPriorConfig(side=args.side) if args.side else BorderPriorConfig()
    packages = {"wend": __version__, "opencv": _opencv_version(), "pillow": version("pillow")}

    def work(partial: Partial) -> None:
        waiting = [i for i, key in enumerate(data_set.keys) if key not in partial.done]
        files = [data_set.file_names[i] for i in waiting]
        results = localize(
            files,
            config,
            args.num_workers,
            data_set.exif,
            args.boxes,
            data_set.max_megapixels,
        )
        start = len(data_set) - len(waiting)
        with tqdm(
            total=len(data_set), initial=start, desc="border", unit="image", disable=None
        ) as bar:
            for index, result in zip(waiting, results, strict=True):
                if isinstance(result, InputError) and not args.skip_unreadable:
                    raise result
                row = str(result) if isinstance(result, InputError) else result
                partial.add({data_set.keys[index]: row})
                bar.update()

    return {"config": asdict(config), "versions": packages}, work


def _opencv_version() -> str:
    import cv2

    return cv2.__version__


def _prepare_ddt(args: argparse.Namespace, data_set: DataSet) -> tuple:
    import torch

    from wend.devices import choose_device
    from wend.localize.backbones import build_backbone
    from wend.localize.ddt_run import DdtOptions, group_images, localize

    device = choose_device(args.device, "--device")
    groups = group_images(data_set, args.group == "class")
    backbone = build_backbone(args.backbone, args.weights, args.layer, args.input_size)
    options = DdtOptions(
        args.sign,
        args.upsampling,
        args.batch_size,
        args.num_workers,
        int(args.keep_gib * 2**30),
        args.skip_unreadable,
        args.boxes,
    )
    settings = {
        **backbone.settings,
        "group": args.group,
        "sign": args.sign,
        "upsampling": args.upsampling,
        "batch_size": args.batch_size,
        "versions": {"wend": __version__, "torch": torch.__version__, "pillow": version("pillow")},
    }

    def work(partial: Partial) -> None:
        localize(backbone, data_set, groups, partial, device, options)

    return settings, work


def _finish(
    args: argparse.Namespace,
    data_set: DataSet,
    partial: Partial,
    settings: dict[str, Any],
) -> None:
    """Write the boxes and log how many of each kind there are, and how many are right."""
    rows = {key: partial.done[key] for key in data_set.keys}
    errors = [message for message in rows.values() if isinstance(message, str)]
    found_boxes = {key: row for key, row in rows.items() if not isinstance(row, str)}
    if not found_boxes:
        raise InputError(f"none of {len(rows)} images could be read ({some(errors, 1)})")
    for path in write_boxes(args.output, args.split, data_set, found_boxes, settings, args.boxes):
        logger.info("written: %s", path)
    partial.remove()
    located = list(chain.from_iterable(found_boxes.values()))
    whole = sum(box.whole_image for box in located)
    logger.info(
        "%d images: %d boxes, of which %d are the whole image because nothing was found; %d images "
        "could not be read",
        len(rows),
        len(located),
        whole,
        len(errors),
    )
    if errors:
        logger.warning("left out: %s", some(errors, 20))
    _log_accuracy(data_set, found_table(data_set, found_boxes))


def _log_accuracy(data_set: DataSet, boxes: BoxTable) -> None:
    """Log how many boxes are right, where the truth is known; at most one box per image."""
    known = data_set.truth.with_boxes
    if not len(known):
        return
    best = np.zeros(len(data_set))  # of the true boxes; 0 where no box was found
    owner = data_set.truth.owner
    paired = boxes.counts[owner] > 0
    iou = paired_iou(boxes.boxes[boxes.offsets[owner[paired]]], data_set.truth.boxes[paired])
    np.maximum.at(best, owner[paired], iou)
    logger.info(
        "%.1f %% of the %d images with known truth have a box with IoU > 0.5 (mean IoU %.3f)",
        100 * np.mean(best[known] > 0.5),
        len(known),
        np.mean(best[known]),
    )
