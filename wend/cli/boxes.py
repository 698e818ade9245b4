"""``wend boxes``: how good a source's boxes are, which look wrong, and boxes as label files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from wend.cli import boxes_audit, boxes_export, boxes_fuse, boxes_merge
from wend.cli.named_boxes import SOURCE_HELP, add_join_options, load_images, read_source
from wend.cli.options import (
    add_datasets_root_option,
    add_implausible_option,
    add_import_option,
    known_data_sets,
)
from wend.datasets.plausible_truth import look_at_truth
from wend.errors import InputError
from wend.evaluation.protocols import get_protocol
from wend.files import atomic_write, write_json
from wend.pseudo_boxes import SOURCES, AttachReport, join_boxes
from wend.reports.boxes_numbers import describe
from wend.reports.boxes_text import report_text
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.structures.plausibility import report as refuse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``wend boxes``."""
    verbs = parser.add_subparsers(dest="boxes_verb", required=True, metavar="VERB")
    export = verbs.add_parser("export", help="boxes as files of COCO, YOLO, VOC, CVAT, ...")
    boxes_export.add_arguments(export)
    audit = verbs.add_parser(
        "audit", help="without truth: which boxes look wrong, how many are right by 100 answers"
    )
    boxes_audit.add_arguments(audit)
    fuse = verbs.add_parser("fuse", help="boxes of several sources as one, scored by agreement")
    boxes_fuse.add_arguments(fuse)
    merge = verbs.add_parser("merge", help="the whole of what shards of pseudo-boxes have done")
    boxes_merge.add_arguments(merge)
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
    add_join_options(report)
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


def run(args: argparse.Namespace) -> int:
    """Run the verb below ``wend boxes``; returns the exit status."""
    runs = {
        "audit": boxes_audit.run,
        "export": boxes_export.run,
        "fuse": _fuse,
        "merge": boxes_merge.run,
        "report": _report,
    }
    return runs[args.boxes_verb](args)


def _fuse(args: argparse.Namespace) -> int:
    """Fuse, and show the page of the file that was written, as the report of it would."""
    status = boxes_fuse.run(args)
    if args.report:
        words = ["report", "coco", args.output, "--dataset", args.dataset, "--output", args.report]
        words += ["--protocol", args.protocol]
        words += ["--datasets-root", args.datasets_root] if args.datasets_root else []
        words += ["--implausible", args.implausible] if args.implausible else []
        words += ["--allow-contamination"] if args.allow_contamination else []
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        _report(parser.parse_args(words))
    return status


def _report(args: argparse.Namespace) -> int:
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
