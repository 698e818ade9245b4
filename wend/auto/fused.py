"""The boxes of several methods as one set: the end of ``wend pseudo-boxes --method auto``."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wend.evaluation.agreement import Agreement, agreement
from wend.files import read_json, write_json
from wend.localize.boxes import NOTHING_FOUND, FoundBox
from wend.localize.cost import Cost, read_cost
from wend.localize.writers import cost_path, found_table, is_done, output_paths, write_boxes
from wend.pseudo_boxes import join_boxes, read_boxes
from wend.pseudo_boxes.fusion import FusedBoxes, fuse_boxes
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet

SUPPORT = 2  # methods that have to see a further box of an image
logger = logging.getLogger(__name__)


def write_fused(
    output: str | Path,
    split: str,
    data_set: DataSet,
    settings: Mapping[str, Any],
    folder: Path,
    names: Sequence[str],
    number: int,
) -> tuple[BoxTable, dict[str, Any], Agreement]:
    """Fuse what several methods have written, unless that is done already.

    A box in which a method found nothing is none. Scores of methods cannot be compared, so that
    each box counts the same; a fused box's score is how far the methods agree on it. Of several
    boxes per image those are written that are :func:`supported`.

    Args:
        settings: which images, as of :func:`wend.localize.whole.describe_images`.
        folder, names: the output of the methods, and the split of each in it.
        number: boxes per image at most.

    Returns:
        The fused boxes, their settings, and the methods' agreement.

    Raises:
        InputError: something is there that was made otherwise.
    """
    tables, methods, costs = {}, {}, []
    readable: set[str] = set()
    for name in names:
        _, coco = output_paths(folder, name)
        boxes = read_boxes({"source": "coco", "path": coco})
        table = join_boxes(data_set.keys, data_set.sizes, boxes, log=False)[0]
        assert table.scores is not None
        readable |= {data_set.keys[i] for i in table.with_boxes.tolist()}
        tables[name] = table.keep(table.scores > 0)
        methods[name] = read_json(coco, "boxes of a method")["info"]["settings"]
        costs.append(read_cost(cost_path(folder, name)))
    settings = {"method": "auto", **settings, "methods": methods}
    if number > 1:
        settings |= {"boxes": number, "support": SUPPORT}
    agreed = agreement(tables, data_set.sizes)
    fused = supported(fuse_boxes(list(tables.values()), use_scores=False)).first(number)
    found = {
        key: _found(fused, i, data_set) for i, key in enumerate(data_set.keys) if key in readable
    }  # an image that could be read has a box, be it the whole image
    fused_boxes = found_table(data_set, found)
    if is_done(output, split, data_set.keys, settings):
        logger.info("%s: is there already, made with the same settings", output)
        return fused_boxes, settings, agreed
    spent = _together([cost for cost in costs if cost is not None])
    write_json(cost_path(output, split), spent.as_json(), indent=1)
    for path in write_boxes(output, split, data_set, found, settings, number):
        logger.info("written: %s", path)
    logger.info("agreement of the methods:\n%s", agreed.table())
    logger.info("alone, %s would be taken: %s", agreed.chosen, agreed.reason)
    logger.info("%d images: %d fused boxes", len(found), len(fused_boxes.boxes))
    logger.info("cost of all methods: %s", spent.in_words())
    return fused_boxes, settings, agreed


def supported(fused: FusedBoxes) -> BoxTable:
    """The best box of each image, and those further ones that :data:`SUPPORT` boxes stand for.

    What a single method sees beside them is mostly another extent of the same object.
    """
    table = fused.table
    return table.keep((table.rank == 0) | (fused.members >= SUPPORT))


def _found(fused: BoxTable, index: int, data_set: DataSet) -> tuple[FoundBox, ...]:
    """An image's fused boxes in fractions of it."""
    width, height = data_set.sizes[index].tolist()
    rows = zip(fused[index].tolist(), fused.scores_of(index).tolist(), strict=True)
    boxes = (
        FoundBox((x0 / width, y0 / height, x1 / width, y1 / height), score)
        for (x0, y0, x1, y1), score in rows
    )
    return tuple(boxes) or (NOTHING_FOUND,)


def _together(costs: Sequence[Cost]) -> Cost:
    """The costs of several methods on the same images."""
    total = sum(costs, Cost())
    images = max((cost.images for cost in costs), default=0)
    return Cost(images, total.waiting, total.network, total.whole)
