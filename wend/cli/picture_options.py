"""The pictures of ``wend evaluate``: ``--plots``, and ``--images`` with ``--image-root``."""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wend.errors import InputError, MissingImageError, some
from wend.evaluation.scoring import ProtocolScores
from wend.formats.listed_files import locate_images
from wend.images.sizes import missing_files
from wend.structures.data_set import DataSet

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Located:
    """A data set with the paths of its image files, and which of them (I,) are there."""

    data_set: DataSet
    there: np.ndarray


def add_picture_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--plots",
        action="store_true",
        help="also draw recall.png, recall at K beside the fixed boxes, and iou_histogram.png",
    )
    parser.add_argument(
        "--images",
        type=int,
        default=0,
        metavar="N",
        help="also draw misses_<kind>.png, the N worst misses of each kind of --analysis, under "
        "the first protocol",
    )
    parser.add_argument(
        "--image-root",
        metavar="DIR",
        help="folder of the images for --images, where the ground truth does not say where they "
        "lie",
    )


def check_picture_arguments(args: argparse.Namespace) -> None:
    """Raise InputError for options that do not go together."""
    if args.images < 0:
        raise InputError(f"--images must be >= 0, got {args.images}")
    if args.image_root and not args.images:
        raise InputError("--image-root is the folder of the images of --images N, which is missing")


def locate_for_pictures(args: argparse.Namespace, data_set: DataSet) -> Located | None:
    """The image files, where ``--images`` asks for some; looked for before all is scored.

    Raises:
        MissingImageError: none is there.
    """
    if not args.images:
        return None
    located = locate_images(data_set, args.image_root)
    absent = missing_files(located.file_names, "images")
    files = some(located.file_names[i] for i in absent)
    if len(absent) == len(located):
        raise MissingImageError(
            f"--images: none of the {len(located)} images of {data_set.name} is there ({files}); "
            f"name the folder that they lie in: --image-root DIR"
        )
    if absent:
        logger.warning(
            "--images: %d of %d images are not there (%s); misses are drawn of the others",
            *(len(absent), len(located), files),
        )
    there = np.ones(len(located), dtype=bool)
    there[absent] = False
    return Located(located, there)


def draw_pictures(
    args: argparse.Namespace, located: Located | None, scores: dict[str, ProtocolScores]
) -> list[Path]:
    """Draw what the options ask for; returns the files."""
    written = []
    if args.plots:
        from wend.reports.score_figures import draw_score_figures

        written += draw_score_figures(args.output, scores)
    if located is not None:
        from wend.reports.miss_pictures import draw_misses

        first = next(iter(scores.values())).per_image
        written += draw_misses(args.output, first, args.images, located.data_set, located.there)
    return written
