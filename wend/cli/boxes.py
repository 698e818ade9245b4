"""``wend boxes report``: how good a source's boxes are, without training on them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from wend.cli.options import add_datasets_root_option, add_import_option, known_data_sets
from wend.datasets.catalog import DataSets
from wend.datasets.ground_truth import load_source
from wend.errors import InputError
from wend.evaluation.protocols import get_protocol
from wend.evaluation.tables import format_table
from wend.files import atomic_write, write_json
from wend.pseudo_boxes import SOURCES, AttachReport, PseudoBoxes, join_boxes, read_boxes
from wend.reports.boxes_numbers import QUANTILES, describe
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
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
        "--output", metavar="DIR", help="folder for report.md, report.json and two PNGs"
    )
    report.add_argument("--images", type=int, default=16, metavar="N", help="sample pictures (16)")
    add_datasets_root_option(report)
    add_import_option(report)


def read_source(words: Sequence[str], data_sets: DataSets) -> PseudoBoxes:
    """Read boxes named on the command line: ``SOURCE PATH [OPTION=VALUE ...]`` or a data set.

    Raises:
        InputError: the words are neither, or the source's own error.
    """
    if len(words) > 1:
        spec = {"source": words[0], "path": Path(words[1]).expanduser().absolute()}
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
    data_set = load_source(words[0], data_sets)
    table = data_set.pseudo_boxes
    if not len(table.boxes):
        raise InputError(
            f"{words[0]}: has no pseudo boxes; name a data set with some, such as cub_train_c2am, "
            f"or a source and its path, such as c2am PATH"
        )
    return PseudoBoxes.from_entries(
        words[0], "pixel", data_set.keys, table.counts, table.boxes, table.scores
    )


def _truth_rows(name: str, scores: dict[str, dict]) -> list[list[str]]:
    return [
        [
            name,
            protocol,
            str(numbers["images"]),
            f"{numbers['gt_known_loc']:.2f}",
            f"{numbers['gt_known_loc_any_box']:.2f}",
            f"{numbers['mean_iou']:.3f}",
        ]
        for protocol, numbers in scores.items()
    ]


def report_text(names: Sequence[str], reports: Sequence[AttachReport], numbers: dict) -> str:
    """The report as tables.

    Args:
        names: the name of one source, or of two.
        reports: the reports of their joins.
        numbers: as :func:`wend.reports.boxes_numbers.describe` returns them.
    """
    parts = [str(reports[0]), f"coverage: {numbers['coverage']:.2f} % of the images"]
    header = ["boxes", "number", "mean", *(f"{q} %" for q in QUANTILES)]
    rows = [
        [title, str(row["number"])]
        + [f"{value:.3f}" for key, value in row.items() if key != "number"]
        for title, row in numbers["shapes"].items()
    ]
    parts.append(format_table(header, rows))
    truth = _truth_rows(names[0], numbers["truth"])
    for name, report in zip(names[1:], reports[1:], strict=True):
        other = numbers["other"]
        parts.append(str(report))
        truth += _truth_rows(name, other["truth"])
        rows = [
            [title, str(row["number"]), f"{row['share_above_half']:.2f}", f"{row['mean']:.3f}"]
            + [f"{row[f'p{q}']:.3f}" for q in QUANTILES]
            for title, row in other["agreement"].items()
        ]
        header = ["IoU of", "images", "IoU > 0.5 (%)", "mean", *(f"{q} %" for q in QUANTILES)]
        note = (
            f"images with boxes of only {names[0]}: {other['only_first']}, of only {name}: "
            f"{other['only_other']}"
        )
        parts.append(format_table(header, rows, [note]))
    if truth:
        header = ["boxes", "protocol", "images", "GT-known Loc (%)", "any box (%)", "mean IoU"]
        note = "of the images whose true boxes are known; an image without a box is a miss"
        parts.append(format_table(header, truth, [note]))
    else:
        parts.append("GT-known Loc: no true box is known")
    return "\n\n".join(parts)


def run(args: argparse.Namespace) -> int:
    """Run ``wend boxes report``; returns the exit status."""
    name = args.dataset or (args.boxes[0] if len(args.boxes) == 1 else None)
    if name is None:
        raise InputError("wend boxes report: name the images that the boxes are of: --dataset NAME")
    for protocol in args.protocol:
        get_protocol(protocol)
    data_sets = known_data_sets(args)
    data_set = load_source(name, data_sets)
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
                log=False,
            )
        )
    numbers = describe(data_set, *joined[0], args.protocol, *joined[1:])
    text = report_text(names, [report for _, report in joined], numbers)
    print(f"\n{text}\n")  # the verb's answer
    if args.output:
        sources = list(zip(names, (table for table, _ in joined), strict=True))
        for path in _write(Path(args.output), text, numbers, data_set, sources, args.images):
            print(f"written: {path}")
    return 0


def _write(
    folder: Path,
    text: str,
    numbers: dict,
    data_set: DataSet,
    sources: Sequence[tuple[str, BoxTable]],
    num_images: int,
) -> list[Path]:
    from wend.reports.boxes_pictures import draw_histograms, draw_samples

    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / "report.md") as file:
        file.write(text + "\n")
    write_json(folder / "report.json", numbers, indent=1)
    draw_histograms(folder / "histograms.png", numbers["histograms"])
    written = [folder / name for name in ("report.md", "report.json", "histograms.png")]
    if draw_samples(folder / "samples.png", data_set, sources, num_images):
        written.append(folder / "samples.png")
    return written
