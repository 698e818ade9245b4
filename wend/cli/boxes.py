"""``wend boxes report``: how good a source's boxes are, without training on them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from wend.cli.options import add_import_option
from wend.datasets.ground_truth import load_source
from wend.errors import InputError
from wend.evaluation.protocols import get_protocol
from wend.evaluation.tables import format_table
from wend.files import atomic_write, write_json
from wend.pseudo_boxes import SOURCES, PseudoBoxes, join_boxes, read_boxes
from wend.reports.boxes_numbers import QUANTILES, Boxes, describe
from wend.structures.records import ImageRecord

SOURCE_HELP = (
    "SOURCE PATH [OPTION=VALUE ...], such as c2am c2am_boxes/train/pseudo_boxes; or the name of a "
    "data set, whose own pseudo boxes are meant"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``wend boxes``."""
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
        help="of GT-known Loc, where the truth is known (default: original)",
    )
    report.add_argument("--strict", action="store_true", help="any finding is an error")
    report.add_argument(
        "--allow-contamination", action="store_true", help="let there be validation images"
    )
    report.add_argument(
        "--output", metavar="DIR", help="folder for report.md, report.json and two PNGs"
    )
    report.add_argument("--images", type=int, default=16, metavar="N", help="sample pictures (16)")
    report.add_argument("--datasets-root", metavar="DIR", help="sets DETECTRON2_DATASETS")
    add_import_option(report)


def read_source(words: Sequence[str], datasets_root: str | None = None) -> PseudoBoxes:
    """Boxes named on the command line: ``SOURCE PATH [OPTION=VALUE ...]`` or a data set's name.

    Raises:
        InputError: neither; or what the source says.
    """
    if len(words) > 1:
        spec = {"source": words[0], "path": Path(words[1]).expanduser().absolute()}
        for word in words[2:]:
            key, equals, value = word.partition("=")
            try:
                spec[key] = yaml.safe_load(value)
            except yaml.YAMLError:
                equals = ""
            if not equals:
                raise InputError(f"box source {words[0]!r}: expected OPTION=VALUE, got {word!r}")
        return read_boxes(spec)
    if words[0] in SOURCES or ":" in words[0]:
        raise InputError(f"box source {words[0]!r}: expected its PATH behind it")
    records = load_source(words[0], datasets_root).records
    num = np.array([len(record.pseudo_boxes) for record in records], dtype=np.int64)
    if not num.sum():
        raise InputError(
            f"{words[0]}: has no pseudo boxes; name a data set with some, such as cub_train_c2am, "
            f"or a source and its path, such as c2am PATH"
        )
    boxes = np.concatenate([record.pseudo_boxes for record in records])
    keys = [record.key for record in records]
    return PseudoBoxes.from_entries(words[0], "pixel", keys, num, boxes)


def _truth_rows(name: str, scores: dict[str, dict]) -> list[list[str]]:
    return [
        [
            name,
            protocol,
            str(of["images"]),
            f"{of['gt_known_loc']:.2f}",
            f"{of['gt_known_loc_any_box']:.2f}",
            f"{of['mean_iou']:.3f}",
        ]
        for protocol, of in scores.items()
    ]


def report_text(boxes: Boxes, found: dict, other: Boxes | None) -> str:
    """The report as tables."""
    parts = [str(boxes.joined.report), f"coverage: {found['coverage']:.2f} % of the images"]
    header = ["boxes", "number", "mean", *(f"{q} %" for q in QUANTILES)]
    rows = [
        [name, str(of["number"]), *(f"{value:.3f}" for key, value in of.items() if key != "number")]
        for name, of in found["shapes"].items()
    ]
    parts.append(format_table(header, rows))
    truth = _truth_rows(boxes.name, found["truth"])
    if other is not None:
        parts.append(str(other.joined.report))
        truth += _truth_rows(other.name, found["other"]["truth"])
        rows = [
            [name, str(of["number"]), f"{of['share_above_half']:.2f}", f"{of['mean']:.3f}"]
            + [f"{of[f'p{q}']:.3f}" for q in QUANTILES]
            for name, of in found["other"]["agreement"].items()
        ]
        header = ["IoU of", "images", "IoU > 0.5 (%)", "mean", *(f"{q} %" for q in QUANTILES)]
        note = (
            f"images with boxes of only {boxes.name}: {found['other']['only_first']}, of only "
            f"{other.name}: {found['other']['only_other']}"
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
    """``wend boxes report``."""
    name = args.dataset or (args.boxes[0] if len(args.boxes) == 1 else None)
    if name is None:
        raise InputError("wend boxes report: name the images that the boxes are of: --dataset NAME")
    for protocol in args.protocol:
        get_protocol(protocol)
    records = load_source(name, args.datasets_root).records
    keys = [record.key for record in records]
    sizes = np.array([(record.width, record.height) for record in records])
    joined = []
    for words in filter(None, (args.boxes, args.other)):
        source = read_source(words, args.datasets_root)
        options = {"strict": args.strict or None, "log": False}
        allow = args.allow_contamination or None
        one = join_boxes(keys, sizes, source, allow_contamination=allow, **options)
        joined.append(Boxes(" ".join(words[:2]), one))
    boxes, other = joined[0], joined[1] if len(joined) > 1 else None
    found = describe(boxes, records, args.protocol, other)
    text = report_text(boxes, found, other)
    print(f"\n{text}\n")  # the verb's answer
    if args.output:
        for path in _write(Path(args.output), text, found, boxes, other, records, args.images):
            print(f"written: {path}")
    return 0


def _write(
    folder: Path,
    text: str,
    found: dict,
    boxes: Boxes,
    other: Boxes | None,
    records: Sequence[ImageRecord],
    num_images: int,
) -> list[Path]:
    from wend.reports.boxes_pictures import draw_histograms, draw_samples

    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / "report.md") as file:
        file.write(text + "\n")
    write_json(folder / "report.json", found, indent=1)
    draw_histograms(folder / "histograms.png", found["histograms"])
    written = [folder / name for name in ("report.md", "report.json", "histograms.png")]
    if draw_samples(folder / "samples.png", records, boxes, other, num_images):
        written.append(folder / "samples.png")
    return written
