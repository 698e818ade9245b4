"""``wend compare``: is one method better than another, on which images, whatever the seed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from string import ascii_uppercase

from wend.classes.predictions import read_class_predictions
from wend.cli.evaluate import (
    DEFAULT_PROTOCOLS,
    add_truth_arguments,
    check_numbers,
    load_scored,
    load_truth,
    without_class_means,
)
from wend.cli.options import known_data_sets
from wend.errors import InputError
from wend.evaluation.comparison import (
    FAMILIES,
    Comparison,
    ImageDifference,
    MethodNumber,
    PairNumber,
    Runs,
    compare_methods,
    most_different,
)
from wend.evaluation.metrics import choose_metrics
from wend.evaluation.protocols import get_protocol
from wend.evaluation.scoring import parse_k, score_all
from wend.evaluation.tables import copy_notes, format_table
from wend.files import atomic_write, real_path

METHOD_HEADER = ("protocol", "metric", "K", "method", "seeds", "mean", "sd", "lowest", "highest")
PAIR_HEADER = (
    *("protocol", "metric", "K", "pair", "A", "B", "A - B", "low", "high"),
    *("p images", "p seeds", "p Holm", "only A", "only B", "p McNemar", "mid-p McNemar"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``wend compare``."""
    parser.add_argument(
        "detections",
        nargs="*",
        metavar="FILE",
        help="two or more files of detections, as for wend evaluate --detections, one for each "
        "method; they are called A, B, ...",
    )
    parser.add_argument(
        "--method",
        nargs="+",
        action="append",
        default=[],
        metavar=("NAME", "FILE"),
        help="a method and its detections, a file for each seed; given once for each method, "
        "instead of the files alone",
    )
    parser.add_argument(
        "--against",
        metavar="NAME",
        help="compare all methods with this one (default: all pairs)",
    )
    parser.add_argument(
        "--family",
        choices=FAMILIES,
        default="row",
        help="what Holm's correction is for: the pairs of a protocol, metric and K (row, default), "
        "or all tests of the table",
    )
    add_truth_arguments(parser)
    parser.add_argument(
        "--images",
        type=int,
        default=10,
        metavar="N",
        help="how many of the images that differ most are printed (default: 10)",
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="folder for comparison.md, .csv (pairs), .tex and .png, methods.csv and images.csv",
    )


def _files(args: argparse.Namespace) -> dict[str, list[str]]:
    """Method name -> its files of detections, one for each seed."""
    if args.method and args.detections:
        raise InputError(
            f"either files alone or --method NAME FILE ..., got both ({args.detections[0]} stands "
            f"alone)"
        )
    given = args.method
    if not given:
        if len(args.detections) > len(ascii_uppercase):
            raise InputError(
                f"{len(args.detections)} files are too many to be called A to Z; name the methods: "
                f"--method NAME FILE ..."
            )
        given = [[name, path] for name, path in zip(ascii_uppercase, args.detections, strict=False)]
    files: dict[str, list[str]] = {}
    for name, *paths in given:
        if args.method and (not name.strip() or not name.isprintable() or Path(name).is_file()):
            raise InputError(
                f"--method {name!r}: expected a name for the method before its files, got "
                f"{'a file' if Path(name).is_file() else 'no plain text'}"
            )
        if not paths:
            raise InputError(f"--method {name}: expected a name and one or more files, got no file")
        if name in files:
            raise InputError(
                f"--method {name} is given twice; give all its files at once: --method {name} "
                f"{' '.join([*files[name], *paths])}"
            )
        files[name] = paths
    if len(files) < 2:
        raise InputError(
            f"expected two or more methods to compare, got {', '.join(files) or 'none'}; give two "
            f"files, or --method NAME FILE ... twice"
        )
    if args.against is not None and args.against not in files:
        raise InputError(
            f"--against {args.against}: there is no such method; there are: {', '.join(files)}"
        )
    seen: dict[Path, str] = {}
    for name, paths in files.items():
        for path in paths:
            other = seen.setdefault(real_path(path), name)
            if other != name or paths.count(path) > 1:
                raise InputError(
                    f"{path} is given twice ({other} and {name}); each seed of each method has its "
                    f"own file"
                )
    return files


def _score(
    files: dict[str, list[str]], args: argparse.Namespace
) -> tuple[dict[str, Runs], list[str]]:
    """The scores of each method's seeds, and what is to be said of the files."""
    protocols = [get_protocol(name) for name in args.protocol or DEFAULT_PROTOCOLS]
    ks = [parse_k(text) for text in args.max_boxes]
    metrics = choose_metrics(args.metrics)
    data_set, _ = load_truth(args.ground_truth, known_data_sets(args), args.implausible)
    if not args.protocol:
        protocols = without_class_means(protocols, data_set)
    classes = args.class_predictions and read_class_predictions(args.class_predictions, data_set)
    methods: dict[str, Runs] = {}
    notes = []
    for name, paths in files.items():
        runs = []
        for path in paths:
            detections, counts = load_scored(path, data_set, args)
            runs.append(score_all(data_set, detections, protocols, ks, classes, metrics=metrics))
            without = counts["images_without_detections"]
            if without:
                notes.append(f"{path}: {without} images without detection are misses")
        methods[name] = runs
    said = "; ".join(f"{name}: {', '.join(paths)}" for name, paths in files.items())
    return methods, [f"{said}; {len(data_set)} images", *notes]


def method_row(number: MethodNumber) -> list[str]:
    """A row of ``METHOD_HEADER``."""
    metric, values = number.column.metric, number.values
    several = len(values) > 1
    return [
        *(number.protocol, metric.heading, number.column.k_text, number.method, str(len(values))),
        *map(metric.text, (number.mean, number.spread)),
        *map(metric.text, (min(values), max(values)) if several else (None, None)),
    ]


def pair_row(pair: PairNumber) -> list[str]:
    """A row of ``PAIR_HEADER``."""
    metric, test, hits = pair.a.column.metric, pair.test, pair.mcnemar
    return [
        *(pair.a.protocol, metric.heading, pair.a.column.k_text),
        f"{pair.a.method} - {pair.b.method}",
        *map(metric.text, (pair.a.mean, pair.b.mean, test.difference, test.low, test.high)),
        *map(_p_text, (test.p_images, test.p_seeds, pair.p_holm)),
        *(("-", "-") if hits is None else (str(hits.only_a), str(hits.only_b))),
        *map(_p_text, (None, None) if hits is None else (hits.p_value, hits.mid_p)),
    ]


def _p_text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _image_rows(
    names: list[str], images: list[ImageDifference]
) -> tuple[list[str], list[list[str]]]:
    header = ["image", *(f"IoU {name}" for name in names), *(f"hit {name}" for name in names)]
    return header, [
        [image.key, *(f"{x:.3f}" for x in image.ious), *(f"{x:.3g}" for x in image.hits)]
        for image in images
    ]


def _notes(files: dict[str, list[str]], result: Comparison, level: float) -> list[str]:
    """What the columns of the pairs mean."""
    several = {name for name, paths in files.items() if len(paths) > 1}
    notes = [
        f"low, high: {100 * level:g} % confidence interval of A - B, of other images"
        + (" and, where both methods have several seeds, of other seeds" if several else ""),
        "p images: of no difference between these very models; images are the sample, the same for "
        "all seeds",
    ]
    if len(several) > 1:
        notes.append(
            "p seeds: of no difference between the ways of training; images and seeds are the "
            "sample, seeds of two methods are not paired"
        )
    if several and len(several) < len(files):
        single = [name for name in files if name not in several]
        notes.append(f"one seed alone tells nothing of the spread over seeds: {', '.join(single)}")
    which = "p seeds where there is one, else p images" if len(several) > 1 else "p images"
    notes.append(f"p Holm: {which}, corrected by Holm's method for {result.family}")
    if any(pair.mcnemar for pair in result.pairs):
        notes.append(
            "only A, only B: images that one hits and the other misses; McNemar's exact test and "
            "its mid-p, not corrected"
        )
    return notes


def _filled(header: tuple[str, ...], rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """The columns that hold something."""
    kept = [i for i in range(len(header)) if any(row[i] != "-" for row in rows)]
    return [header[i] for i in kept], [[row[i] for i in kept] for row in rows]


def _tables(
    files: dict[str, list[str]], result: Comparison, dataset: str, notes: list[str], kind: str
) -> str:
    """The table of methods, where it says more than the pairs do, and that of pairs."""
    names = dict.fromkeys(pair.a.protocol for pair in result.pairs)
    where = f"{dataset}, protocol{'s' * (len(names) > 1)} {', '.join(names)}"
    pairs = format_table(
        *_filled(PAIR_HEADER, [pair_row(pair) for pair in result.pairs]),
        notes,
        kind,
        caption=f"Pairs of methods on {where}.",
        label=f"{dataset}-pairs",
    )
    if len(files) == 2 and all(len(paths) == 1 for paths in files.values()):
        return pairs
    methods = format_table(
        *_filled(METHOD_HEADER, [method_row(number) for number in result.methods]),
        ["mean, sd (of S - 1), lowest, highest: over the S seeds of a method"],
        kind,
        caption=f"Methods on {where}.",
        label=f"{dataset}-methods",
    )
    return f"{methods}\n\n{pairs}"


def run(args: argparse.Namespace) -> int:
    """Compare, print, and write the tables if asked to; returns the exit status."""
    check_numbers(args)
    if args.images < 0:
        raise InputError(f"--images must be >= 0, got {args.images}")
    files = _files(args)
    methods, said = _score(files, args)
    result = compare_methods(methods, against=args.against, family=args.family, level=args.level)
    first = next(iter(methods.values()))[0]
    notes = [*said, *_notes(files, result, args.level)]
    protocol, scores = next(iter(first.items()))
    notes += copy_notes(scores.cells, result.copies)
    notes += [f"per cent; {of_protocol.protocol.describe()}" for of_protocol in first.values()]
    dataset = scores.per_image.data_set.name
    images = most_different(methods, protocol)
    header, rows = _image_rows(list(methods), images)
    table = _tables(files, result, dataset, notes, "github")
    sys.stdout.write(
        f"\n{table}\n\nImages whose best box differs most ({protocol}), of {len(images)}:\n\n"
        f"{format_table(header, rows[: args.images])}\n\n"
    )
    if args.output:
        pairs = [pair_row(pair) for pair in result.pairs]
        numbers = [method_row(number) for number in result.methods]
        texts = {
            "comparison.md": table,
            "comparison.csv": format_table(PAIR_HEADER, pairs, table_format="csv"),
            "comparison.tex": _tables(files, result, dataset, notes, "latex"),
            "methods.csv": format_table(METHOD_HEADER, numbers, table_format="csv"),
            "images.csv": format_table(header, rows, table_format="csv"),
        }
        for name, text in texts.items():
            path = Path(args.output) / name
            with atomic_write(path) as file:
                file.write(text + "\n")
            sys.stdout.write(f"written: {path}\n")
        from wend.reports.comparison_figure import COMPARISON_FIGURE, draw_comparison

        picture = Path(args.output) / COMPARISON_FIGURE
        draw_comparison(picture, result, args.level)
        sys.stdout.write(f"written: {picture}\n")
    return 0
