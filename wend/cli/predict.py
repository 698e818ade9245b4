"""``wend predict``: boxes of photos, a video or a camera, with no truth needed."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wend.cli.label_file_options import (
    add_prediction_options,
    number_of_pictures,
    prediction_formats,
)
from wend.cli.options import (
    add_checkpoint_options,
    add_device_option,
    add_megapixels_option,
    add_opts_option,
    key_values,
)
from wend.errors import InputError
from wend.files import expand_user
from wend.inference.detector import Detector
from wend.inference.inputs import is_video
from wend.inference.load import load
from wend.inference.run import Choices, Output, Photos, predict_photos, predict_video
from wend.numerals import decimal_number
from wend.run_files import ADVICE_FILE, read_advice
from wend.run_lock import locked
from wend.stop_signals import SAME_COMMAND, keeping

ADVISED = "advised"
logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``wend predict``."""
    add = parser.add_argument
    add("detector", metavar="RUN", help="OUTPUT_DIR of a run, checkpoint, or exported file")
    add(
        "images",
        nargs="*",
        metavar="IMAGES",
        help="image files, folders (with those within them) and patterns such as '*.png'; or one "
        "video",
    )
    add(
        "--webcam",
        type=int,
        nargs="?",
        const=0,
        metavar="N",
        help="instead of images: the camera of this number (0), until Ctrl-C",
    )
    add("--output", default="predictions", metavar="DIR", help="folder (default: predictions)")
    add(
        "--overwrite",
        action="store_true",
        help="replace what an earlier wend predict wrote to the folder",
    )
    add_prediction_options(parser)
    add("--label", default="foreground", help="what boxes are called in label files")
    add(
        "--min-score",
        metavar="S",
        help="leave out boxes that score less: a number, advised (the run's own, which wend auto "
        "chose; default where there is one), or none",
    )
    add("--max-boxes", type=int, metavar="K", help="at most so many boxes per image, the best")
    add(
        "--batch-size",
        type=int,
        metavar="N",
        help="images at a time (default: the run's WEND.TEST_BATCH)",
    )
    add(
        "--exif",
        choices=["ignore", "apply"],
        help="photos with an EXIF orientation: as stored, or turned upright (default: as in the "
        "training)",
    )
    add(
        "--on-bad",
        default="raise",
        choices=["raise", "skip"],
        help="an image that cannot be read: an error (default), or leave it out and say so",
    )
    add_megapixels_option(parser, default="the run's WEND.DATA.MAX_MEGAPIXELS")
    add_device_option(parser)
    add_checkpoint_options(parser)
    add_opts_option(parser)


def _min_score(text: str | None, run: str) -> float | None:
    """The score that ``--min-score`` means for a run; None to keep all boxes."""
    if text == "none":
        return None
    if text not in (None, ADVISED):
        try:
            return decimal_number(text)
        except ValueError:
            raise InputError(
                f"--min-score: expected a number, {ADVISED} or none, got {text!r}"
            ) from None
    path = expand_user(run)
    advised = read_advice(path if path.is_dir() else path.parent).get("min_score")
    if advised is not None:
        logger.info("boxes that score less than the advised %.3f are left out", advised)
    elif text == ADVISED:
        raise InputError(
            f"--min-score {ADVISED}: {run} advises none; wend auto writes {ADVICE_FILE}"
        )
    return advised


def _run_video(args: argparse.Namespace, choices: Choices, overrides: Mapping[str, str]) -> int:
    if len(args.images) > 1:
        raise InputError("IMAGES: a video is predicted on alone; run once for each")
    source = args.images[0] if args.images else args.webcam
    with locked(args.output, doing="wend predict"):
        output = Output(args.output, overwrite=args.overwrite)
        detector = _load(args, overrides)
        written = predict_video(detector, source, output, choices)
    _report(*written, unit="frames")
    return 0


def _load(args: argparse.Namespace, overrides: Mapping[str, str]) -> Detector:
    return load(
        args.detector,
        device=args.device,
        engine=args.engine,
        config=args.config_file,
        exif=args.exif,
        max_megapixels=args.max_megapixels,
        **overrides,
    )


def run(args: argparse.Namespace) -> int:
    """Predict and write; returns the exit status.

    Raises:
        InputError: names the argument, file or image that is wrong.
    """
    if bool(args.images) == (args.webcam is not None):
        raise InputError("expected images (files, folders, patterns, or a video), or --webcam")
    overrides = key_values(args.opts, "--opts")
    choices = Choices(
        formats=prediction_formats(args.format),
        pictures=number_of_pictures(args.pictures),
        label=args.label,
        max_boxes=args.max_boxes,
        min_score=_min_score(args.min_score, args.detector),
        batch_size=args.batch_size,
        skip_bad=args.on_bad == "skip",
    )
    if args.webcam is not None or any(map(is_video, args.images)):
        return _run_video(args, choices, overrides)
    photos = Photos.of_paths(args.images)
    _check_apart(args.output, args.images)
    with keeping(SAME_COMMAND), locked(args.output, doing="wend predict"):
        output = Output(args.output, overwrite=args.overwrite)
        detector = _load(args, overrides)
        written, manifest = predict_photos(detector, photos, output, choices)
    _report(written, manifest)
    return 0


def _check_apart(output: str, images: list[str]) -> None:
    """Raise InputError for an output inside a folder of images: it would be predicted on, too."""
    whole = Path(output).resolve()
    for folder in (Path(path).resolve() for path in images if Path(path).is_dir()):
        if whole == folder or folder in whole.parents:
            raise InputError(f"--output {output}: lies in the folder of the images, {folder}")


def _report(written: list[Path], manifest: dict[str, Any], unit: str = "images") -> None:
    print(
        f"\n{manifest['boxes']} boxes in {manifest['images']} {unit}; "
        f"{manifest['images_without_box']} {unit} have none"
    )
    if manifest["unreadable"]:
        print(f"{len(manifest['unreadable'])} images could not be read and are left out:")
        print("\n".join(manifest["unreadable"]))
    for path in written:
        print(f"written: {path}")
