"""``wend classify``: a classifier's best classes of each image of a data set, as a file.

An interrupted run goes on where it stopped: finished images stand in the folder
``<output>.partial`` (:mod:`wend.parts`), whichever process did them. The output itself appears at
the end, whole; ``--merge`` makes it of what shards have done.
"""

from __future__ import annotations

import argparse
import logging
import shlex
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

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
    add_shard_option,
    check_keys_differ,
    known_data_sets,
    shard_of,
)
from wend.devices import choose_device
from wend.errors import InputError, some
from wend.files import read_text, remove_unfinished, sha256
from wend.launch.crew import Crew
from wend.partial import differences
from wend.parts import Parts, digest_of_keys
from wend.run_lock import locked_file
from wend.structures.data_set import DataSet

MIN_TOP_K = 5
PART_FORMAT = "wend-class-predictions-part-2"
STEP = "classes"  # what shards note as finished
# settings of parts that are none of the file's
OF_PARTS = ("num_images", "keys_sha256", "batch_size", "num_classes", "class_names")
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
    add_shard_option(parser, "--merge")
    add("--merge", action="store_true", help="make the file of what all shards have done")
    add_datasets_root_option(parser)


def run(args: argparse.Namespace) -> int:
    """Classify or import as the arguments say; returns the exit status.

    Raises:
        InputError: the user's input is wrong.
    """
    with Crew() as crew:
        _check_arguments(args)
        data_set = known_data_sets(args).images(args.dataset)
        check_keys_differ(data_set, "class predictions")
        names = _read_names(args.class_names) if args.class_names else []
        if not args.import_file and not args.merge:
            _classify(args, data_set, names, crew)
        elif crew.size > 1:
            raise InputError("--import and --merge are the work of one process; start one")
        elif args.import_file:
            with locked_file(args.output, doing="wend classify --import"):
                _import(args, data_set, names)
        else:
            _merge(args, data_set)
    return 0


def _check_arguments(args: argparse.Namespace) -> None:
    needed = {"--model": args.model, "--weights": args.weights}
    needed["--preprocessing"] = args.preprocessing
    given = [name for name, value in needed.items() if value]
    missing = [name for name, value in needed.items() if not value]
    without = "--import" if args.import_file else "--merge" if args.merge else ""
    if args.import_file and args.merge:
        raise InputError("--import and --merge: give one of them")
    if without and args.shard is not None:
        given.append("--shard")
    if without and given:
        raise InputError(f"{without} runs no model; leave out {', '.join(given)}")
    if not without and missing:
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


def _classify(args: argparse.Namespace, data_set: DataSet, names: list[str], crew: Crew) -> None:
    device = choose_device(args.device or crew.device_name(), "--device")
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

    def is_there() -> bool:
        return crew.broadcast(crew.is_main and _is_done(args.output, settings, data_set))

    if is_there():  # a folder that cannot be written into is no problem then
        return
    values = (len(data_set), digest_of_keys(data_set.keys), args.batch_size, count, names)
    of_parts = settings | dict(zip(OF_PARTS, values, strict=True))
    shard, folder = shard_of(args), _folder(args.output)
    with Parts(
        *(args.output, folder, PART_FORMAT, of_parts, _from_row, crew, shard),
        doing="wend classify",
    ) as parts:
        if is_there():  # another run has just ended
            return
        _predict_share(args, classifier, data_set, device, parts)
        if crew.is_main and shard is None:
            _write_whole(args.output, data_set, parts)
        elif crew.is_main:
            merge = ["wend", "classify", "--merge", "--dataset", args.dataset]
            merge += ["--datasets-root", args.datasets_root] if args.datasets_root else []
            logger.info(
                "shard %s: done; of %d images %d are (%s); when all are, make the whole: %s, or "
                "the same command without --shard",
                *(shard, len(data_set), parts.num_images),
                parts.what_is_open(len(data_set), STEP),
                shlex.join([*merge, "--output", args.output]),
            )


def _folder(output: str) -> Path:
    return Path(f"{output}.partial")


def _from_row(row: dict[str, Any]) -> tuple[str, tuple[list, list]]:
    return row["key"], (row["classes"], row["scores"])


def _predict_share(
    args: argparse.Namespace,
    classifier: Classifier,
    data_set: DataSet,
    device: torch.device,
    parts: Parts[tuple[list, list]],
) -> None:
    """Classify this process's share of what is not done; batches are those of a single process."""
    keys = data_set.keys
    batches = [
        range(start, min(start + args.batch_size, len(keys)))
        for start in range(0, len(keys), args.batch_size)
    ]

    def is_done(batch: range) -> bool:
        return all(keys[i] in parts.done for i in batch)

    mine = parts.share(args.dataset, batches, is_done, len)
    choices = (args.top_k, args.ten_crop, args.num_workers)
    for predicted in predict(classifier, data_set, mine, device, *choices):
        parts.add(
            [
                {"key": key, "classes": classes, "scores": scores}
                for key, classes, scores in zip(*predicted, strict=True)
            ]
        )
        parts.advance(len(predicted[0]))
    parts.end_step(STEP)


def _merge(args: argparse.Namespace, data_set: DataSet) -> None:
    """Make the file of what all shards have done."""
    folder = _folder(args.output)
    parts = Parts.of_folder(
        args.output, folder, PART_FORMAT, _from_row, doing="wend classify --merge"
    )
    images = {"dataset": args.dataset, "num_images": len(data_set)}
    images["keys_sha256"] = digest_of_keys(data_set.keys)
    changed = differences({key: parts.settings.get(key) for key in images}, images)
    if changed:
        raise InputError(f"{folder}: is of other images ({changed})")
    made_by = parts.settings["versions"]["wend"]
    if made_by != __version__:
        raise InputError(
            f"{folder}: was made by WEND {made_by}, this is {__version__}; merge with that version"
        )
    with parts:
        if _is_done(args.output, _of_file(parts), data_set):
            raise InputError(f"{args.output}: is there already, whole; {folder} can be removed")
        _write_whole(args.output, data_set, parts)


def _of_file(parts: Parts) -> dict[str, Any]:
    """The settings of parts that stand in the file, too."""
    return {key: value for key, value in parts.settings.items() if key not in OF_PARTS}


def _write_whole(output: str, data_set: DataSet, parts: Parts[tuple[list, list]]) -> None:
    """Write the file of all parts, and remove them."""
    done = parts.of_all(data_set.keys, STEP)
    file = PredictionsFile(
        {key: classes for key, (classes, _) in done.items()},
        {key: scores for key, (_, scores) in done.items()},
        parts.settings["num_classes"],
        parts.settings["class_names"],
        _of_file(parts),
        source=output,
    )
    remove_unfinished(output)
    _finish(output, file, data_set)
    parts.remove()


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
