"""``wend evaluate --score-maps``: its options, and the numbers and files of maps."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wend.errors import InputError
from wend.evaluation.map_boxes import CONTOURS
from wend.evaluation.map_scores import (
    CURVE_COLUMNS,
    MAP_PROTOCOLS,
    PIXEL_COLUMNS,
    MapScores,
    evaluate_maps,
)
from wend.evaluation.map_sweep import MapOptions
from wend.evaluation.protocols import EvalProtocol
from wend.evaluation.score_files import with_threshold
from wend.evaluation.scoring import drop_low_scores
from wend.evaluation.tables import format_table
from wend.files import atomic_write
from wend.structures.data_set import DataSet
from wend.structures.frame import ORIGINAL

CURVE_FILE, CURVE_PICTURE = "map_curve.csv", "map_curve.png"
PIXEL_FILE, PIXEL_PICTURE = "pixel_curve.csv", "pixel_curve.png"
DEFAULTS = {
    "map_threshold": None,
    "map_interval": MapOptions.interval,
    "map_contours": MapOptions.contours,
    "normalize_maps": False,
    "masks": None,
    "num_workers": 2,
}


def add_map_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that go with ``--score-maps``; each is None unless it is given."""
    group = parser.add_argument_group(
        "score maps",
        f"with --score-maps; the protocols are {' '.join(MAP_PROTOCOLS)} by default",
    )
    group.add_argument(
        "--map-threshold",
        type=float,
        metavar="T",
        help="threshold of the boxes, a share of each map's largest value (default: the one at "
        "which GT-known Loc of the first protocol is highest)",
    )
    group.add_argument(
        "--map-interval",
        type=float,
        metavar="STEP",
        help="step of the thresholds that are tried, for MaxBoxAcc and PxAP (default: "
        f"{MapOptions.interval})",
    )
    group.add_argument(
        "--map-contours",
        choices=CONTOURS,
        help="boxes of all contours, the largest first, or of the largest alone (default: all)",
    )
    group.add_argument(
        "--normalize-maps",
        action="store_const",
        const=True,
        help="take each map's least value to 0 and its largest to 1; maps of another size than "
        "224x224 always are",
    )
    group.add_argument(
        "--masks",
        metavar="DIR",
        help="folder that the masks of a wsolevaluation metadata folder (OpenImages) start from",
    )
    group.add_argument(
        "--num-workers",
        type=int,
        metavar="N",
        help=f"processes that read maps; 0: this one (default: {DEFAULTS['num_workers']})",
    )


def settle_map_arguments(args: argparse.Namespace) -> None:
    """Set the options that were not given; InputError for wrong ones, or without maps."""
    given = [name for name in DEFAULTS if getattr(args, name) is not None]
    if args.score_maps is None and given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InputError(f"{options}: for --score-maps alone, not for --detections")
    if args.score_maps is not None and (args.box_frame != ORIGINAL or args.box_classes):
        raise InputError("--box-frame, --box-classes: for --detections alone, not for --score-maps")
    for name, default in DEFAULTS.items():
        if getattr(args, name) is None:
            setattr(args, name, default)
    if args.map_threshold is not None and not 0 <= args.map_threshold < 1:
        raise InputError(f"--map-threshold must be in [0, 1), got {args.map_threshold}")
    if args.num_workers < 0:
        raise InputError(f"--num-workers: expected at least 0, got {args.num_workers}")


def read_maps(
    args: argparse.Namespace, data_set: DataSet, protocols: Sequence[EvalProtocol]
) -> tuple[MapScores, dict]:
    """The numbers and boxes of the maps, as the arguments say, and counts of the boxes."""
    options = MapOptions(args.map_interval, args.map_contours, args.normalize_maps)
    maps = evaluate_maps(
        *(data_set, args.score_maps, protocols, options),
        threshold=args.map_threshold,
        num_workers=args.num_workers,
    )
    kept = drop_low_scores(maps.detections, args.score_threshold)
    counts = {"images": len(data_set), "rows": len(maps.detections.boxes)}
    return replace(maps, detections=kept), with_threshold(counts, kept, args.score_threshold)


def write_map_files(folder: str | Path, maps: MapScores) -> list[Path]:
    """Write the curves over thresholds as CSV and PNG; returns the files."""
    from wend.reports.map_curve import draw_map_curve, draw_pixel_curve

    folder, pixels = Path(folder), maps.sweep.pixels
    tables: dict[str, tuple[Sequence[str], list[list[str]]]] = {
        CURVE_FILE: (CURVE_COLUMNS, maps.curve_rows())
    }
    if pixels is not None:
        tables[PIXEL_FILE] = (PIXEL_COLUMNS, pixels.rows())
    for name, (columns, rows) in tables.items():
        with atomic_write(folder / name) as file:
            file.write(format_table(columns, rows, table_format="csv") + "\n")
    draw_map_curve(maps, folder / CURVE_PICTURE)
    written = [*tables, CURVE_PICTURE]
    if pixels is not None:
        draw_pixel_curve(pixels, folder / PIXEL_PICTURE)
        written.append(PIXEL_PICTURE)
    return [folder / name for name in written]
