"""Boxes on images as pictures: each kind of box in the colour and the strokes of its role."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from wend.files import atomic_write
from wend.images.reading import read_image
from wend.reports.likely_boxes import (
    LIKELY,
    MOST_SHOWN,
    distinct_boxes,
    likely_score,
    number_shown,
)
from wend.reports.roles import OURS, PSEUDO, TRUTH, Role
from wend.structures.box_table import BoxTable
from wend.structures.records import ImageRecord

LEGEND = tuple((role, role.title) for role in (TRUTH, PSEUDO, OURS))
SWATCH = (30, 14)  # width and height in pixels of the box beside a role's name in a legend
FONT_SIZE = 13
LOOKED_AT = 50  # images for each that is drawn, among which are some with several objects


def draw_boxes(image: Image.Image, boxes: np.ndarray, role: Role, width: int = 3) -> None:
    """Draw boxes (N, 4), xyxy in the image's pixels, into an RGB image.

    Args:
        width: width of the lines in pixels, odd; a box's sides are in their middles. Its edge is a
            pixel more on either side.
    """
    draw = ImageDraw.Draw(image)
    outside = (image.width + width + 2, image.height + width + 2) * 2
    for x0, y0, x1, y1 in np.round(boxes).clip(-width - 2, outside).astype(int).tolist():
        across, down = (_pieces(role, length, width) for length in (x1 - x0, y1 - y0))
        pieces = [(x0 + a, y, x0 + b, y) for y in (y0, y1) for a, b in across]
        pieces += [(x, y0 + a, x, y0 + b) for x in (x0, x1) for a, b in down]
        for ink, half in ((role.edge, width // 2 + 1), (role.color, width // 2)):
            for left, top, right, bottom in np.round(pieces).astype(int).tolist():
                corners = (left - half, top - half, right + half, bottom + half)
                draw.rectangle(corners, fill=ink)


def _pieces(role: Role, length: float, width: int) -> list[tuple[float, float]]:
    """Starts and ends of a side's strokes, from which half the line's width leads on and back."""
    half = width // 2
    return [
        (start + half * (start > 0), max(end - half * (end < length), start + half))
        for start, end in role.pieces(length, width)
    ]


def draw_detections(image: Image.Image, boxes: np.ndarray, scores: np.ndarray) -> None:
    """Draw detections (N, 4), best first, with their scores (N,) into an RGB image of any size.

    The best box is drawn last, in thicker lines.
    """
    draw, unit = ImageDraw.Draw(image), max(1, round(max(image.size) / 500))
    font = ImageFont.load_default(8 + 4 * unit)
    corners = np.array(image.size) - (24 * unit, 12 * unit)
    for row in reversed(range(len(boxes))):
        draw_boxes(image, boxes[row : row + 1], OURS, width=2 * unit + 1 if row == 0 else unit)
        corner = tuple(boxes[row, :2].clip(0, corners.clip(0)) + 2 * unit)
        text = f"{scores[row]:.2f}"
        left, top, right, bottom = draw.textbbox(corner, text, font)
        draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), fill=OURS.edge)
        draw.text(corner, text, OURS.color, font)


def draw_legend(
    image: Image.Image, roles: Sequence[tuple[Role, str]], left: float, middle: int
) -> float:
    """Draw a small box in each role's colour and strokes, and its name, in a row.

    Args:
        roles: with their names.
        left, middle: where the row begins, and the height of its middle, in pixels.

    Returns:
        Where the row ends.
    """
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(FONT_SIZE)
    width, height = SWATCH
    for role, name in roles:
        top = middle - height // 2
        draw_boxes(image, np.array([[left, top, left + width, top + height]]), role)
        left += width + 8
        draw.text((left, middle), name, "black", font, anchor="lm")
        left += 18 + draw.textlength(name, font)
    return left


def legend_width(roles: Sequence[tuple[Role, str]]) -> int:
    """Width in pixels of a legend's row."""
    return math.ceil(draw_legend(Image.new("RGB", (1, 1)), roles, 0, 0))


def scaled_image(record: ImageRecord, side: int) -> tuple[Image.Image, float]:
    """An image whose longer side is ``side`` pixels, and its scale.

    Raises:
        BadImageError: it is not there, or cannot be read.
    """
    scale = side / max(record.width, record.height, 1)
    size = (max(round(record.width * scale), 1), max(round(record.height * scale), 1))
    image = read_image(record.file_name, record.exif, record.max_megapixels)
    return image.resize(size), scale


def draw_record(
    record: ImageRecord,
    boxes: np.ndarray,
    scores: np.ndarray,
    *,
    side: int = 240,
    min_score: float = LIKELY,
    max_boxes: int = MOST_SHOWN,
    role: Role = OURS,
) -> Image.Image:
    """An image with its truth, pseudo boxes and detections.

    Args:
        boxes: detections (P, 4) in original pixels, best first.
        scores: their scores (P,).
        side: longer side of the result in pixels.
        min_score: further boxes than the best are drawn, thinly, if they score at least this.
        max_boxes: and are among so many best boxes.
        role: of the detections.

    Returns:
        An RGB image.
    """
    image, scale = scaled_image(record, side)
    draw_boxes(image, record.gt_boxes * scale, TRUTH)
    draw_boxes(image, record.pseudo_boxes * scale, PSEUDO)
    others = boxes[1 : number_shown(scores, min_score, max_boxes)]
    draw_boxes(image, others * scale, role, width=1)
    draw_boxes(image, boxes[:1] * scale, role)
    return image


def spread(indices: np.ndarray, number: int) -> np.ndarray:
    """So many of some indices (n,), evenly spread; all of them where there are no more."""
    rows = np.linspace(0, len(indices) - 1, min(number, len(indices))).round().astype(int)
    return indices[rows]


def _choose_images(
    records: Sequence[ImageRecord], looked_at: np.ndarray, number: int
) -> np.ndarray:
    """Indices of images to draw, sorted; half of them with several true boxes, if they can be."""
    counts = np.array([len(records[i].gt_boxes) for i in looked_at.tolist()], dtype=np.int64)
    several = spread(looked_at[counts > 1], number // 2)
    others = looked_at[counts <= 1]
    if len(others) < number - len(several):
        others = np.setdiff1d(looked_at, several)
    return np.sort(np.concatenate([several, spread(others, number - len(several))]))


def draw_sheet(
    path: str | Path,
    records: Sequence[ImageRecord],
    detections: BoxTable,
    *,
    num_images: int = 16,
    side: int = 240,
    max_boxes: int = MOST_SHOWN,
    legend: Sequence[tuple[Role, str]] = LEGEND,
) -> list[str]:
    """Write one PNG with images spread over the data set, and a legend.

    Half of the images have several true boxes, where there are so many. Of an image's detections
    the best is drawn, and the distinct ones that score as likely objects do
    (:mod:`wend.reports.likely_boxes`).

    Args:
        records: images of the data set.
        detections: their detections, by the same index.
        legend: the roles of truth, pseudo boxes and, if there are any, detections, and their names.

    Returns:
        The files shown, row by row.
    """
    looked_at = spread(np.arange(len(records)), LOOKED_AT * num_images)
    picks = _choose_images(records, looked_at, num_images)
    min_score = likely_score(distinct_boxes(detections.take(looked_at).first(max_boxes)))
    shown = distinct_boxes(detections.take(picks))
    columns = math.ceil(math.sqrt(len(picks)))
    rows = math.ceil(len(picks) / columns)
    head = 24
    width = max(columns * side, 6 + legend_width(legend))
    sheet = Image.new("RGB", (width, rows * side + head), "white")
    for tile, pick in enumerate(picks):
        image = draw_record(
            *(records[pick], shown[tile], shown.scores_of(tile)),
            side=side,
            min_score=min_score,
            max_boxes=max_boxes,
            role=legend[-1][0],
        )
        sheet.paste(image, (tile % columns * side, head + tile // columns * side))
    draw_legend(sheet, legend, 8, head // 2)
    with atomic_write(path, "wb") as file:
        sheet.save(file, format="PNG")
    return [records[pick].key for pick in picks]
