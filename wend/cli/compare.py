"""``wend compare A B``: is one set of detections better than another, and on which images."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wend.classes.predictions import read_class_predictions
from wend.cli.evaluate import add_truth_arguments, check_numbers, load_scored
from wend.datasets.catalog import DataSets
from wend.datasets.ground_truth import check_truth, load_source
from wend.errors import InputError
from wend.evaluation.metrics import average, values
from wend.evaluation.protocols import get_protocol
from wend.evaluation.scoring import Bootstrap, ProtocolScores, k_name, parse_k, score_all
from wend.evaluation.tables import TITLES, format_table
from wend.files import atomic_write
from wend.structures.records import ImageRecord

HEADER = (
    "protocol",
    "metric",
    "K",
    "A",
    "B",
    "A - B",
    "low",
    "high",
    "p bootstrap",
    "only A",
    "only B",
    "p McNemar",
)
IMAGE_HEADER = ("image", "IoU A", "IoU B", "hit A", "hit B")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``wend compare``."""
    parser.add_argument("a", metavar="A", help="detections, as for wend evaluate --detections")
    parser.add_argument("b", metavar="B", help="the other detections, of the same images")
    add_truth_arguments(parser)
    parser.add_argument(
        "--images",
        type=int,
        default=10,
        metavar="N",
        help="how many of the images that differ most are printed (default: 10)",
    )
    parser.add_argument(
        "--output", metavar="DIR", help="folder for comparison.md, comparison.csv and images.csv"
    )


def compare_scores(a: ProtocolScores, b: ProtocolScores, bootstrap: Bootstrap) -> list[list[str]]:
    """Rows of ``HEADER``, one a metric and K, of two sets of detections under one protocol."""
    rows = []
    for column in a.cells:
        pair = [values(of.per_image, column.metric, column.k) for of in (a, b)]
        scored = [100 * average(a.per_image, of) for of in pair]
        rows.append(
            [
                a.protocol.name,
                TITLES[column.metric],
                k_name(column.k) if column.multi else "1",
                *(f"{value:.2f}" for value in (*scored, scored[0] - scored[1])),
                *_tests(a, pair, bootstrap),
            ]
        )
    return rows


def _tests(a: ProtocolScores, pair: Sequence[np.ndarray], bootstrap: Bootstrap) -> list[str]:
    from wend.evaluation.statistics import mcnemar, paired_bootstrap

    cells = ["-"] * 6
    if bootstrap.rounds:
        by_class = a.protocol.average == "class"
        found = paired_bootstrap(
            *pair,
            a.per_image.class_ids if by_class else None,
            rounds=bootstrap.rounds,
            level=bootstrap.level,
            seed=bootstrap.seed,
        )
        cells[:3] = [f"{100 * found.low:.2f}", f"{100 * found.high:.2f}", f"{found.p_value:.3g}"]
    if len(a.protocol.thresholds) == 1:  # else an image is no plain hit or miss
        test = mcnemar(*pair)
        cells[3:] = [str(test.only_a), str(test.only_b), f"{test.p_value:.3g}"]
    return cells


def most_different(
    records: Sequence[ImageRecord], a: ProtocolScores, b: ProtocolScores
) -> list[list[str]]:
    """Rows of ``IMAGE_HEADER``: images by how much the best-scoring boxes' IoU differs.

    Images that only one of them hits come first; equals stay in the data set's order.
    """
    keys = {record.image_id: record.key for record in records}
    iou = [of.per_image.top_iou for of in (a, b)]
    hit = [values(of.per_image, "gt_known_loc") for of in (a, b)]
    order = np.lexsort((-np.abs(iou[0] - iou[1]), -np.abs(hit[0] - hit[1])))
    image_ids = a.per_image.image_ids
    return [
        [
            keys[image_ids[i]],
            *(f"{of[i]:.3f}" for of in iou),
            *(f"{of[i]:g}" for of in hit),
        ]
        for i in order
        if iou[0][i] != iou[1][i]
    ]


def _write(folder: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        with atomic_write(folder / name) as file:
            file.write(text + "\n")
        sys.stdout.write(f"written: {folder / name}\n")


def _score_both(args: argparse.Namespace):
    """Records, and the scores of A and of B by protocol name."""
    protocols = [get_protocol(name) for name in args.protocol]
    ks = [parse_k(text) for text in args.max_boxes]
    records = load_source(args.ground_truth, DataSets(args.datasets_root))
    check_truth(records)
    classes = args.class_predictions and read_class_predictions(args.class_predictions, records)
    both = []
    for path in (args.a, args.b):
        detections, _ = load_scored(path, records, args)
        both.append(score_all(records, detections, protocols, ks, classes))
    return records, *both


def run(args: argparse.Namespace) -> int:
    """Compare, print, and write the tables if asked to; returns the exit status."""
    check_numbers(args)
    if args.images < 0:
        raise InputError(f"--images must be >= 0, got {args.images}")
    bootstrap = Bootstrap(args.bootstrap_rounds, seed=args.seed)
    records, a, b = _score_both(args)
    rows = [row for name in a for row in compare_scores(a[name], b[name], bootstrap)]
    notes = [
        f"A: {args.a}; B: {args.b}; {len(records)} images",
        f"low, high: 95 % interval of A - B, {bootstrap.rounds} paired bootstrap resamples",
        "only A, only B: images that one hits and the other misses; p of McNemar's exact test",
        *(f"per cent; {of.protocol.describe()}" for of in a.values()),
    ]
    table = format_table(HEADER, rows, notes)
    sys.stdout.write(f"\n{table}\n\n")
    first = next(iter(a))
    images = most_different(records, a[first], b[first])
    shown = format_table(IMAGE_HEADER, images[: args.images])
    sys.stdout.write(
        f"Images whose best box differs most ({first}), of {len(images)}:\n\n{shown}\n\n"
    )
    if args.output:
        texts = {
            "comparison.md": table,
            "comparison.csv": format_table(HEADER, rows, table_format="csv"),
            "comparison.tex": format_table(HEADER, rows, notes, "latex"),
            "images.csv": format_table(IMAGE_HEADER, images, table_format="csv"),
        }
        _write(Path(args.output), texts)
    return 0
