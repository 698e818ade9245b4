"""The page of ``wend pseudo-boxes``: boxes on images, what they are, and what they cost.

It needs no truth. Images are shown at random and at the extremes, so that whoever looks can tell
whether the boxes are worth training on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wend.evaluation.agreement import Agreement
from wend.localize.cost import Cost
from wend.localize.next_steps import NextStep
from wend.reports.bars import histogram
from wend.reports.boxes_numbers import shape_numbers
from wend.reports.boxes_page import MEANINGS
from wend.reports.boxes_samples import choose_samples
from wend.reports.gallery import Choice, Shown, first_of_each, nearest_iou
from wend.reports.page import Code, Figures, Page, Section, Table, Words
from wend.reports.roles import PSEUDO, TRUTH
from wend.structures.box_table import BoxTable
from wend.structures.boxes import paired_iou
from wend.structures.data_set import DataSet

LOWEST, HIGHEST = "lowest scores", "highest scores"
LARGE, SMALL = 0.9, 0.01  # shares of the image that hardly an object has
SAME = 0.8  # IoU with the median box, from which a box says little of its image
AT_BORDER = 0.01  # of a side, up to which a box touches the image's border
OWN = {
    LOWEST: "Images whose best box has the lowest score, nothing found first.",
    HIGHEST: "Images whose best box has the highest score.",
}


def localized_page(
    data_set: DataSet,
    boxes: BoxTable,
    settings: Mapping[str, Any],
    cost: Cost | None,
    number: int,
    agreed: Agreement | None = None,
    steps: Sequence[NextStep] = (),
) -> Page:
    """The page of a run.

    Args:
        boxes: of the data set's images, in original pixels, with scores; 0: nothing was found, and
            the box is the whole image.
        settings: how the boxes were made.
        cost: None where it is not known any more.
        number: images of each kind, at least 1.
        agreed: how far the methods agree that the boxes were fused of.
        steps: what to do with the boxes.
    """
    shown = Shown(
        data_set.with_pseudo_boxes(BoxTable.empty(len(data_set))),
        [(PSEUDO, boxes)],
        threshold=0.0,
        max_boxes=settings.get("boxes", 1),
    )
    galleries = [
        gallery
        for choice in _choices(data_set, boxes, number)
        if (gallery := shown.gallery(choice, number)) is not None
    ]
    roles = [(PSEUDO, "box")]
    if len(data_set.truth.boxes):
        roles.insert(0, (TRUTH, "truth"))
    glance = [_doubts(data_set, boxes), *_histograms(data_set, boxes)]
    sections = [Section("At a glance", glance)]
    if agreed is not None:
        sections.append(Section("Agreement", [_agreement(agreed)]))
    if galleries:
        sections.append(Section("Images", galleries))
    if steps:
        text = "\n\n".join(f"# {step.purpose}\n{step.command}" for step in steps)
        words = Words(["In the folder in which the command ran that made this page."])
        sections.append(Section("Next", [words, Code(text)]))
    sections.append(Section("Numbers", [_shapes(data_set, boxes)]))
    if cost is not None and cost.images:
        sections.append(Section("Cost", [_cost(cost)]))
    sections.append(Section("How the boxes were made", [_settings(settings)]))
    method = settings["method"]
    return Page(
        f"Boxes by {method}",
        f"Asked: where the objects of {len(data_set)} images are, by the images alone.",
        _came(data_set, boxes),
        "A score says how certain the method is; it is no probability, and those of two methods "
        "cannot be compared. Boxes are drawn best first.",
        sections,
        [] if galleries else ["images: none of those that were looked for is there"],
        roles if galleries else (),
    )


def _choices(data_set: DataSet, boxes: BoxTable, number: int) -> list[Choice]:
    meanings = MEANINGS | OWN
    samples = choose_samples(data_set, boxes, number)
    _, scores = first_of_each(boxes)
    held = boxes.with_boxes
    order = held[np.argsort(scores[held], kind="stable")]
    if len(held) and scores[order[0]] < scores[order[-1]]:
        samples |= {LOWEST: order[:number], HIGHEST: order[::-1][:number]}
    return [
        Choice(
            title.capitalize(),
            meanings[title],
            images,
            {i: _word(data_set, boxes, i) for i in images.tolist()},
        )
        for title, images in samples.items()
    ]


def _word(data_set: DataSet, boxes: BoxTable, index: int) -> str:
    number = len(boxes[index])
    words = "nothing found: the whole image"
    if boxes.scores_of(index)[0] > 0:
        words = f"{number} box{'' if number == 1 else 'es'}"
    iou = nearest_iou(boxes[index], data_set.truth[index])
    return words if iou is None else f"{words}, IoU of the first {iou:.2f}"


def _came(data_set: DataSet, boxes: BoxTable) -> str:
    _, scores = first_of_each(boxes)
    nothing = int((scores == 0).sum())
    without = len(data_set) - len(boxes.with_boxes)
    said = f"{len(boxes.boxes)} boxes in {len(boxes.with_boxes)} images"
    if nothing:
        said += f", of which {nothing} are the whole image because nothing was found"
    if without:
        said += f"; {without} images could not be read"
    known = np.flatnonzero(data_set.truth.counts > 0)
    if not len(known):
        return f"{said}. No true box is known, so nothing here says how good they are but a look."
    first, _ = first_of_each(boxes)
    best = np.zeros(len(data_set))
    owner = data_set.truth.owner
    np.maximum.at(best, owner, np.nan_to_num(paired_iou(first[owner], data_set.truth.boxes)))
    right = 100 * float((best[known] > 0.5).mean())
    return f"{said}. The first box is right (IoU > 0.5) in {right:.1f} % of {len(known)} images."


def _doubts(data_set: DataSet, boxes: BoxTable) -> Table:
    """How many images have a box that is hardly an object's."""
    first, scores = first_of_each(boxes)
    sizes = data_set.frame_sizes
    with np.errstate(invalid="ignore", divide="ignore"):
        sides = first / np.tile(sizes, 2)
    share = (sides[:, 2] - sides[:, 0]) * (sides[:, 3] - sides[:, 1])
    borders = (sides[:, :2] <= AT_BORDER).sum(1) + (sides[:, 2:] >= 1 - AT_BORDER).sum(1)
    nothing = scores == 0
    kinds = {
        "nothing found: the box is the whole image, and its score 0": nothing,
        f"the best box covers more than {100 * LARGE:g} % of the image": (share > LARGE) & ~nothing,
        f"the best box covers less than {100 * SMALL:g} % of the image": share < SMALL,
        "the best box touches three borders of the image or four": (borders > 2) & ~nothing,
        f"the best box is where it is in most images (IoU over {SAME:g} with the median box)": (
            _like_the_median(sides)
        ),
        "no box, since the image could not be read": boxes.counts == 0,
    }
    rows = [
        [words, str(int(those.sum())), f"{100 * those.mean():.1f} %"]
        for words, those in kinds.items()
    ]
    notes = ["An image may be of several kinds. Of the first three, some are shown below."]
    return Table(["doubtful", "images", "of all"], rows, "What is hardly an object's box.", notes)


def _like_the_median(sides: np.ndarray) -> np.ndarray:
    """Which first boxes (I, 4), in fractions of their images, are nearly the median of all."""
    held = ~np.isnan(sides).any(1)
    if not held.any():
        return held
    usual = np.median(sides[held], 0)
    return np.nan_to_num(paired_iou(sides, np.broadcast_to(usual, sides.shape))) > SAME


def _histograms(data_set: DataSet, boxes: BoxTable) -> list[Figures]:
    held = boxes.with_boxes
    if not len(held):
        return []
    shapes = shape_numbers(boxes.first(1), data_set.frame_sizes)
    scores = first_of_each(boxes)[1][held]
    counts = boxes.counts[held]
    tenths, marks = np.linspace(0, 1, 21), (0, 0.25, 0.5, 0.75, 1)
    figures = [
        histogram("Score of the best box, images", scores, tenths, marks),
        histogram("Area of the best box / image, images", shapes["area / image"], tenths, marks),
    ]
    most = int(counts.max())
    if most > 1:
        edges = np.arange(0.5, most + 1)
        ticks = range(1, most + 1, max(1, most // 10))
        figures.append(histogram("Boxes per image, images", counts, edges, list(ticks)))
    return [Figures(figures)]


def _shapes(data_set: DataSet, boxes: BoxTable) -> Table:
    values = {"score": boxes.scored().scores, **shape_numbers(boxes, data_set.frame_sizes)}
    rows = []
    for name, column in values.items():
        if column is not None and len(column):
            marks = np.percentile(column, (5, 50, 95)).tolist()
            rows.append([name, f"{column.mean():.3f}", *(f"{mark:.3f}" for mark in marks)])
    return Table(["of all boxes", "mean", "5 %", "median", "95 %"], rows, "What the boxes are.")


def _agreement(agreed: Agreement) -> Table:
    rows = [
        [name, *(f"{value:.3f}" for value in row), f"{mean:.3f}"]
        for name, row, mean in zip(agreed.names, agreed.iou, agreed.with_others, strict=True)
    ]
    return Table(
        ["mean IoU with", *agreed.names, "beyond chance, with the others"],
        rows,
        "How far the methods' best boxes agree.",
        [f"Alone, {agreed.chosen} would be taken: {agreed.reason}."],
    )


def _cost(cost: Cost) -> Table:
    names = {
        "network": "the network",
        "method": "the method",
        "waiting": "waiting for images",
        "whole": "all of it",
    }
    each = cost.per_image()
    rows = [
        [words, f"{each[name]:.4f}", f"{each[name] * cost.images:.1f}"]
        for name, words in names.items()
    ]
    return Table(
        ["of", "seconds per image", "seconds"],
        rows,
        cost.in_words(),
        ["Seconds of the processes that did the work, added up."],
    )


def _settings(settings: Mapping[str, Any]) -> Table:
    rows = [[name, _text(value)] for name, value in settings.items()]
    return Table(["setting", "value"], rows, "As pseudo_boxes.json says in info.settings.")


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(each)}" for name, each in value.items())
    return str(value)
