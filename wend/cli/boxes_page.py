"""``--page``: pictures of the boxes that were made, beside them."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wend.errors import InputError
from wend.localize.writers import cost_path, output_paths, page_path
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet

if TYPE_CHECKING:
    from wend.evaluation.agreement import Agreement

PICTURES, MOST_PICTURES = 12, 500  # of each kind
logger = logging.getLogger(__name__)


def add_page_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--page``, for :func:`make_page`."""
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


def make_page(
    args: argparse.Namespace,
    data_set: DataSet,
    settings: Mapping[str, Any],
    boxes: BoxTable | None = None,
    agreed: Agreement | None = None,
) -> None:
    """Write the page that ``--page`` asks for, beside the boxes.

    Args:
        boxes: of the data set's images; read from their file if left out.
        agreed: how far the methods agree that they were fused of.
    """
    number = check_page(args.page)
    if not number:
        return
    from wend.localize.cost import read_cost
    from wend.pseudo_boxes import join_boxes, read_boxes
    from wend.reports.localized_page import localized_page
    from wend.reports.page import write_page

    if boxes is None:
        source = {"source": "coco", "path": output_paths(args.output, args.split)[1]}
        boxes = join_boxes(data_set.keys, data_set.sizes, read_boxes(source), log=False)[0]
    cost = read_cost(cost_path(args.output, args.split))
    page = localized_page(data_set, boxes, settings, cost, number, agreed)
    path = page_path(args.output, args.split)
    logger.info("written: %s", write_page(path, page))


def make_missing_page(
    args: argparse.Namespace,
    data_set: DataSet,
    settings: Mapping[str, Any],
    boxes: BoxTable | None = None,
    agreed: Agreement | None = None,
) -> None:
    """The same, unless it is there; a folder that cannot be written into is no problem then."""
    if page_path(args.output, args.split).exists():
        return
    try:
        make_page(args, data_set, settings, boxes, agreed)
    except OSError as error:
        logger.warning("no page: %s", error)
