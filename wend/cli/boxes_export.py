"""``wend boxes export``: boxes as the files of labelling tools."""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np

from wend.cli.label_file_options import add_label_file_options, format_names
from wend.cli.named_boxes import ENDINGS, SOURCE_HELP, load_images, read_options, read_source
from wend.cli.options import (
    add_datasets_root_option,
    add_implausible_option,
    add_import_option,
    known_data_sets,
)
from wend.datasets.catalog import DataSets
from wend.errors import InputError, some
from wend.evaluation.box_classes import BOX_CLASSES
from wend.evaluation.detections import load_detections
from wend.evaluation.evaluation import DETECTIONS_FILE
from wend.files import expand_user
from wend.label_files import FOREGROUND, write_all
from wend.pseudo_boxes import join_boxes
from wend.run_files import evaluation_folder
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``wend boxes export``."""
    parser.add_argument(
        "dataset",
        metavar="DATASET",
        help="data set, COCO JSON or wsolevaluation folder whose images are meant, and whose "
        "pseudo boxes are written if nothing else is named",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--boxes",
        nargs="+",
        metavar="SOURCE",
        help=f"other boxes: detections of a run (a file that ends in {', '.join(ENDINGS)}, or "
        f"the run's folder), or {SOURCE_HELP}",
    )
    which.add_argument("--truth", action="store_true", help="write the true boxes")
    parser.add_argument(
        "--box-classes",
        choices=BOX_CLASSES,
        help="detections of several classes: use (a box is of its class) or ignore (all are "
        "foreground)",
    )
    add_label_file_options(parser)
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="each format gets a folder in it"
    )
    parser.add_argument("--min-score", type=float, metavar="S", help="lowest score that is written")
    parser.add_argument("--max-boxes", type=int, metavar="K", help="the K best boxes of an image")
    parser.add_argument(
        "--image-classes",
        action="store_true",
        help="a box is of the class of its image, not class-agnostic",
    )
    add_implausible_option(parser)
    add_datasets_root_option(parser)
    add_import_option(parser)


def run(args: argparse.Namespace) -> int:
    """Run ``wend boxes export``; returns the exit status."""
    formats = format_names(args.format or ())
    options = read_options(args.option, "--option")
    data_sets = known_data_sets(args)
    data_set = load_images(args.dataset, data_sets)
    data_set.require_readable()
    table = _limited(_read_table(args, data_set, data_sets), args)
    if args.image_classes:
        table = _with_image_classes(table, data_set)
    labels = args.labels or _default_labels(table)
    paths = write_all(
        formats,
        table,
        data_set,
        args.output,
        labels=labels,
        upright=args.upright,
        overwrite=args.overwrite,
        options=options,
    )
    for path in paths:
        print(f"written: {path}")
    return 0


def _read_table(args: argparse.Namespace, data_set: DataSet, data_sets: DataSets) -> BoxTable:
    if args.truth:
        if not len(data_set.truth.boxes):
            raise InputError(f"data set {data_set.name}: has no true boxes; leave out --truth")
        return data_set.truth
    if args.boxes and len(args.boxes) == 1:
        path = expand_user(args.boxes[0])
        if path.is_dir():
            path = evaluation_folder(path, data_set.name) / DETECTIONS_FILE
        if path.suffix.lower() in ENDINGS:
            return load_detections(
                path, data_set, implausible=args.implausible, box_classes=args.box_classes
            )[0]
    if args.box_classes:
        raise InputError("--box-classes: is about detections of a run; leave it out")
    source = read_source(args.boxes or [args.dataset], data_sets)
    return join_boxes(data_set.keys, data_set.frame_sizes, source, implausible=args.implausible)[0]


def _limited(table: BoxTable, args: argparse.Namespace) -> BoxTable:
    """The boxes that ``--min-score`` and ``--max-boxes`` let through."""
    if args.min_score is not None:
        if table.scores is None:
            raise InputError("--min-score: the boxes have no scores; leave it out")
        table = table.keep(table.scores >= args.min_score)
    if args.max_boxes is not None:
        if args.max_boxes < 1:
            raise InputError(f"--max-boxes: expected a number from 1, got {args.max_boxes}")
        table = table.first(args.max_boxes)
    return table


def _with_image_classes(table: BoxTable, data_set: DataSet) -> BoxTable:
    without = np.flatnonzero((data_set.class_ids < 0) & (table.counts > 0)).tolist()
    if without:
        raise InputError(
            f"--image-classes: {len(without)} images of {data_set.name} have boxes but no class "
            f"({some(data_set.keys[i] for i in without)})"
        )
    return replace(table, class_ids=data_set.class_ids[table.owner])


def _default_labels(table: BoxTable) -> list[str]:
    """``foreground``, or the classes' numbers where boxes have some."""
    if table.class_ids is None:
        return [FOREGROUND]
    return [str(number) for number in range(1 + int(table.class_ids.max(initial=0)))]
