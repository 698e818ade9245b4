"""``wend auto``: from a folder of photos to a detector, boxes and a page in one command."""

from __future__ import annotations

import argparse
from typing import Any

from wend.auto.pipeline import AGREE, AUTO, BORDER, Auto, Wishes
from wend.cli.label_file_options import (
    add_prediction_options,
    number_of_pictures,
    prediction_formats,
)
from wend.cli.nested import run_command
from wend.cli.options import (
    add_engine_option,
    add_megapixels_option,
    key_values,
    max_megapixels,
)
from wend.errors import InputError
from wend.files import expand_user
from wend.inference.engines import choose_engine, engine_module
from wend.localize.presets import PRESETS
from wend.run_lock import locked
from wend.stop_signals import SAME_COMMAND, keeping
from wend.structures.records import EXIF

BACKBONES = {"pretrained": "photos", "small": "photos_small"}  # -> config of the detector
ENDINGS = {".json": "coco", ".csv": "csv", ".parquet": "parquet"}  # of a file -> its box source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``wend auto``."""
    add = parser.add_argument
    add("photos", help="folder of the photos, all below it")
    add("--output", required=True, metavar="DIR", help="a run folder, with all that is made")
    add_megapixels_option(parser)
    add("--exif", choices=EXIF[::-1], default="apply", help="turn photos by EXIF (default), or not")
    boxes = parser.add_argument_group("pseudo boxes").add_argument
    boxes(
        "--method",
        choices=(*PRESETS, AGREE),
        help="how pseudo boxes are made; auto (default with a network): several methods of wend "
        "pseudo-boxes, fused; border (default without); agree: of ddt, ddt-fine and border the "
        "one that the others agree with most",
    )
    boxes("--boxes", type=int, default=5, metavar="N", help="pseudo boxes per photo at most (5)")
    boxes("--pseudo-boxes", metavar="PATH", help="boxes that you have, instead")
    boxes(
        "--source",
        metavar="NAME",
        help="the box source that reads them (default: coco, csv or parquet, as the file ends)",
    )
    parts = parser.add_argument_group("held-out photos").add_argument
    parts("--held-out", type=float, default=0.2, metavar="SHARE", help="share of photos (0.2)")
    parts("--seed", type=int, default=0, metavar="N", help="of their choice (0)")
    parts("--truth", metavar="PATH", help="true boxes (VOC, YOLO, COCO, CSV), to evaluate only")
    detector = parser.add_argument_group("detector")
    train = detector.add_argument
    train("--minutes", type=float, metavar="M", help="that the training may take (8)")
    add_engine_option(detector, "as of wend train")
    train(
        "--backbone",
        choices=list(BACKBONES),
        default="pretrained",
        help="the network with pretrained weights (default), or a small one from scratch",
    )
    train("--weights", metavar="FILE", help="its weights; by default those of a package")
    train("--config-file", metavar="FILE", help="a config instead of those of the backbones")
    add_prediction_options(parser)
    opts = add(
        "opts",
        nargs="+",  # so that words after options are taken, which argparse does not with "*"
        default=[],
        metavar="KEY VALUE",
        help="overrides of config entries, at the end of the command",
    )
    opts.required = False


def run(args: argparse.Namespace) -> int:
    """Do what is not done yet; returns the exit status.

    Raises:
        InputError: the user's input is wrong.
    """
    wishes = _wishes(args)
    opts = [text for pair in wishes.overrides.items() for text in pair]
    cfg = engine_module(wishes.engine, "run").read_config(wishes.config_file, opts)
    with keeping(SAME_COMMAND), locked(wishes.output, doing="wend auto"):
        Auto(wishes, run_command, cfg).run()
    return 0


def _wishes(args: argparse.Namespace) -> Wishes:
    for name, value, good, expected in (
        ("--boxes", args.boxes, args.boxes >= 1, "at least 1"),
        ("--held-out", args.held_out, 0 <= args.held_out < 1, "a share from 0 to below 1"),
        ("--seed", args.seed, args.seed >= 0, "at least 0"),
        ("--minutes", args.minutes, args.minutes is None or args.minutes > 0, "more than 0"),
    ):
        if not good:
            raise InputError(f"{name}: expected {expected}, got {value}")
    overrides = key_values(args.opts, "overrides of config entries")
    if args.max_megapixels is not None:
        overrides.setdefault("WEND.DATA.MAX_MEGAPIXELS", str(max_megapixels(args)))
    if "OUTPUT_DIR" in overrides:
        raise InputError("OUTPUT_DIR: wend auto writes to --output")
    number_of_pictures(args.pictures)  # a wrong one is told before anything is made
    weights = "pretrained" if args.backbone == "pretrained" else ""
    if args.weights is not None:
        weights = str(expand_user(args.weights).absolute())
    return Wishes(
        photos=expand_user(args.photos),
        output=expand_user(args.output),
        exif=args.exif,
        method=args.method or (AUTO if weights else BORDER),
        boxes=args.boxes,
        pseudo_boxes=_source(args.pseudo_boxes, args.source),
        truth=None if args.truth is None else expand_user(args.truth),
        held_out=args.held_out,
        seed=args.seed,
        minutes=args.minutes or 8.0,
        engine=choose_engine(args.engine),
        config_file=args.config_file or BACKBONES[args.backbone],
        overrides=overrides,
        weights=weights,
        formats=prediction_formats(args.format),
        pictures=args.pictures,
    )


def _source(path: str | None, name: str | None) -> dict[str, Any] | None:
    """The box source that ``--pseudo-boxes`` and ``--source`` name."""
    if path is None:
        if name is not None:
            raise InputError(f"--source {name}: is of --pseudo-boxes PATH, which is not given")
        return None
    file = expand_user(path)
    name = name or ENDINGS.get(file.suffix.lower())
    if name is None:
        raise InputError(
            f"--pseudo-boxes {file}: expected a file that ends in {', '.join(ENDINGS)}, or "
            f"--source, such as --source c2am"
        )
    return {"source": name, "path": file.absolute()}
