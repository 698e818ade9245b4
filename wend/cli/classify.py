"""``wend classify``: a classifier's best classes of each image of a data set, as a file.

An interrupted run goes on where it stopped: finished images stand in ``<output>.partial``
(:mod:`wend.partial`). The output itself appears at the end, whole.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from wend import __version__
from wend.classes.classifiers import Classifier, build_classifier, predict
from wend.classes.imports import import_class_predictions
from wend.classes.predictions import (
    PredictionsFile,
    check_class_list,
    read_predictions_file,
    write_class_predictions,
)
from wend.classes.preprocessing import C2AM, CANONICAL
from wend.cli.options import (
    add_datasets_root_option,
    add_megapixels_option,
    check_keys_differ,
    known_data_sets,
)
from wend.devices import choose_device
from wend.errors import InputError, some
from wend.files import read_text, sha256
from wend.partial import PartialFile, differences
from wend.run_lock import locked_file
from wend.stop_signals import SAME_COMMAND, keeping
from wend.structures.data_set import DataSet

MIN_TOP_K = 5
PARTIAL_FORMAT = "wend-class-predictions-partial-1"
logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``wend classify``."""
    add = parser.add_argument
    add("--dataset", required=True, metavar="NAME", help="name of the data set")
    add("--output", required=True, metavar="FILE", help="new JSON file of class predictions")
    add("--model", metavar="MODEL", help="efficientnet-b7, or timm:<name>")
    add(
        "--weights",
        metavar="FILE",
        help="the model's local checkpoint, or pretrained: what an installed package ships for it",
    )
    add(
        "--preprocessing",
        choices=[C2AM, CANONICAL],
        help="the paper's (squash to 685x685, centre 600x600), or the model's own",
    )
    add("--resize-size", type=int, metavar="N", help="instead of the preprocessing's resize size")
    add("--crop-size", type=int, metavar="N", help="instead of the preprocessing's crop size")
    add("--top-k", type=int, default=5, help="classes per image, at least 5 (default: 5)")
    add("--ten-crop", action="store_true", help="average over corners, centre and mirrored ones")
    add("--batch-size", type=int, default=16, help="images at a time (default: 16)")
    add("--device", help="cuda, cuda:1, cpu (default: a GPU if there is one)")
    add("--num-workers", type=int, default=2, help="processes that read images (default: 2)")
    add(
        "--class-names", metavar="FILE", help="the classifier's class names, one per line, in order"
    )
    add(
        "--import",
        dest="import_file",
        metavar="FILE",
        help="convert this JSON, CSV or Parquet file of another program instead of running a model",
    )
    add_megapixels_option(parser)
    add_datasets_root_option(parser)


def run(args: argparse.Namespace) -> int:
    """Classify or import as the arguments say; returns the exit status.

    Raises:
        InputError: the user's input is wrong.
    """
    _check_arguments(args)
    data_set = known_data_sets(args).images(args.dataset)
    check_keys_differ(data_set, "class predictions")
    names = _read_names(args.class_names) if args.class_names else []
    with locked_file(args.output, doing="wend classify"):
        if args.import_file:
            _import(args, data_set, names)
        else:
            with keeping(SAME_COMMAND):
                _classify(args, data_set, names)
    return 0


def _check_arguments(args: argparse.Namespace) -> None:
    needed = {"--model": args.model, "--weights": args.weights}
    needed["--preprocessing"] = args.preprocessing
    given = [name for name, value in needed.items() if value]
    missing = [name for name, value in needed.items() if not value]
    if args.import_file and given:
        raise InputError(f"--import runs no model; leave out {', '.join(given)}")
    if not args.import_file and missing:
        raise InputError(f"{', '.join(missing)}: needed to run a classifier (or use --import FILE)")
    for name, value, low in (
        ("--top-k", args.top_k, MIN_TOP_K),
        ("--batch-size", args.batch_size, 1),
        ("--num-workers", args.num_workers, 0),
        ("--resize-size", args.resize_size or 1, 1),
        ("--crop-size", args.crop_size or 1, 1),
    ):
        if value < low:
            raise InputError(f"{name}: expected at least {low}, got {value}")


def _read_names(path: str) -> list[str]:
    names = read_text(path, "the classifier's class names, one per line").splitlines()
    return [name.strip() for name in names if name.strip()]


def _import(args: argparse.Namespace, data_set: DataSet, names: list[str]) -> None:
    imported = import_class_predictions(args.import_file, data_set, args.top_k, names)
    num_classes = imported.num_classes or len(names) or None
    _check_names(args.class_names, names, num_classes)
    settings = {"dataset": args.dataset, **imported.settings, "versions": {"wend": __version__}}
    settings["imported_sha256"] = sha256(args.import_file)
    whole = PredictionsFile(
        imported.predictions, imported.scores, num_classes, names, settings, args.import_file
    )
    _finish(args.output, whole, data_set)


def _check_names(path: str | None, names: Sequence[str], num_classes: int | None) -> None:
    if names and num_classes != len(names):
        raise InputError(
            f"{path}: {len(names)} names, but the classifier has {num_classes} classes"
        )


def _finish(output: str, file: PredictionsFile, data_set: DataSet) -> None:
    """Check predictions against the data set, write them, and log how accurate they are."""
    missing = [key for key in data_set.keys if key not in file.predictions]
    if missing:
        raise InputError(
            f"{file.source}: {len(missing)} of {len(data_set)} images have no class prediction "
            f"({some(missing)}); nothing was written"
        )
    if (data_set.class_ids >= 0).all():
        ranks = file.for_data_set(data_set).ranks(data_set)
        logger.info(
            "%d images: Top-1 accuracy %.2f %%, Top-5 %.2f %%",
            len(data_set),
            100 * (ranks < 1).mean(),
            100 * (ranks < 5).mean(),
        )
    write_class_predictions(
        output, file.predictions, file.scores, file.num_classes, file.class_names, file.settings
    )
    logger.info("written: %s", output)


def _classify(args: argparse.Namespace, data_set: DataSet, names: list[str]) -> None:
    device = choose_device(args.device, "--device")
    classifier = build_classifier(
        args.model, args.weights, args.preprocessing, args.resize_size, args.crop_size
    )
    count = classifier.num_classes
    if args.top_k > count:
        raise InputError(
            f"--top-k: {classifier.weights} knows {count} classes, fewer than {args.top_k}"
        )
    _check_names(args.class_names, names, count)
    check_class_list(str(classifier.weights), count, names, data_set)
    settings = _settings(args, classifier, data_set)
    if _is_done(args.output, settings, data_set):
        return
    partial = PartialFile(
        f"{args.output}.partial",
        PARTIAL_FORMAT,
        settings,
        lambda row: (row["key"], (row["classes"], row["scores"])),
    )
    done = _predict_rest(args, classifier, data_set, device, partial)
    file = PredictionsFile(
        {key: done[key][0] for key in data_set.keys},
        {key: done[key][1] for key in data_set.keys},
        count,
        names,
        settings,
        source=args.output,
    )
    _finish(args.output, file, data_set)
    partial.remove()


def _predict_rest(
    args: argparse.Namespace,
    classifier: Classifier,
    data_set: DataSet,
    device: torch.device,
    partial: PartialFile[tuple[str, tuple[list, list]]],
) -> dict[str, tuple[list, list]]:
    """Classify what an interrupted run did not; key -> classes and scores of all images."""
    done = dict(partial.items)
    waiting = [record for record in data_set if record.key not in done]
    num_done = len(data_set) - len(waiting)
    if done:
        logger.info("%s: %d of %d images are done", partial.path, num_done, len(data_set))
    sizes = (args.top_k, args.ten_crop, args.batch_size, args.num_workers)
    with tqdm(total=len(data_set), initial=num_done, desc=args.dataset, unit="image") as bar:
        for batch in predict(classifier, waiting, device, *sizes):
            rows = [
                {"key": key, "classes": classes, "scores": scores}
                for key, classes, scores in zip(*batch, strict=True)
            ]
            partial.add(rows)
            done |= {row["key"]: (row["classes"], row["scores"]) for row in rows}
            bar.update(len(rows))
    return done


def _settings(
    args: argparse.Namespace, classifier: Classifier, data_set: DataSet
) -> dict[str, Any]:
    """What the predictions depend on, as it is written to the file."""
    packages = {"torch": torch.__version__, "pillow": version("pillow"), **classifier.versions}
    turned = {} if data_set.exif == "ignore" else {"exif": data_set.exif}
    return {
        "dataset": args.dataset,
        **turned,
        "model": args.model,
        "weights": classifier.weights.name,
        "weights_sha256": sha256(classifier.weights),
        "preprocessing": classifier.preprocessing.settings(),
        "ten_crop": args.ten_crop,
        "top_k": args.top_k,
        "versions": {"wend": __version__, **packages},
    }


def _is_done(output: str, settings: dict[str, Any], data_set: DataSet) -> bool:
    """Whether the output is there already, from the same settings; InputError if from others."""
    if not Path(output).exists():
        return False
    there = read_predictions_file(output)
    if there.settings != settings:
        raise InputError(
            f"{output}: is there already, made with other settings "
            f"({differences(there.settings, settings)}); name another --output or remove it"
        )
    whole = all(key in there.predictions for key in data_set.keys)
    if whole:
        logger.info("%s: is there already, made with the same settings; nothing to do", output)
    return whole
