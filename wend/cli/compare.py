"""``wend compare A B``: is one set of detections better than another, and on which images."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from wend.classes.predictions import read_class_predictions
from wend.cli.evaluate import add_truth_arguments, check_numbers, load_scored, load_truth
from wend.cli.options import known_data_sets
from wend.errors import InputError
from wend.evaluation.metrics import choose_metrics, gt_known_loc
from wend.evaluation.protocols import get_protocol
from wend.evaluation.scoring import Bootstrap, Column, ProtocolScores, parse_k, score_all
from wend.evaluation.tables import format_table
from wend.files import atomic_write

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
    """Add the arguments of ``wend compare``."""
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
    """Rows of ``HEADER``, one for each metric and K, of two sets of detections."""
    rows = []
    for column, cell in a.cells.items():
        values = (cell.value, b.cells[column].value)
        shown = map(column.metric.text, (*values, values[0] - values[1]))
        name, title = a.protocol.name, column.metric.heading
        rows.append([name, title, column.k_text, *shown, *_tests(a, b, column, bootstrap)])
    return rows


def _tests(a: ProtocolScores, b: ProtocolScores, column: Column, bootstrap: Bootstrap) -> list[str]:
    from wend.evaluation.statistics import mcnemar, paired_bootstrap

    cells, metric = ["-"] * 6, column.metric
    if not metric.is_average:
        return cells
    values_a, values_b = (metric.values(result.per_image, column.k) for result in (a, b))
    if bootstrap.rounds:
        difference = paired_bootstrap(
            values_a,
            values_b,
            metric.averaged_classes(a.per_image),
            rounds=bootstrap.rounds,
            level=bootstrap.level,
            seed=bootstrap.seed,
        )
        ends = (metric.scale * end for end in (difference.low, difference.high))
        cells[:3] = [*map(metric.text, ends), f"{difference.p_value:.3g}"]
    if values_a.dtype == values_b.dtype == bool:  # each image is a plain hit or miss
        test = mcnemar(values_a, values_b)
        cells[3:] = [str(test.only_a), str(test.only_b), f"{test.p_value:.3g}"]
    return cells


def most_different(a: ProtocolScores, b: ProtocolScores) -> list[list[str]]:
    """Rows of ``IMAGE_HEADER``: images by how much the best-scoring boxes' IoU differs.

    Images that only one of them hits come first; equals stay in the data set's order.
    """
    keys = a.per_image.data_set.keys
    iou = [result.per_image.top_iou for result in (a, b)]
    hit = [gt_known_loc.values(result.per_image).astype(np.float64) for result in (a, b)]
    order = np.lexsort((-np.abs(iou[0] - iou[1]), -np.abs(hit[0] - hit[1])))
    return [
        [
            keys[a.per_image.images[i]],
            *(f"{values[i]:.3f}" for values in iou),
            *(f"{values[i]:g}" for values in hit),
        ]
        for i in order
        if iou[0][i] != iou[1][i]
    ]


def _write(folder: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        with atomic_write(folder / name) as file:
            file.write(text + "\n")
        sys.stdout.write(f"written: {folder / name}\n")


def _score_both(args: argparse.Namespace) -> list[dict[str, ProtocolScores]]:
    """The scores of A and of B by protocol name."""
    protocols = [get_protocol(name) for name in args.protocol]
    ks = [parse_k(text) for text in args.max_boxes]
    metrics = choose_metrics(args.metrics)
    data_set, _ = load_truth(args.ground_truth, known_data_sets(args), args.implausible)
    classes = args.class_predictions and read_class_predictions(args.class_predictions, data_set)
    both = []
    for path in (args.a, args.b):
        detections, _ = load_scored(path, data_set, args)
        both.append(score_all(data_set, detections, protocols, ks, classes, metrics=metrics))
    return both


def run(args: argparse.Namespace) -> int:
    """Compare, print, and write the tables if asked to; returns the exit status."""
    check_numbers(args)
    if args.images < 0:
        raise InputError(f"--images must be >= 0, got {args.images}")
    bootstrap = Bootstrap(args.bootstrap_rounds, seed=args.seed)
    a, b = _score_both(args)
    rows = [row for name in a for row in compare_scores(a[name], b[name], bootstrap)]
    first = next(iter(a))
    number = len(a[first].per_image.data_set)
    notes = [
        f"A: {args.a}; B: {args.b}; {number} images",
        f"low, high: 95 % interval of A - B, {bootstrap.rounds} paired bootstrap resamples",
        "only A, only B: images that one hits and the other misses; p of McNemar's exact test",
        *(f"per cent; {result.protocol.describe()}" for result in a.values()),
    ]
    table = format_table(HEADER, rows, notes)
    sys.stdout.write(f"\n{table}\n\n")
    images = most_different(a[first], b[first])
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
