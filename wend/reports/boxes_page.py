"""The page of ``wend boxes report``: a source's boxes, their numbers, shapes and images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wend.pseudo_boxes import AttachReport
from wend.reports.boxes_pictures import histogram_figure
from wend.reports.boxes_text import agreement_rows, exif_row, shape_rows, truth_rows
from wend.reports.gallery import Choice, Shown, nearest_iou
from wend.reports.page import Figures, Gallery, Page, Section, Table
from wend.reports.page_parts import figure
from wend.reports.roles import OTHER, PSEUDO, TRUTH
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet

MEANINGS = {
    "drawn by chance": "Images with a box, drawn by chance: neither the best nor the worst.",
    "smallest first box": "Those whose first box is the smallest share of the image.",
    "largest first box": "Those whose first box is the largest share of the image.",
    "boxes that reach out of their image": "Farthest first; boxes as they stand in the files.",
    "most boxes": "Images with the most boxes, of those with several.",
    "least overlap with the truth": "Lowest IoU of the first box with its nearest true box.",
}


def boxes_page(
    data_set: DataSet,
    sources: Sequence[tuple[str, BoxTable]],
    reports: Sequence[AttachReport],
    numbers: Mapping[str, Any],
    samples: Mapping[str, np.ndarray],
    wrong: Sequence[str] = (),
) -> Page:
    """The page of one source of boxes, or of two.

    Args:
        sources: names with their boxes of the data set's images, in original pixels as they stand
            in the files.
        reports: the reports of their joins.
        numbers: as :func:`wend.reports.boxes_numbers.describe` returns them.
        samples: title -> indices of images, as of :func:`.boxes_samples.choose_samples`.
        wrong: what is implausible, a sentence each.
    """
    names = [name for name, _ in sources]
    galleries = _galleries(data_set, sources, samples)
    sections = [
        Section("Numbers", [*_numbers(names, numbers)]),
        Section("Shapes", [*_shapes(numbers)]),
        Section("Counts", [_counts(report, numbers["exif"]) for report in reports]),
    ]
    missing = [f"probably wrong: {sentence}" for sentence in wrong]
    if galleries:
        sections.insert(1, Section("Images", galleries))
    else:
        missing.append("images: none of those that were looked for is there")
    roles = [(TRUTH, "truth"), *zip((PSEUDO, OTHER), names, strict=False)]
    return Page(
        f"Boxes of {data_set.name}",
        f"Asked: how good the boxes of {' and '.join(names)} are on {len(data_set)} images of "
        f"{data_set.name}.",
        _came(names[0], numbers),
        _how(numbers),
        sections,
        missing,
        roles if galleries else (),
    )


def _came(name: str, numbers: Mapping[str, Any]) -> str:
    covered = f"{name} has a box for {numbers['coverage']:.1f} % of the images"
    if not numbers["truth"]:
        return f"{covered}; no true box is known, so nothing here says how good they are."
    protocol, truth = next(iter(numbers["truth"].items()))
    right = truth["gt_known_loc"]
    others = numbers["baselines"].get(protocol, {})
    if not others:
        return f"{covered}; the first box is right in {right:.1f} % of {truth['images']} images."
    best = max(others, key=lambda title: others[title]["gt_known_loc"])
    value = others[best]["gt_known_loc"]
    kind = "more than" if right > value else "NOT more than"
    return (
        f"{covered}; the first box is right in {right:.1f} % of {truth['images']} images: {kind} "
        f"boxes that never look at the image ({best}, {value:.1f} %)."
    )


def _how(numbers: Mapping[str, Any]) -> str:
    if not numbers["truth"]:
        return ""
    return (
        f"Right: GT-known Loc, protocol {next(iter(numbers['truth']))}, of the images whose true "
        f"boxes are known; an image without a box is a miss."
    )


def _numbers(names: Sequence[str], numbers: Mapping[str, Any]) -> list[Table]:
    parts = []
    rows = truth_rows(names, numbers)
    if rows:
        header = ["boxes", "protocol", "images", "GT-known Loc (%)", "any box (%)", "mean IoU"]
        notes = ["whole image, centre box and fixed boxes never look at the image"]
        parts.append(Table(header, rows, "How often the boxes are right.", notes))
    if len(names) > 1:
        parts.append(Table(*agreement_rows(numbers["other"]), "How far both sources agree."))
    return parts


def _shapes(numbers: Mapping[str, Any]) -> list[Table | Figures]:
    table = Table(*shape_rows(numbers), "Shapes of all boxes.")
    figures = [
        figure(title, histogram_figure(title, values), f"Histogram of {title} of the boxes.")
        for title, values in numbers["histograms"].items()
    ]
    return [table, Figures(figures)]


def _counts(report: AttachReport, exif: Mapping[str, Any]) -> Table:
    rows = [list(row) for row in (*report.rows(), exif_row(exif))]
    return Table(["what was counted", "number", "the first"], rows, report.source)


def _galleries(
    data_set: DataSet,
    sources: Sequence[tuple[str, BoxTable]],
    samples: Mapping[str, np.ndarray],
) -> list[Gallery]:
    (_, first), *others = sources
    layers = [(OTHER, table.scored()) for _, table in others]
    shown = Shown(data_set.with_pseudo_boxes(first), layers)
    made = []
    for title, images in samples.items():
        words = {i: _word(data_set, first, i) for i in images.tolist()}
        choice = Choice(title.capitalize(), MEANINGS[title], images, words)
        made.append(shown.gallery(choice, len(images)))
    return [gallery for gallery in made if gallery is not None]


def _word(data_set: DataSet, boxes: BoxTable, index: int) -> str:
    """``500 x 375, 2 boxes, IoU 0.71``: of the first box with its nearest truth."""
    number = len(boxes[index])
    width, height = data_set.sizes[index].tolist()
    said = f"{width} x {height}, {number} box{'' if number == 1 else 'es'}"
    iou = nearest_iou(boxes[index], data_set.truth[index])
    return said if iou is None else f"{said}, IoU {iou:.2f}"
