"""What every run ends with that makes boxes: a data set of them, their page, what to do next."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wend.errors import InputError
from wend.localize.declaration import declaration_path, declare_boxes
from wend.localize.next_steps import next_steps
from wend.localize.writers import cost_path, output_paths, page_path
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet

if TYPE_CHECKING:
    from wend.evaluation.agreement import Agreement

PICTURES, MOST_PICTURES = 12, 500  # of each kind
logger = logging.getLogger(__name__)


def add_page_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--page``, for :func:`finish`."""
    parser.add_argument(
        "--page",
        default=str(PICTURES),
        metavar="N",
        help=f"images of each kind on the page pseudo_boxes.html, or none (default: {PICTURES})",
    )


def check_page(text: str) -> int:
    """The number of images that ``--page`` says; 0 for no page.

    Raises:
        InputError: it is no such number.
    """
    if text == "none":
        return 0
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_PICTURES):
        raise InputError(f"--page: expected none or 1 to {MOST_PICTURES} images, got {text!r}")
    return int(text)


def finish(
    args: argparse.Namespace,
    data_set: DataSet,
    settings: Mapping[str, Any],
    boxes: BoxTable,
    agreed: Agreement | None = None,
) -> None:
    """Declare the images with their boxes; with a page, write it and say what to do next.

    Args:
        args: ``output``, ``split``, ``page``, ``images``.
        boxes: of the data set's images.
        agreed: how far the methods agree that they were fused of.
    """
    declaration = declare_boxes(args.output, args.split, data_set, boxes, settings)
    if declaration is not None:
        logger.info("written: %s", declaration)
    number = check_page(args.page)
    if not number:
        return
    from wend.localize.cost import read_cost
    from wend.reports.localized_page import localized_page
    from wend.reports.page import write_page

    cost = read_cost(cost_path(args.output, args.split))
    steps = next_steps(args.output, args.split, settings, args.images)
    page = localized_page(data_set, boxes, settings, cost, number, agreed, steps)
    path = write_page(page_path(args.output, args.split), page)
    logger.info("written: %s", path)
    lines = [f"  {step.purpose}:\n    {step.command}" for step in steps]
    logger.info("next: look at %s, then\n%s", path, "\n".join(lines))


def finish_what_is_missing(
    args: argparse.Namespace,
    data_set: DataSet,
    settings: Mapping[str, Any],
    boxes: BoxTable | None = None,
    agreed: Agreement | None = None,
) -> None:
    """The same, where boxes are there and what :func:`finish` writes last is not.

    A folder that cannot be written into is no problem then.

    Args:
        boxes: read from their file if left out.
    """
    last = page_path(args.output, args.split)
    if not check_page(args.page):
        last = declaration_path(args.output, args.split, settings)
    if last.exists():
        return
    if boxes is None:
        from wend.pseudo_boxes import join_boxes, read_boxes

        source = {"source": "coco", "path": output_paths(args.output, args.split)[1]}
        boxes = join_boxes(data_set.keys, data_set.sizes, read_boxes(source), log=False)[0]
    try:
        finish(args, data_set, settings, boxes, agreed)
    except OSError as error:
        logger.warning("no page: %s", error)
