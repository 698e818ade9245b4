"""``wend boxes report``: how good a source's boxes are, without training on them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from wend.cli.options import (
    add_datasets_root_option,
    add_implausible_option,
    add_import_option,
    known_data_sets,
)
from wend.datasets.catalog import DataSets
from wend.datasets.ground_truth import load_source
from wend.datasets.plausible_truth import look_at_truth
from wend.errors import InputError
from wend.evaluation.protocols import get_protocol
from wend.files import atomic_write, expand_user, write_json
from wend.pseudo_boxes import SOURCES, AttachReport, PseudoBoxes, join_boxes, read_boxes
from wend.reports.boxes_numbers import describe
from wend.reports.boxes_text import report_text
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.structures.plausibility import report as refuse
from wend.yaml_files import parse_yaml

SOURCE_HELP = (
    "SOURCE PATH [OPTION=VALUE ...], such as c2am c2am_boxes/train/pseudo_boxes; or the name of a "
    "data set, whose own pseudo boxes are meant"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``wend boxes``."""
    verbs = parser.add_subparsers(dest="boxes_verb", required=True, metavar="VERB")
    report = verbs.add_parser("report", help="coverage, shapes, agreement and accuracy of boxes")
    report.add_argument(
        "boxes",
        nargs="+",
        metavar="SOURCE",
        help=f"{SOURCE_HELP}. Sources: {', '.join(SOURCES)}, module:function, ./file.py:function",
    )
    report.add_argument(
        "--dataset",
        metavar="NAME",
        help="data set, COCO JSON or wsolevaluation folder whose images are meant; by default the "
        "data set that SOURCE names",
    )
    report.add_argument(
        "--other", nargs="+", metavar="SOURCE", help="boxes to compare with, likewise"
    )
    report.add_argument(
        "--protocol",
        nargs="+",
        default=["original"],
        metavar="NAME",
        help="protocol of GT-known Loc, where the truth is known (default: original)",
    )
    report.add_argument("--strict", action="store_true", help="any finding is an error")
    report.add_argument(
        "--allow-contamination", action="store_true", help="let there be validation images"
    )
    report.add_argument(
        "--output",
        metavar="DIR",
        help="folder for the page report.html, report.md, report.json, histograms.png, samples.png",
    )
    report.add_argument(
        "--images", type=int, default=16, metavar="N", help="sample pictures, of each kind (16)"
    )
    add_implausible_option(report)
    add_datasets_root_option(report)
    add_import_option(report)


def read_source(words: Sequence[str], data_sets: DataSets) -> PseudoBoxes:
    """Read boxes named on the command line: ``SOURCE PATH [OPTION=VALUE ...]`` or a data set.

    Raises:
        InputError: the words are neither, or the source's own error.
    """
    if len(words) > 1:
        spec = {"source": words[0], "path": expand_user(words[1]).absolute()}
        for word in words[2:]:
            key, equals, value = word.partition("=")
            where = f"box source {words[0]!r}"
            if not equals:
                raise InputError(f"{where}: expected OPTION=VALUE, got {word!r}")
            if key in spec:
                raise InputError(f"{where}: {key} is given twice; give it once")
            spec[key] = parse_yaml(value, f"{where}, {key}", "OPTION=VALUE")
        return read_boxes(spec)
    if words[0] in SOURCES or ":" in words[0]:
        raise InputError(f"box source {words[0]!r}: expected its PATH behind it")
    boxes = data_sets.boxes(words[0]) if is_name(words[0], data_sets) else None
    if boxes is not None:
        return boxes
    data_set = load_images(words[0], data_sets)
    table = data_set.pseudo_boxes
    if not len(table.boxes):
        raise InputError(
            f"{words[0]}: has no pseudo boxes; name a data set with some, such as cub_train_c2am, "
            f"or a source and its path, such as c2am PATH"
        )
    return PseudoBoxes.from_entries(
        words[0], "pixel", data_set.keys, table.counts, table.boxes, table.scores
    )


def is_name(source: str, data_sets: DataSets) -> bool:
    """Whether a data set is called so, or the source is the path of a declaration."""
    return data_sets.own_name(source) in data_sets.names()


def load_images(source: str, data_sets: DataSets) -> DataSet:
    """The images of a data set, COCO JSON or folder, without the boxes of a data set's source."""
    if is_name(source, data_sets):
        return data_sets.images(source)
    return load_source(source, data_sets)


def run(args: argparse.Namespace) -> int:
    """Run ``wend boxes report``; returns the exit status."""
    name = args.dataset or (args.boxes[0] if len(args.boxes) == 1 else None)
    if name is None:
        raise InputError("wend boxes report: name the images that the boxes are of: --dataset NAME")
    for protocol in args.protocol:
        get_protocol(protocol)
    data_sets = known_data_sets(args)
    data_set = load_images(name, data_sets)
    names, joined = [], []
    for words in filter(None, (args.boxes, args.other)):
        names.append(" ".join(words[:2]))
        joined.append(
            join_boxes(
                data_set.keys,
                data_set.frame_sizes,
                read_source(words, data_sets),
                strict=args.strict or None,
                allow_contamination=args.allow_contamination or None,
                implausible="count",
                log=False,
            )
        )
    numbers = describe(data_set, *joined[0], args.protocol, *joined[1:])
    reports = [joined_report for _, joined_report in joined]
    findings = {f"ground truth {data_set.name}": look_at_truth(data_set)}
    for joined_report in reports:
        findings[joined_report.source] = list(joined_report.implausible)
    wrong = [f"{where}: {f.message}" for where, several in findings.items() for f in several]
    text = report_text(names, reports, numbers, wrong)
    print(f"\n{text}\n")  # the verb's answer
    if args.output:
        stated = [(name, _stated(*pair)) for name, pair in zip(names, joined, strict=True)]
        folder = Path(args.output)
        for path in _write(folder, text, numbers, data_set, stated, reports, wrong, args.images):
            print(f"written: {path}")
    for where, of_source in findings.items():  # refused after all that helps to see why
        refuse(of_source, where, args.implausible, None)
    return 0


def _stated(table: BoxTable, joined_report: AttachReport) -> BoxTable:
    """The boxes as they stand in the files, not cut at the borders."""
    return table if joined_report.stated is None else joined_report.stated


def _write(
    folder: Path,
    text: str,
    numbers: dict,
    data_set: DataSet,
    sources: Sequence[tuple[str, BoxTable]],
    reports: Sequence[AttachReport],
    wrong: Sequence[str],
    num_images: int,
) -> list[Path]:
    from wend.reports.boxes_page import boxes_page
    from wend.reports.boxes_pictures import draw_histograms, draw_samples
    from wend.reports.boxes_samples import choose_samples
    from wend.reports.page import PAGE_FILE, check_replaceable, write_page

    folder.mkdir(parents=True, exist_ok=True)
    check_replaceable(folder / PAGE_FILE)
    with atomic_write(folder / "report.md") as file:
        file.write(text + "\n")
    write_json(folder / "report.json", numbers, indent=1)
    draw_histograms(folder / "histograms.png", numbers["histograms"])
    written = [folder / name for name in ("report.md", "report.json", "histograms.png")]
    if draw_samples(folder / "samples.png", data_set, sources, num_images):
        written.append(folder / "samples.png")
    samples = choose_samples(data_set, sources[0][1], num_images)
    page = boxes_page(data_set, sources, reports, numbers, samples, wrong)
    return [*written, write_page(folder / PAGE_FILE, page)]
