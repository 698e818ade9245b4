"""``wend evaluate``: from files alone to a table that states everything it depends on."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wend.classes.predictions import read_class_predictions
from wend.cli.map_options import (
    add_map_arguments,
    read_maps,
    settle_map_arguments,
    write_map_files,
)
from wend.cli.options import (
    add_datasets_root_option,
    add_implausible_option,
    add_import_option,
    known_data_sets,
)
from wend.cli.picture_options import (
    add_picture_arguments,
    check_picture_arguments,
    draw_page,
    draw_pictures,
    locate_for_pictures,
)
from wend.cli.strict_parser import Gone
from wend.datasets.catalog import DataSets
from wend.datasets.ground_truth import check_truth, load_source
from wend.datasets.plausible_truth import check_plausible
from wend.errors import InputError, some
from wend.evaluation.analysis_report import ANALYSIS_FILE, analysis_text
from wend.evaluation.box_classes import BOX_CLASSES
from wend.evaluation.coco_metrics import BACKENDS
from wend.evaluation.detection_rows import OUTSIDE
from wend.evaluation.detections import load_detections, write_detections
from wend.evaluation.evaluation import LEVEL
from wend.evaluation.fixed_boxes import FixedBoxes
from wend.evaluation.map_scores import MAP_PROTOCOLS, MapScores
from wend.evaluation.metrics import (
    COCO_METRICS,
    DEFAULT_METRICS,
    METRICS,
    choose_metrics,
    coco_numbers,
)
from wend.evaluation.protocols import PROTOCOLS, EvalProtocol, get_protocol
from wend.evaluation.score_files import (
    baseline_entry,
    detections_notes,
    evaluation_notes,
    file_entry,
    recall_rows,
    truth_entry,
    with_threshold,
    write_scores,
)
from wend.evaluation.scoring import ProtocolScores, drop_low_scores, parse_k, score_all
from wend.evaluation.tables import score_table
from wend.files import atomic_write, read_json, write_json
from wend.formats.coco import TRUTH, to_coco
from wend.run_lock import locked
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.structures.frame import ORIGINAL
from wend.structures.plausibility import Finding
from wend.structures.view import describe_view

logger = logging.getLogger(__name__)
DEFAULT_PROTOCOLS = ("psol-crop224", "original")
DEFAULT_MAX_BOXES = ("1", "5", "10", "all")
EXPORTS = ("coco", "csv", "parquet")
EXPORT_FRAMES = (ORIGINAL, "given")


def add_truth_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that ``wend evaluate`` and ``wend compare`` share."""
    parser.add_argument(
        "--ground-truth",
        required=True,
        metavar="SOURCE",
        help="a data set's name, a COCO JSON, a wsolevaluation metadata folder or a folder of "
        "VOC's XML files",
    )
    parser.add_argument(
        "--class-predictions",
        metavar="FILE",
        help="a classifier's classes of each image (wend classify), for Top-1 and Top-5 Loc",
    )
    parser.add_argument(
        "--protocol",
        nargs="+",
        metavar="NAME",
        help=f"one or more of {', '.join(PROTOCOLS)}, or a YAML of your own "
        f"(default: {' '.join(DEFAULT_PROTOCOLS)}; where images have no class, those of them that "
        f"average over images)",
    )
    parser.add_argument(
        "--max-boxes",
        nargs="+",
        default=list(DEFAULT_MAX_BOXES),
        metavar="K",
        help="K of the multi-box metrics: numbers or all; the first is the headline of "
        f"metrics.json (default: {' '.join(DEFAULT_MAX_BOXES)})",
    )
    parser.add_argument(
        "--metrics",
        nargs="+",
        default=[],
        metavar="NAME",
        help="metrics to add to the table: "
        f"{', '.join(name for name in METRICS if name not in DEFAULT_METRICS)}, or your own as "
        "module:name or ./file.py:name",
    )
    add_datasets_root_option(parser)
    add_import_option(parser)
    parser.add_argument(
        "--outside",
        choices=OUTSIDE,
        default="count",
        help="boxes that reach out of their image: count and keep them (default), clip, or error",
    )
    add_implausible_option(parser)
    parser.add_argument(
        "--box-frame",
        default=ORIGINAL,
        metavar="FRAME",
        help="the frame that the detections' boxes are given in: original pixels (default), "
        "fractions of the image, squash224 (the image squashed to 224x224), crop224 (the centre "
        "224x224 of a squash to 256x256), squashN or cropN-of-M",
    )
    parser.add_argument(
        "--box-classes",
        choices=BOX_CLASSES,
        help="use the boxes' category_id or class_id as the predicted class of each (Top-1 and "
        "Top-5 of class-box pairs, GT-known of the true class's boxes), or ignore it; needed where "
        "there are several",
    )
    parser.add_argument(
        "--score-threshold",
        type=float,
        metavar="S",
        help="leave out boxes that score less (default: none is left out)",
    )
    parser.add_argument(
        "--level",
        type=float,
        default=LEVEL,
        metavar="SHARE",
        help=f"confidence of the intervals, in (0, 1) (default: {LEVEL})",
    )
    for gone in ("--bootstrap-rounds", "--seed"):
        parser.add_argument(
            gone,
            action=Gone,
            help="intervals and tests are by formula and nothing is resampled; leave it out "
            "(--level is the intervals' confidence)",
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``wend evaluate``."""
    add_truth_arguments(parser)
    scored = parser.add_mutually_exclusive_group(required=True)
    scored.add_argument(
        "--detections",
        metavar="FILE",
        help="COCO results (.json), or Parquet or CSV (image_id, x0, y0, x1, y1, score, and "
        "perhaps class_id), in original pixels or --box-frame",
    )
    scored.add_argument(
        "--score-maps",
        metavar="FOLDER",
        help="score maps, such as CAMs, instead of detections: a .npy file of shape (height, "
        "width) for each image, called after it",
    )
    add_map_arguments(parser)
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the files")
    parser.add_argument(
        "--baseline-boxes",
        metavar="SOURCE",
        help="training split whose boxes the content-blind boxes are chosen from, or a JSON list "
        "of [x0, y0, x1, y1] in fractions of the image",
    )
    parser.add_argument(
        "--ap",
        action="store_true",
        help="also COCO's class-agnostic AP, AP50, AP75 and AR@1, 10, 100 "
        "(minutes at ImageNet's size)",
    )
    parser.add_argument(
        "--ap-backend",
        choices=list(BACKENDS),
        default="pycocotools",
        help="faster-coco-eval, where installed, gives the same digits in half the time and holds "
        "all boxes in memory at once",
    )
    parser.add_argument(
        "--analysis",
        action="store_true",
        help="also print and write analysis.md: hits by number and size of true boxes and by "
        "class, and how the best boxes miss",
    )
    parser.add_argument(
        "--view",
        default="",
        metavar="NAME",
        help="what of the images the detector saw, as a run's metrics.json names it "
        "(crop224-of-256, squash256, pad256); is written beside the numbers",
    )
    add_picture_arguments(parser)
    parser.add_argument(
        "--export",
        nargs="+",
        choices=EXPORTS,
        default=[],
        help="also write ground truth and detections as COCO JSON, detections as CSV or Parquet",
    )
    parser.add_argument(
        "--export-frame",
        choices=EXPORT_FRAMES,
        default=ORIGINAL,
        help="the frame of the detections that are written: original pixels (default), or the one "
        "that they were given in, so that whole numbers stay whole (of score maps squash224)",
    )


def load_truth(
    source: str, data_sets: DataSets, implausible: str | None, masks: str | None = None
) -> tuple[DataSet, list[Finding]]:
    """Read ``--ground-truth``, and what is implausible in it.

    Raises:
        InputError: an image has no true box, or the boxes cannot be what they should be.
    """
    data_set = load_source(source, data_sets, masks, implausible)
    return data_set, check_truth(data_set, implausible)


def without_class_means(protocols: Sequence[EvalProtocol], data_set: DataSet) -> list[EvalProtocol]:
    """The default protocols that can be computed: where images have no class, no means over them.

    What is left out is logged. If none is left, they stay, and the evaluation says what they need.
    """
    usable = [protocol for protocol in protocols if protocol.average != "class"]
    without = int((data_set.class_ids < 0).sum())
    if not without or not usable or len(usable) == len(protocols):
        return list(protocols)
    logger.warning(
        "%s: %d of %d images have no class; of the default protocols %s is left out, which "
        "averages over classes",
        *(data_set.name, without, len(data_set)),
        some(protocol.name for protocol in protocols if protocol not in usable),
    )
    return usable


def load_baseline(
    source: str, scored: DataSet, data_sets: DataSets, implausible: str | None
) -> FixedBoxes:
    """Read ``--baseline-boxes``: fixed boxes, or boxes to choose them from, for these images.

    Raises:
        InputError: the source holds an image that is scored, or no boxes.
    """
    path = Path(source)
    is_file = source not in data_sets.names() and path.is_file()
    content = read_json(path, "a ground truth or fixed boxes") if is_file else None
    if isinstance(content, list):
        return FixedBoxes.from_boxes(content, path)
    training = load_source(source, data_sets, implausible=implausible)
    has_pseudo = len(training.pseudo_boxes.boxes) > 0
    training = replace(training, train_on="pseudo_boxes" if has_pseudo else "gt_boxes")
    try:
        check_plausible(training, implausible)
        baseline = FixedBoxes.from_training([training])
        baseline.check_apart(scored)
    except InputError as error:
        raise InputError(f"--baseline-boxes: {error}") from None
    return baseline


def check_numbers(args: argparse.Namespace) -> None:
    """Raise InputError for numbers that argparse lets through."""
    if not 0 < args.level < 1:
        raise InputError(f"--level must be in (0, 1), such as 0.95 for 95 %, got {args.level}")


def load_scored(path: str, data_set: DataSet, args: argparse.Namespace) -> tuple[BoxTable, dict]:
    """Read a detections file for a ground truth, as the arguments say, and its counts."""
    detections, counts = load_detections(
        path,
        data_set,
        args.outside,
        args.implausible,
        box_frame=args.box_frame,
        box_classes=args.box_classes,
    )
    kept = drop_low_scores(detections, args.score_threshold)
    return kept, with_threshold(counts, kept, args.score_threshold)


def _inputs(
    args: argparse.Namespace,
    data_set: DataSet,
    baseline: FixedBoxes | None,
    maps: MapScores | None,
) -> dict:
    inputs: dict = {"ground_truth": truth_entry(data_set)}
    if maps is not None:
        inputs["score_maps"] = {"name": Path(args.score_maps).name, "sha256": maps.sweep.sha256}
    for name in ("detections", "class_predictions"):
        if getattr(args, name):
            inputs[name] = file_entry(getattr(args, name))
    if baseline is not None:
        inputs["baseline_boxes"] = baseline_entry(baseline)
    return inputs


def _export(
    kinds: Sequence[str], folder: Path, data_set: DataSet, detections: BoxTable
) -> list[Path]:
    written = []
    if "coco" in kinds:
        written += [folder / "ground_truth.json", folder / "detections.json"]
        with_classes = detections.class_ids is not None
        truth = to_coco(data_set, data_set.truth, TRUTH, with_classes=with_classes)
        write_json(written[0], truth)
        write_detections(written[1], data_set, detections)
    for kind in ("csv", "parquet"):
        if kind in kinds:
            written.append(folder / f"detections.{kind}")
            write_detections(written[-1], data_set, detections)
    return written


def _ap_note(coco: dict[str, float]) -> str:
    numbers = ", ".join(f"{m.title} {m.text(coco[m.name])}" for m in COCO_METRICS)
    return f"COCO, class-agnostic, original pixels, whatever the protocol: {numbers}"


def _recall_note(scores: dict[str, ProtocolScores]) -> str:
    """The first protocol's recall@K at a few K; the whole curves are in a file."""
    name = next(iter(scores))
    rows = {int(k): values for protocol, k, *values in recall_rows(scores) if protocol == name}
    shown = [k for k in (1, 2, 3, 5, 10, 20, 50, 100) if k in rows]
    texts = [
        f"{k}: {' / '.join('-' if value == '-' else f'{float(value):.2f}' for value in rows[k])}"
        for k in shown
    ]
    return f"recall@K of {name}, detections / fixed boxes, by K: {'; '.join(texts)}"


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the table and write the files; returns the exit status."""
    check_numbers(args)
    with locked(args.output, doing="wend evaluate"):
        return _evaluate(args)


def _evaluate(args: argparse.Namespace) -> int:
    if args.view:
        describe_view(args.view)  # an unknown one is told before anything is read
    check_picture_arguments(args)
    settle_map_arguments(args)
    names = args.protocol or (MAP_PROTOCOLS if args.score_maps else DEFAULT_PROTOCOLS)
    protocols = [get_protocol(name) for name in names]
    ks = [parse_k(text) for text in args.max_boxes]
    metrics = choose_metrics(args.metrics)
    data_sets = known_data_sets(args)
    data_set, findings = load_truth(args.ground_truth, data_sets, args.implausible, args.masks)
    if not args.protocol:
        protocols = without_class_means(protocols, data_set)
    located = locate_for_pictures(args, data_set)
    classes = args.class_predictions and read_class_predictions(args.class_predictions, data_set)
    maps = None
    if args.score_maps:
        maps, counts = read_maps(args, data_set, protocols)
        detections, about = maps.detections, maps.notes()
        metrics = choose_metrics(args.metrics, maps.metrics())
    else:
        detections, counts = load_scored(args.detections, data_set, args)
        about = detections_notes(data_set.name, counts)
    baseline = None
    if args.baseline_boxes:
        baseline = load_baseline(args.baseline_boxes, data_set, data_sets, args.implausible)
    extra = {"coco": coco_numbers(data_set, detections, args.ap_backend)} if args.ap else {}
    ap_notes = [_ap_note(extra["coco"])] if args.ap else []
    if maps is not None:
        extra["score_maps"] = maps.to_dict()
    scores = score_all(
        data_set,
        detections,
        protocols,
        ks,
        classes,
        metrics=metrics,
        level=args.level,
        baseline=baseline,
    )
    fixed = baseline.name if baseline else "not computed (--baseline-boxes)"
    notes = [*evaluation_notes(about, fixed, args.view), *ap_notes]
    notes += [finding.message for finding in findings]
    inputs = _inputs(args, data_set, baseline, maps)
    written = write_scores(
        args.output,
        scores,
        counts=counts,
        inputs=inputs,
        notes=notes,
        extra=extra,
        view=args.view,
    )
    if maps is not None:
        written += write_map_files(args.output, maps)
    exported = detections
    if args.export_frame == "given":
        exported = replace(detections, boxes=detections.given_boxes, given=None)
    written += _export(args.export, Path(args.output), data_set, exported)
    written += draw_pictures(args, located, scores)
    written += draw_page(args, located, scores, notes, inputs)
    sys.stdout.write(f"\n{score_table(scores, [*notes, _recall_note(scores)])}\n\n")
    if args.analysis:
        text = analysis_text(scores)
        written.append(Path(args.output) / ANALYSIS_FILE)
        with atomic_write(written[-1]) as file:
            file.write(text + "\n")
        sys.stdout.write(f"{text}\n\n")
    sys.stdout.writelines(f"written: {path}\n" for path in written)
    return 0
