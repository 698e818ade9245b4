"""``wend pseudo-boxes``: boxes from images alone, in C2AM's layout and as COCO JSON.

An interrupted run goes on where it stopped: what is finished stands in
``<output>/<split>.partial``. The output itself appears at the end, whole.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from wend import __version__
from wend.cli.options import add_import_option
from wend.errors import InputError, some
from wend.localize.border_prior import BorderPriorConfig
from wend.localize.boxes import FoundBox
from wend.localize.partial import Partial
from wend.localize.writers import is_done, write_boxes
from wend.structures.boxes import paired_iou
from wend.structures.records import ImageRecord

METHODS = ("border", "ddt")
DDT_ONLY = ("backbone", "weights", "layer", "input_size", "device")
logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``wend pseudo-boxes``."""
    add = parser.add_argument
    add("--method", required=True, choices=METHODS, help="border and centre prior, or DDT")
    images = parser.add_mutually_exclusive_group(required=True)
    images.add_argument("--dataset", metavar="NAME", help="name of the data set")
    images.add_argument("--images", metavar="DIR", help="or a folder of images, all below it")
    add("--output", required=True, metavar="DIR", help="gets <split>/pseudo_boxes and a COCO JSON")
    add("--split", default="train", help="folder in the output (default: train)")
    add("--num-workers", type=int, default=2, help="processes that read images (default: 2)")
    add("--skip-unreadable", action="store_true", help="leave out and count unreadable images")
    add("--datasets-root", metavar="DIR", help="sets DETECTRON2_DATASETS")
    add_import_option(parser)
    border = parser.add_argument_group("border")
    border.add_argument("--side", type=int, metavar="N", help="working size (default: 128)")
    ddt = parser.add_argument_group("ddt").add_argument
    ddt("--backbone", metavar="MODEL", help="timm:<name> or torchvision:<name>")
    ddt("--weights", metavar="FILE", help="the backbone's local checkpoint")
    ddt("--layer", metavar="MODULE", help="its descriptors (default: the last feature map)")
    ddt("--input-size", type=int, metavar="N", help="squash images to NxN (default: 448)")
    ddt("--group", choices=("class", "all"), default="class", help="a component each, or one")
    ddt("--sign", choices=("psol", "loading", "border"), default="psol", help="see docs")
    ddt("--upsampling", choices=("nearest", "bilinear"), default="nearest", help="of the map")
    ddt("--batch-size", type=int, default=32, help="images at a time (default: 32)")
    ddt("--keep-gib", type=float, default=2.0, help="memory that spares a second pass (default: 2)")
    ddt("--device", help="cuda, cuda:1, cpu (default: a GPU if there is one)")


def run(args: argparse.Namespace) -> int:
    """Make boxes as the arguments say; returns the exit status.

    Raises:
        InputError: the user's input is wrong.
    """
    if args.datasets_root:
        os.environ["DETECTRON2_DATASETS"] = args.datasets_root
    _check_arguments(args)
    records = _read_records(args)
    if args.method == "ddt":
        settings, work = _prepare_ddt(args, records)
    else:
        settings, work = _prepare_border(args, records)
    settings = {"method": args.method, **_source(args, records), **settings}
    settings = json.loads(json.dumps(settings))  # as they are read back
    if is_done(args.output, args.split, records, settings):
        logger.info("%s: is there already, made with the same settings", args.output)
        return 0
    partial = Partial(Path(args.output) / f"{args.split}.partial", settings)
    work(partial)
    _finish(args, records, partial, settings)
    return 0


def _check_arguments(args: argparse.Namespace) -> None:
    if args.method == "border":
        given = [f"--{n.replace('_', '-')}" for n in DDT_ONLY if getattr(args, n) is not None]
        if given:
            raise InputError(f"--method border uses no network; leave out {', '.join(given)}")
    elif not (args.backbone and args.weights):
        raise InputError("--method ddt: needs --backbone and --weights, a local file")
    elif args.side is not None:
        raise InputError("--side is of --method border; DDT has --input-size")
    if Path(args.split).name != args.split or args.split in ("", ".", ".."):
        raise InputError(f"--split: expected a folder's name such as train, got {args.split!r}")
    for name, value, low in (
        ("--num-workers", args.num_workers, 0),
        ("--side", args.side or 128, 16),
        ("--input-size", args.input_size or 448, 1),
        ("--batch-size", args.batch_size, 1),
        ("--keep-gib", args.keep_gib, 0),
    ):
        if not value >= low:
            raise InputError(f"{name}: expected at least {low}, got {value}")


def _read_records(args: argparse.Namespace) -> Sequence[ImageRecord]:
    if args.images:
        from wend.formats.folder import load_folder

        records = load_folder(args.images, classes="none")
    else:
        from wend.datasets.catalog import get_records

        records = get_records(args.dataset)
    seen: set[str] = set()
    twice = [r.key for r in records if r.key in seen or seen.add(r.key)]
    if twice:
        raise InputError(
            f"{len(twice)} images share their key with another ({some(twice)}); boxes could not "
            f"tell them apart"
        )
    return records


def _source(args: argparse.Namespace, records: Sequence[ImageRecord]) -> dict[str, Any]:
    """Which images: their names as a digest, so that a resumed run has the same ones."""
    digest = hashlib.sha256("\n".join(r.key for r in records).encode()).hexdigest()
    source = {"dataset": args.dataset} if args.dataset else {"images": Path(args.images).name}
    return source | {"num_images": len(records), "keys_sha256": digest}


def _prepare_border(args: argparse.Namespace, records: Sequence[ImageRecord]) -> tuple:
    from wend.localize.border_prior import localize

    config = BorderPriorConfig(side=args.side) if args.side else BorderPriorConfig()
    packages = {"wend": __version__, "opencv": _opencv_version(), "pillow": version("pillow")}

    def work(partial: Partial) -> None:
        waiting = [r for r in records if r.key not in partial.done]
        found = localize([r.file_name for r in waiting], config, args.num_workers)
        start = len(records) - len(waiting)
        with tqdm(
            total=len(records), initial=start, desc="border", unit="image", disable=None
        ) as bar:
            for record, one in zip(waiting, found, strict=True):
                if isinstance(one, InputError) and not args.skip_unreadable:
                    raise one
                partial.add({record.key: str(one) if isinstance(one, InputError) else one})
                bar.update()

    return {"config": asdict(config), "versions": packages}, work


def _opencv_version() -> str:
    import cv2

    return cv2.__version__


def _prepare_ddt(args: argparse.Namespace, records: Sequence[ImageRecord]) -> tuple:
    import torch

    from wend.classes.classifiers import sha256
    from wend.localize.backbones import build_backbone, choose_device
    from wend.localize.ddt_run import DdtOptions, group_records, localize

    device = choose_device(args.device)
    groups = group_records(records, args.group == "class")
    backbone = build_backbone(args.backbone, args.weights, args.layer, args.input_size)
    options = DdtOptions(
        args.sign,
        args.upsampling,
        args.batch_size,
        args.num_workers,
        int(args.keep_gib * 2**30),
        args.skip_unreadable,
    )
    settings = {
        **backbone.settings,
        "weights": Path(args.weights).name,
        "weights_sha256": sha256(args.weights),
        "group": args.group,
        "sign": args.sign,
        "upsampling": args.upsampling,
        "batch_size": args.batch_size,
        "versions": {"wend": __version__, "torch": torch.__version__, "pillow": version("pillow")},
    }
    return settings, lambda partial: localize(backbone, groups, partial, device, options)


def _finish(
    args: argparse.Namespace,
    records: Sequence[ImageRecord],
    partial: Partial,
    settings: dict[str, Any],
) -> None:
    """Write the boxes and say how many there are of which kind, and how right where one can."""
    rows = {record.key: partial.done[record.key] for record in records}
    errors = [message for message in rows.values() if isinstance(message, str)]
    found = {key: one for key, one in rows.items() if isinstance(one, FoundBox)}
    if not found:
        raise InputError(f"none of {len(records)} images could be read ({some(errors, 1)})")
    for path in write_boxes(args.output, args.split, records, found, settings):
        logger.info("written: %s", path)
    partial.remove()
    whole = sum(1 for one in found.values() if one.whole_image)
    logger.info(
        "%d images: %d boxes, of which %d are the whole image because nothing was found; %d images "
        "could not be read",
        len(records),
        len(found),
        whole,
        len(errors),
    )
    if errors:
        logger.warning("left out: %s", some(errors, 20))
    _log_accuracy(records, found)


def _log_accuracy(records: Sequence[ImageRecord], found: dict[str, FoundBox]) -> None:
    known = [record for record in records if len(record.gt_boxes)]
    if not known:
        return
    best = []
    for record in known:
        scale = [record.width, record.height, record.width, record.height]
        box = found[record.key].box if record.key in found else (0, 0, 0, 0)
        best.append(paired_iou(np.multiply(box, scale)[None], record.gt_boxes).max())
    logger.info(
        "%.1f %% of the %d images with known truth have a box with IoU > 0.5 (mean IoU %.3f)",
        100 * np.mean(np.array(best) > 0.5),
        len(known),
        np.mean(best),
    )
