"""``wend boxes audit``: which boxes are probably wrong, how many are right by answers.

Two commands in one: with boxes it ranks them, draws a sample and makes the page; with the folder of
an audit it reads the answers.
"""

from __future__ import annotations

import argparse
import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tabulate import tabulate

from wend.cli.named_boxes import SOURCE_HELP, add_join_options, load_images, read_source
from wend.cli.options import (
    add_checkpoint_options,
    add_datasets_root_option,
    add_device_option,
    add_implausible_option,
    check_keys_differ,
    known_data_sets,
)
from wend.datasets.catalog import DataSets
from wend.errors import InputError
from wend.files import expand_user
from wend.pseudo_boxes import SOURCES, join_boxes
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet

if TYPE_CHECKING:
    from wend.audit.estimate import Estimate
    from wend.audit.outcome import Outcome

SAMPLE, SHOWN = 100, 24
RANKING = (  # options of the making of an audit
    *("dataset", "other", "detector", "sample", "seed", "images"),
    *("strict", "allow_contamination", "overwrite", "device"),
)
DETECTIONS = (".json", ".csv", ".parquet", ".pq")
PREDICTIONS = "predictions.jsonl"
logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``wend boxes audit``."""
    parser.add_argument(
        "boxes",
        nargs="+",
        metavar="SOURCE",
        help=f"{SOURCE_HELP}. Sources: {', '.join(SOURCES)}, module:function, ./file.py:function. "
        f"Or the folder of an audit, to read its answers",
    )
    ranking = parser.add_argument_group("to rank boxes and draw a sample")
    ranking.add_argument(
        "--output", metavar="DIR", help="gets audit.csv, audit.json and the page audit.html"
    )
    ranking.add_argument(
        "--dataset",
        metavar="NAME",
        help="data set, COCO JSON or wsolevaluation folder whose images are meant; by default the "
        "data set that SOURCE names",
    )
    ranking.add_argument(
        "--other",
        nargs="+",
        action="append",
        default=[],
        metavar="SOURCE",
        help="boxes of another method, likewise; may come several times",
    )
    ranking.add_argument(
        "--detector",
        metavar="RUN",
        help="a run's folder, a checkpoint or an exported file, which predicts on the images and "
        f"on the mirrored images; or its detections of them ({', '.join(DETECTIONS)})",
    )
    ranking.add_argument(
        "--sample",
        type=int,
        metavar="N",
        help=f"boxes to ask a human about ({SAMPLE})",
    )
    ranking.add_argument("--seed", type=int, metavar="N", help="of the sample's random numbers (0)")
    ranking.add_argument(
        "--images",
        type=int,
        metavar="N",
        help=f"most suspicious boxes on the page ({SHOWN})",
    )
    add_join_options(ranking)
    ranking.add_argument(
        "--overwrite",
        action="store_true",
        help="replace another audit in DIR, and the answers in its table",
    )
    add_device_option(ranking)
    reading = parser.add_argument_group("to read answers")
    reading.add_argument(
        "--answers",
        nargs="+",
        metavar="FILE",
        help="answers.json of the page, or copies of audit.csv; those typed into DIR/audit.csv "
        "count, too. --output DIR is where the results go (by default the audit's folder)",
    )
    reading.add_argument(
        "--level", type=float, metavar="P", help="confidence of the intervals (0.95)"
    )
    reading.add_argument(
        "--width",
        type=float,
        nargs="+",
        metavar="W",
        help="widths of the interval to say the number of boxes for (0.2 0.15 0.1 0.05)",
    )
    add_implausible_option(parser)
    add_datasets_root_option(parser)
    add_checkpoint_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run ``wend boxes audit``; returns the exit status."""
    from wend.audit.table import INFO_FILE, is_audit

    folder = expand_user(args.boxes[0])
    if len(args.boxes) == 1 and is_audit(folder):
        return _read(args, folder)
    for option in ("answers", "level", "width"):
        if getattr(args, option) is not None:
            raise InputError(
                f"--{option} is about the answers of an audit, but {' '.join(args.boxes)} is no "
                f"folder of one (there is no {folder / INFO_FILE}); make it first: wend boxes "
                f"audit SOURCE --output DIR"
            )
    return _rank(args)


# --- ranking


def _rank(args: argparse.Namespace) -> int:
    from wend.audit import Evidence
    from wend.audit.design import draw_sample
    from wend.audit.signals import columns
    from wend.audit.suspicion import suspicion
    from wend.audit.table import audit_digest, write_audit
    from wend.reports.audit_page import AUDIT_PAGE, Audited, audit_page
    from wend.reports.page import check_replaceable, write_page

    name = args.dataset or (args.boxes[0] if len(args.boxes) == 1 else None)
    if name is None:
        raise InputError("wend boxes audit: name the images that the boxes are of: --dataset NAME")
    if args.output is None:
        raise InputError("wend boxes audit: name a folder for the table and the page: --output DIR")
    sample, seed, shown = (
        default if given is None else given
        for given, default in ((args.sample, SAMPLE), (args.seed, 0), (args.images, SHOWN))
    )
    if shown < 0:
        raise InputError(f"--images: expected a number from 0, got {shown}")
    folder = Path(args.output)
    check_replaceable(folder / AUDIT_PAGE)
    data_sets = known_data_sets(args)
    data_set = load_images(name, data_sets)
    check_keys_differ(data_set, "an audit")
    boxes = _join(args, data_set, args.boxes, data_sets)
    if not len(boxes.boxes):
        raise InputError(f"{' '.join(args.boxes)}: none of the {len(data_set)} images has a box")
    others = _others(args, data_set, data_sets)
    detector, mirrored, words = _detector(args, data_set, boxes, folder)
    evidence = Evidence(boxes, data_set.frame_sizes, others, detector, mirrored)
    signals = columns(evidence)
    combined = suspicion(signals, len(boxes.boxes))
    design = draw_sample(combined, sample, seed)
    digest = audit_digest(data_set.keys, boxes, design)
    answers = _earlier_answers(folder, digest, len(combined), overwrite=args.overwrite)
    if not others and detector is None:
        words.append(
            "nothing but the boxes' own shapes and places was looked at, which tells little of "
            "single boxes: add boxes of another method (--other) or a detector (--detector)"
        )
    without = len(data_set) - len(boxes.with_boxes)
    if without:
        words.append(
            f"{without} of {len(data_set)} images have no box: nothing here says what they miss"
        )
    for sentence in words:
        logger.warning("%s", sentence)
    title = " ".join(args.boxes[:2])
    info = {
        "audit": digest,
        "dataset": name,
        "source": args.boxes,
        "others": args.other,
        "detector": args.detector,
        "boxes": len(combined),
        "images": len(data_set),
        "images_without_box": without,
        "seed": seed,
        "design": "boxes drawn without replacement within strata of equal size by suspicion, the "
        "same number of each (to one box), in turns; inclusion_probability = drawn / boxes",
        "strata": design.sizes.tolist(),
        "drawn": design.drawn.tolist(),
        "signals": {each.name: [each.family, each.meaning] for each in signals},
        "limits": words,
    }
    written = write_audit(
        *(folder, info, data_set.keys, boxes, data_set.sizes, combined, signals, design, answers)
    )
    audited = Audited(data_set, evidence, signals, combined, design, digest, answers)
    page = audit_page(title, audited, shown, words, shlex.quote(str(folder)))
    written.append(write_page(folder / AUDIT_PAGE, page))
    for path in written:
        print(f"written: {path}")
    print(
        f"{len(combined)} boxes ranked by {', '.join(each.name for each in signals)}; "
        f"{design.drawn.sum()} of them drawn to be looked at. Open {folder / AUDIT_PAGE}, answer, "
        f"save answers.json, and run: wend boxes audit {shlex.quote(str(folder))} --answers "
        f"answers.json"
    )
    return 0


def _join(
    args: argparse.Namespace, data_set: DataSet, words: list[str], data_sets: DataSets
) -> BoxTable:
    return join_boxes(
        data_set.keys,
        data_set.sizes,
        read_source(words, data_sets),
        strict=args.strict or None,
        allow_contamination=args.allow_contamination or None,
        implausible=args.implausible,
    )[0]


def _others(
    args: argparse.Namespace, data_set: DataSet, data_sets: DataSets
) -> dict[str, BoxTable]:
    """Name -> boxes of the other sources; of a source and path, the path's last parts."""
    others: dict[str, BoxTable] = {}
    for words in args.other:
        name = words[0] if len(words) == 1 else "/".join(Path(words[1]).absolute().parts[-3:])
        if name in others:
            raise InputError(f"--other: {' '.join(words)} comes twice; name it once")
        others[name] = _join(args, data_set, words, data_sets)
        if not len(others[name].boxes):
            raise InputError(f"--other {' '.join(words)}: has no box of these images; leave it out")
    return others


def _detector(
    args: argparse.Namespace, data_set: DataSet, boxes: BoxTable, folder: Path
) -> tuple[BoxTable | None, BoxTable | None, list[str]]:
    """Boxes of the detector of the images and of the mirrored ones, and what limits them."""
    if args.detector is None:
        return None, None, []
    path = expand_user(args.detector)
    unknown = (
        f"if the detector of {args.detector} was trained on these boxes, it is no independent "
        f"judge of them: it repeats what it learned, errors too"
    )
    if path.suffix.lower() in DETECTIONS and not path.is_dir():
        from wend.evaluation.detections import load_detections

        table, _ = load_detections(
            path, data_set, implausible=args.implausible, box_classes="ignore"
        )
        of_file = "detections from a file say nothing of mirrored images"
        return table.scored(), None, [unknown, of_file]
    from wend.inference.both_ways import predict_both_ways, trained_on
    from wend.inference.load import load

    detector = load(
        path, device=args.device, engine=args.engine, config=args.config_file, exif=data_set.exif
    )
    folder.mkdir(parents=True, exist_ok=True)
    both = predict_both_ways(detector, data_set, boxes.with_boxes, folder / PREDICTIONS)
    names = [args.boxes[0], data_set.name, args.dataset]
    words = [unknown]
    if trained_on(detector, [name for name in names if name]):
        words = [
            f"the detector of {args.detector} was trained on these very boxes and is no "
            f"independent judge of them: it repeats what it learned, errors too. Better: another "
            f"method's boxes (--other), a detector trained on other images, or boxes by detectors "
            f"that have not seen their image (wend rounds --keep all, and its boxes as --other "
            f"coco OUTPUT_DIR/rounds/1/{data_set.name}_boxes.json)"
        ]
    return both.boxes, both.mirrored, words


def _earlier_answers(folder: Path, digest: str, number: int, *, overwrite: bool) -> list[str]:
    """The answers in the folder's table, which stay good where the audit is the same.

    Raises:
        InputError: they are of another audit, and are not to be overwritten.
    """
    from wend.audit.table import TABLE_FILE, is_audit, read_audit

    nothing = [""] * number
    if not is_audit(folder) or overwrite:
        return nothing
    table = read_audit(folder)
    if table.digest == digest:
        return table.answers
    if any(table.answers):
        raise InputError(
            f"{folder / TABLE_FILE}: holds answers about another audit (other boxes, signals, seed "
            f"or files); name another folder (--output DIR), or replace it (--overwrite)"
        )
    return nothing


# --- answers


def _read(args: argparse.Namespace, folder: Path) -> int:
    from wend.audit.answers import read_answers
    from wend.audit.outcome import WIDTHS, evaluate_answers, write_outcome
    from wend.audit.table import read_audit

    for option in RANKING:
        given = getattr(args, option)
        if given is not None and given is not False and given != []:
            raise InputError(
                f"--{option.replace('_', '-')} belongs to the making of an audit, but {folder} is "
                f"one whose answers are read; name the boxes in its place"
            )
    widths = args.width or WIDTHS
    for width in widths:
        if not 0 < width < 1:
            raise InputError(f"--width: expected shares in (0, 1), such as 0.1, got {width}")
    table = read_audit(folder)
    answers = read_answers(table, args.answers or ())
    level = 0.95 if args.level is None else args.level
    outcome = evaluate_answers(table, answers, level=level, widths=widths)
    output = folder if args.output is None else Path(args.output)
    written = write_outcome(output, table, answers, outcome)  # before anybody ends the output
    print(_report(outcome, output))
    for path in written:
        print(f"written: {path}")
    return 0


def _range(estimate: Estimate) -> str:
    return f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f}"


def _report(outcome: Outcome, folder: Path) -> str:
    """What the answers tell, as text; ``folder`` is where the files are written."""
    counts, estimate = outcome.counts, outcome.estimate
    answered, right = int(counts.answered.sum()), int(counts.right.sum())
    drawn, unsure = int(outcome.drawn.sum()), int(outcome.unsure.sum())
    lines = [
        f"accuracy of all {counts.sizes.sum()} boxes (IoU > 0.5 by eye): "
        f"{100 * estimate.value:.1f} % ({100 * estimate.level:g} % interval {_range(estimate)})",
        f"from {answered} answers about {drawn} boxes drawn by chance: {right} right, "
        f"{answered - right} wrong, {unsure} unsure, {drawn - answered - unsure} not answered",
    ]
    if outcome.bounds is not None:
        lines.append(
            f"unsure boxes are left out; were they all wrong: "
            f"{100 * outcome.bounds.wrong.value:.1f} % ({_range(outcome.bounds.wrong)}), all "
            f"right: {100 * outcome.bounds.right.value:.1f} % ({_range(outcome.bounds.right)})"
        )
    if outcome.left_out:
        lines.append(
            f"{outcome.left_out} boxes were left out between answered ones: if these were the hard "
            f"ones, the estimate is too good; answer them, or make them unsure"
        )
    empty = int((counts.answered == 0).sum())
    if empty:
        lines.append(
            f"{empty} strata have no answer and are taken to be as good as the one beside them"
        )
    if outcome.others:
        lines.append(
            f"{outcome.others} answers about boxes that were not drawn do not count for the "
            f"estimate"
        )
    rows = []
    for number, part in enumerate(outcome.strata):
        rows.append(
            [
                *(number + 1, counts.sizes[number], counts.answered[number]),
                "" if part is None else f"{100 * part.value:.1f}",
                "" if part is None else _range(part),
            ]
        )
    head = ["stratum (1: most suspicious)", "boxes", "answered", "right (%)", "interval"]
    areas = [[name, "" if np.isnan(area) else f"{area:.3f}"] for name, area in _areas(outcome)]
    needed = [
        [f"{100 * width:g} points", number, f"{100 * width / 2:.1f} to either side"]
        for width, number in outcome.needed.items()
    ]
    calibration = outcome.calibration
    says = "1 - suspicion, calibrated on the answers"
    if not calibration.slope:
        says = "the same for all: more suspicious boxes were not more often wrong"
    return "\n".join(
        [
            *("", *lines, ""),
            *(tabulate(rows, head, tablefmt="github"), ""),
            tabulate(
                areas,
                ["ranking by", f"area under ROC, {answered} answers (0.5: chance)"],
                tablefmt="github",
                disable_numparse=True,
            ),
            "",
            tabulate(needed, ["width of the interval", "boxes to look at", ""], tablefmt="github"),
            f"\nscores of the boxes: {says}; 1 or 0 where a human said right or wrong",
            f"wrong.jsonl is for WEND.DATA.QUARANTINE (leaves their images out), scored_boxes.json "
            f"the source coco ({folder})\n",
        ]
    )


def _areas(outcome: Outcome) -> list[tuple[str, float]]:
    return list(outcome.areas.items())
