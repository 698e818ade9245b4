"""``wend pseudo-boxes --method auto``: the boxes of several methods as one set.

Each method makes its boxes in a folder of its own, as it would alone, and then they are fused. A
method that has ended is not run again, and one that was interrupted goes on. All look at the same
batches of one network, whose maps are kept for them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wend.errors import InputError
from wend.evaluation.agreement import Agreement, agreement
from wend.files import read_json, write_json
from wend.localize.boxes import NOTHING_FOUND, FoundBox
from wend.localize.cost import Cost, read_cost
from wend.localize.found import part_folder
from wend.localize.job import Job
from wend.localize.making import Made, make_boxes
from wend.localize.merging import Unmerged, check_images, merge
from wend.localize.presets import FUSED, PRESETS
from wend.localize.request import Request
from wend.localize.writers import cost_path, found_table, is_done, output_paths, write_boxes
from wend.pseudo_boxes import join_boxes, read_boxes
from wend.pseudo_boxes.fusion import FusedBoxes, fuse_boxes
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet

SUPPORT = 2  # methods that have to see a further box of an image
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fused:
    """Fused boxes.

    Attributes:
        boxes: of the data set's images, in original pixels, scored by agreement.
        settings: what they depend on, as their file says it.
        agreed: how far the methods agree.
        is_new: whether they were not there before.
    """

    boxes: BoxTable
    settings: dict[str, Any]
    agreed: Agreement
    is_new: bool


def methods_folder(output: str | Path, split: str) -> Path:
    """Where the methods write, each a split of its own."""
    return Path(output) / f"{split}.methods"


def methods_of(backbone: str) -> list[str]:
    """The methods that can be run with a network."""
    return [name for name in FUSED if PRESETS[name].allows(backbone)]


def make_methods(job: Job, output: str | Path, split: str, number: int) -> dict[str, Made]:
    """Run the methods one after the other; what each has come to.

    Args:
        number: boxes per image at most.

    Raises:
        InputError: the user's input is wrong.
    """
    assert job.network is not None
    network = replace(job.network, shared=True)
    job = replace(job, network=network)
    names = methods_of(network.backbone)
    for name in FUSED:
        if name not in names and job.crew.is_main:
            logger.warning("--method auto: without %s, which is for %s", name, PRESETS[name].needs)
    made = {}
    for name in names:
        logger.info("--method auto: %s", name)
        request = Request(number=number, **PRESETS[name].options)
        made[name] = make_boxes(request, job, methods_folder(output, split), name)
    return made


def merge_methods(data_set: DataSet, images: Mapping[str, Any], output: Path, split: str) -> None:
    """Make the whole of what shards of each method have done.

    Args:
        images: they in words, as of :func:`wend.localize.whole.describe_images`.

    Raises:
        InputError: a method is not done, or parts are of other images or of another version.
    """
    folder, settings = methods_folder(output, split), settings_of_methods(output, split)
    check_images(folder, settings, images)
    names = methods_of(settings.get("backbone", ""))
    open_ones = [name for name in names if not output_paths(folder, name)[1].exists()]
    merge([Unmerged.read(folder, name) for name in open_ones], data_set, images)


def settings_of_methods(output: str | Path, split: str) -> dict[str, Any]:
    """What shards of all methods share: the images, the network, and how many boxes.

    Raises:
        InputError: there is no part of any method that has a network.
    """
    folder = methods_folder(output, split)
    for name in (name for name in FUSED if PRESETS[name].needs_network):
        coco = output_paths(folder, name)[1]
        if coco.exists():
            return read_json(coco, "boxes of a method")["info"]["settings"]
        if part_folder(folder, name).is_dir():
            return Unmerged.read(folder, name).parts.settings
    raise InputError(f"{folder}: holds no part of an unfinished run of --method auto")


def write_fused(
    output: str | Path,
    split: str,
    data_set: DataSet,
    images: Mapping[str, Any],
    number: int,
) -> Fused:
    """Fuse what several methods have written, unless that is done already.

    A box in which a method found nothing is none. Scores of methods cannot be compared, so that
    each box counts the same; a fused box's score is how far the methods agree on it. Of several
    boxes per image those are written that are :func:`supported`.

    Args:
        images: they in words, as of :func:`wend.localize.whole.describe_images`.
        number: boxes per image at most.

    Raises:
        InputError: something is there that was made otherwise.
    """
    folder = methods_folder(output, split)
    names = methods_of(settings_of_methods(output, split).get("backbone", ""))
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
    settings: dict[str, Any] = {"method": "auto", **images, "methods": methods}
    if number > 1:
        settings |= {"boxes": number, "support": SUPPORT}
    agreed = agreement(tables, data_set.sizes)
    fused = supported(fuse_boxes(list(tables.values()), use_scores=False)).first(number)
    found_boxes = {
        key: _found(fused, i, data_set) for i, key in enumerate(data_set.keys) if key in readable
    }  # an image that could be read has a box, be it the whole image
    fused_boxes = found_table(data_set, found_boxes)
    if is_done(output, split, data_set.keys, settings):
        logger.info("%s: is there already, made with the same settings", output)
        return Fused(fused_boxes, settings, agreed, False)
    spent = _together([cost for cost in costs if cost is not None])
    write_json(cost_path(output, split), spent.as_json(), indent=1)
    for path in write_boxes(output, split, data_set, found_boxes, settings, number):
        logger.info("written: %s", path)
    logger.info("agreement of the methods:\n%s", agreed.table())
    logger.info("alone, %s would be taken: %s", agreed.chosen, agreed.reason)
    logger.info("%d images: %d fused boxes", len(found_boxes), len(fused_boxes.boxes))
    logger.info("cost of all methods: %s", spent.in_words())
    return Fused(fused_boxes, settings, agreed, True)


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
