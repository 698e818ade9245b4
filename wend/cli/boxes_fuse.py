"""``wend boxes fuse``: boxes of several sources as one file, each with the sources' agreement."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wend.cli.named_boxes import add_join_options, load_images, read_any_boxes, source_words
from wend.cli.options import (
    add_datasets_root_option,
    add_implausible_option,
    add_import_option,
    check_keys_differ,
    known_data_sets,
)
from wend.errors import InputError
from wend.evaluation.protocols import get_protocol
from wend.files import expand_user, real_path, write_json
from wend.formats.coco import to_coco
from wend.pseudo_boxes import SOURCES, join_boxes
from wend.pseudo_boxes.fusion import ABSENT, IOU_THRESHOLD, METHODS, FusedBoxes, fuse_boxes
from wend.reports.fusion_text import fusion_text
from wend.structures.data_set import DataSet
from wend.structures.unit_scores import describe_scores

DESCRIPTION = "boxes of several sources, fused by WEND"
logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``wend boxes fuse``."""
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="two or more, one behind the other, each SOURCE PATH [OPTION=VALUE ...], such as c2am "
        "c2am_boxes/train/pseudo_boxes; the name of a data set, whose own pseudo boxes are meant; "
        "a JSON of pseudo boxes or detections (COCO), a CSV or Parquet of detections, or a run's "
        f"folder. Sources: {', '.join(SOURCES)}, module:function, ./file.py:function",
    )
    parser.add_argument(
        "--dataset",
        required=True,
        metavar="NAME",
        help="data set, COCO JSON or wsolevaluation folder whose images are meant",
    )
    parser.add_argument(
        "--output", required=True, metavar="FILE", help="COCO JSON that the source coco reads"
    )
    parser.add_argument(
        "--method",
        choices=METHODS,
        default="average",
        help="the box of boxes that overlap: their weighted average (default), the one that the "
        "others agree with most, or the one of the best score",
    )
    parser.add_argument(
        "--iou",
        type=float,
        default=IOU_THRESHOLD,
        metavar="T",
        help=f"boxes of a larger IoU than this are one (default: {IOU_THRESHOLD:g})",
    )
    parser.add_argument(
        "--weights",
        type=float,
        nargs="+",
        metavar="W",
        help="weight of each source, in their order (default: 1 each)",
    )
    parser.add_argument(
        "--max-boxes", type=int, metavar="N", help="the N boxes of an image most agreed on"
    )
    parser.add_argument(
        "--absent",
        choices=ABSENT,
        default="disagrees",
        help="what a source says of an image in which it has no box: that there is none (default), "
        "or nothing",
    )
    parser.add_argument(
        "--ignore-scores", action="store_true", help="all boxes of a source weigh the same"
    )
    parser.add_argument(
        "--protocol",
        default="original",
        metavar="NAME",
        help="protocol of GT-known Loc, where the truth is known (default: original)",
    )
    parser.add_argument(
        "--report", metavar="DIR", help="folder for the page of wend boxes report of the new boxes"
    )
    add_join_options(parser)
    add_implausible_option(parser)
    add_datasets_root_option(parser)
    add_import_option(parser)


def run(args: argparse.Namespace) -> int:
    """Run ``wend boxes fuse``; returns the exit status."""
    words = source_words(args.sources)
    if len(words) < 2:
        raise InputError(f"wend boxes fuse: expected two sources or more, got {len(words)}")
    get_protocol(args.protocol)
    output = expand_user(args.output)
    _check_replaceable(output, words)
    data_sets = known_data_sets(args)
    data_set = load_images(args.dataset, data_sets)
    data_set.require_readable()
    data_set.require_plain_ids()
    check_keys_differ(data_set, args.output)
    tables = [
        join_boxes(
            data_set.keys,
            data_set.frame_sizes,
            read_any_boxes(each, data_set, data_sets),
            strict=args.strict or None,
            allow_contamination=args.allow_contamination or None,
            implausible=args.implausible,
        )[0]
        for each in words
    ]
    names = [" ".join(each) for each in words]
    for name, table in zip(names, tables, strict=True):
        if not args.ignore_scores and (said := describe_scores(table.scores)):
            logger.info("%s: %s", name, said)
    fused = fuse_boxes(
        tables,
        weights=args.weights,
        iou_threshold=args.iou,
        method=args.method,
        max_boxes=args.max_boxes,
        absent=args.absent,
        use_scores=not args.ignore_scores,
    )
    write_json(output, _as_coco(fused, data_set, names, args))
    print(f"\n{fusion_text(data_set, names, tables, fused, args.protocol)}\n")
    print(f"written: {output}")
    return 0


def _check_replaceable(output: Path, words: Sequence[Sequence[str]]) -> None:
    """Raise InputError unless the output is new, or a file that this verb wrote."""
    if output.suffix.lower() != ".json":
        raise InputError(f"--output {output}: expected a file that ends in .json")
    if any(real_path(expand_user(word)) == real_path(output) for each in words for word in each):
        raise InputError(f"--output {output}: is one of the sources; name another file")
    if output.is_dir():
        raise InputError(f"--output {output}: is a folder; name a file in it")
    if output.exists():
        with open(output, "rb") as file:
            ours = DESCRIPTION.encode() in file.read(1 << 10)
        if not ours:
            raise InputError(
                f"--output {output}: is there already, and not written by wend boxes fuse; name "
                f"another file, or delete it"
            )


def _as_coco(
    fused: FusedBoxes, data_set: DataSet, names: Sequence[str], args: argparse.Namespace
) -> dict[str, Any]:
    """The COCO JSON: ``score`` of a box is its agreement, an image has the mean of its boxes'."""
    info = {
        "description": DESCRIPTION,
        "score": "agreement of the sources, 0 to 1",
        "sources": list(names),
        "weights": args.weights or [1.0] * len(names),
        "method": args.method,
        "iou": args.iou,
        "absent": args.absent,
        "scores": "ignored" if args.ignore_scores else "used",
    }
    content = to_coco(data_set, fused.table, info)
    for image, agreement in zip(content["images"], fused.agreement.tolist(), strict=True):
        image["agreement"] = None if np.isnan(agreement) else agreement
    for box, members in zip(content["annotations"], fused.members.tolist(), strict=True):
        box["members"] = members
    return content
