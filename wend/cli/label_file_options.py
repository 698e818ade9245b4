"""Options of commands that write label files and pictures of boxes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from wend.errors import InputError
from wend.label_files import FOREGROUND, WRITERS


def add_label_file_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of commands that write label files: formats, labels, and what is written."""
    parser.add_argument(
        "--format",
        nargs="+",
        metavar="FORMAT",
        help=f"formats, also as a,b: {', '.join(WRITERS)}, module:function, ./file.py:function",
    )
    parser.add_argument(
        "--labels",
        nargs="+",
        metavar="NAME",
        help=f"what the boxes' classes are called (default: {FOREGROUND}, or 0, 1, ...)",
    )
    parser.add_argument(
        "--option",
        nargs="+",
        default=[],
        metavar="OPTION=VALUE",
        help="options of formats, such as link_images=true pixels=edges url=https://... "
        "(docs/label_files.md)",
    )
    parser.add_argument(
        "--upright",
        action="store_true",
        help="turn boxes by EXIF's orientation in coco and csv, too, as the other formats do",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the formats' folders that are there"
    )


def add_prediction_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--format`` and ``--pictures``: what a detector's boxes are written as."""
    parser.add_argument(
        "--format",
        default="coco",
        metavar="NAME[,NAME...]",
        help=f"label files to write: {', '.join(WRITERS.names())}, or your own as ./file.py:name; "
        f"none for none (default: coco; docs/predict.md)",
    )
    parser.add_argument(
        "--pictures",
        default="16",
        metavar="N",
        help="how many images to draw with their boxes: a number, all or none (default: 16); "
        "without a lowest score and --max-boxes the best box and those that score 0.5 are drawn",
    )


def format_names(words: Sequence[str]) -> list[str]:
    """The formats that words name, each word one or several with commas between them.

    Raises:
        InputError: there is none, or one is no format.
    """
    names = [name for word in words for name in word.split(",") if name]
    if not names:
        raise InputError(f"--format: expected some of {', '.join(WRITERS)}")
    for name in names:
        WRITERS.get(name)
    return names


def prediction_formats(text: str) -> list[str]:
    """The formats that ``--format`` of :func:`add_prediction_options` means; "none" is none."""
    return [] if text == "none" else format_names([text])


def number_of_pictures(text: str) -> int | None:
    """The number that ``--pictures`` means; None for all."""
    if text in ("all", "none"):
        return None if text == "all" else 0
    if text.isascii() and text.isdigit():
        return int(text)
    raise InputError(f"--pictures: expected a number, all or none, got {text!r}")
