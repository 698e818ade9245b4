"""The pictures of ``wend evaluate``: ``--page``, ``--plots``, ``--images`` and ``--image-root``."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wend.errors import InputError, MissingImageError, some
from wend.evaluation.scoring import ProtocolScores
from wend.formats.listed_files import locate_images
from wend.images.sizes import missing_files
from wend.structures.data_set import DataSet

PAGE_IMAGES = 6  # of each kind, where --images does not say
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Located:
    """A data set with the paths of its image files, and which of them (I,) are there."""

    data_set: DataSet
    there: np.ndarray


def add_picture_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--page",
        action="store_true",
        help="also write report.html: the numbers, figures and, where the images are there, the "
        "best and the worst of them on one page for a browser",
    )
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
        help="folder of the images for --images and --page, where the ground truth does not say "
        "where they lie",
    )


def check_picture_arguments(args: argparse.Namespace) -> None:
    """Raise InputError for options that do not go together."""
    if args.images < 0:
        raise InputError(f"--images must be >= 0, got {args.images}")
    if args.image_root and not (args.images or args.page):
        raise InputError(
            "--image-root is the folder of the images of --images N or --page, which are missing"
        )


def locate_for_pictures(args: argparse.Namespace, data_set: DataSet) -> Located | None:
    """The image files, where ``--images`` or ``--page`` asks for some; before all is scored.

    A page looks for those alone that it shows.

    Raises:
        MissingImageError: none is there, and ``--images`` asks for some.
        InputError: something else lies where the page is to be written.
    """
    if args.page:
        from wend.reports.page import PAGE_FILE, check_replaceable

        check_replaceable(Path(args.output) / PAGE_FILE)
    if not args.images and not args.page:
        return None
    located = locate_images(data_set, args.image_root)
    if not args.images:
        return Located(located, np.ones(len(located), dtype=bool))
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
    if args.images and located is not None:
        from wend.reports.miss_pictures import draw_misses

        first = next(iter(scores.values())).per_image
        written += draw_misses(args.output, first, args.images, located.data_set, located.there)
    return written


def draw_page(
    args: argparse.Namespace,
    located: Located | None,
    scores: dict[str, ProtocolScores],
    notes: Sequence[str],
    inputs: Mapping[str, Any],
) -> list[Path]:
    """Write the page that ``--page`` asks for; returns its file."""
    if not args.page:
        return []
    from wend.reports.evaluation_page import evaluation_page
    from wend.reports.page import PAGE_FILE, write_page

    page = evaluation_page(
        Path(args.detections or args.score_maps).name,
        scores,
        located=None if located is None else located.data_set,
        number=args.images or PAGE_IMAGES,
        notes=notes,
        inputs=inputs,
    )
    return [write_page(Path(args.output) / PAGE_FILE, page)]
