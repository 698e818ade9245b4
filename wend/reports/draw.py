"""Boxes on images, in the colours of the paper's figures 5 and 6."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from wend.files import atomic_write
from wend.images.reading import read_image
from wend.structures.box_table import BoxTable
from wend.structures.records import ImageRecord

RED, BLUE, GREEN = (220, 30, 30), (40, 90, 255), (30, 200, 60)  # RGB: truth, pseudo boxes, ours
LEGEND = (("truth", RED), ("pseudo boxes", BLUE), ("ours (best box thick)", GREEN))


def draw_boxes(
    image: Image.Image, boxes: np.ndarray, color: tuple[int, int, int], width: int = 3
) -> None:
    """Draw boxes (N, 4), xyxy in the image's pixels, into an RGB image.

    Args:
        width: width of the lines in pixels, odd; a box's sides are in their middles.
    """
    draw, half = ImageDraw.Draw(image), width // 2
    outside = (image.width + width, image.height + width) * 2
    for x0, y0, x1, y1 in np.round(boxes).clip(-width, outside).astype(int).tolist():
        draw.rectangle((x0 - half, y0 - half, x1 + half, y1 + half), outline=color, width=width)


def draw_outlined(
    image: Image.Image, boxes: np.ndarray, color: tuple[int, int, int], *, dashed: bool = False
) -> None:
    """Draw boxes (N, 4) into an RGB image, edged in black so that they stand out anywhere.

    Args:
        dashed: with strokes and gaps, so that boxes differ in more than colour.
    """
    draw = ImageDraw.Draw(image)
    for x0, y0, x1, y1 in boxes.round().clip(-9, 9 + max(image.size)).astype(int).tolist():
        corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]
        for width, ink in ((5, (0, 0, 0)), (3, color)):
            for start, end in pairwise(corners):
                for stroke in _strokes(start, end) if dashed else [(start, end)]:
                    draw.line(stroke, fill=ink, width=width)


def _strokes(
    start: tuple[int, int], end: tuple[int, int], length: int = 8, gap: int = 5
) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Strokes from start to end, along an axis."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    total = abs(dx) + abs(dy)
    step = (int(np.sign(dx)), int(np.sign(dy)))
    ends = [(at, min(at + length, total)) for at in range(0, total + 1, length + gap)]
    return [
        tuple((start[0] + step[0] * at, start[1] + step[1] * at) for at in pair)  # type: ignore[misc]
        for pair in ends
    ]


def draw_detections(image: Image.Image, boxes: np.ndarray, scores: np.ndarray) -> None:
    """Draw detections (N, 4), best first, with their scores (N,) into an RGB image of any size.

    The best box is drawn last and twice as thick.
    """
    unit = max(1, round(max(image.size) / 400))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(max(10, 6 * unit + 6))
    for row in reversed(range(len(boxes))):
        draw_boxes(image, boxes[row : row + 1], GREEN, width=unit * (3 if row == 0 else 1))
        text = f"{scores[row]:.2f}"
        x, y = boxes[row, :2].clip(0, np.maximum(np.array(image.size) - 8 * unit, 0))
        area = draw.textbbox((x + 2 * unit, y + 2 * unit), text, font)
        draw.rectangle((area[0] - 1, area[1] - 1, area[2] + 1, area[3] + 1), fill=(0, 0, 0))
        draw.text((x + 2 * unit, y + 2 * unit), text, GREEN, font)


def draw_record(
    record: ImageRecord,
    boxes: np.ndarray,
    scores: np.ndarray,
    *,
    side: int = 240,
    min_score: float = 0.5,
    max_boxes: int = 5,
) -> Image.Image:
    """An image with its truth (red), pseudo boxes (blue) and detections (green).

    Args:
        boxes: detections (P, 4) in original pixels, best first.
        scores: their scores (P,).
        side: longer side of the result in pixels.
        min_score: further boxes than the best are drawn, thinly, if they score at least this.
        max_boxes: and are among so many best boxes.

    Returns:
        An RGB image.
    """
    scale = side / max(record.width, record.height)
    size = (max(round(record.width * scale), 1), max(round(record.height * scale), 1))
    image = read_image(record.file_name, record.exif).resize(size)
    draw_boxes(image, record.gt_boxes * scale, RED)
    draw_boxes(image, record.pseudo_boxes * scale, BLUE)
    others = boxes[1:max_boxes][scores[1:max_boxes] >= min_score]
    draw_boxes(image, others * scale, GREEN, width=1)
    draw_boxes(image, boxes[:1] * scale, GREEN)
    return image


def draw_sheet(
    path: str | Path,
    records: Sequence[ImageRecord],
    detections: BoxTable,
    *,
    num_images: int = 16,
    side: int = 240,
    max_boxes: int = 5,
    legend: Sequence[tuple[str, tuple[int, int, int]]] = LEGEND,
) -> list[str]:
    """Write one PNG with images spread evenly over the data set, and a legend.

    Args:
        records: images of the data set.
        detections: their detections, by the same index.
        legend: the meaning of each colour.

    Returns:
        The files shown, row by row.
    """
    picks = np.linspace(0, len(records) - 1, min(num_images, len(records))).round().astype(int)
    columns = math.ceil(math.sqrt(len(picks)))
    rows = math.ceil(len(picks) / columns)
    head = 24
    sheet = Image.new("RGB", (columns * side, rows * side + head), "white")
    for tile, pick in enumerate(picks):
        boxes, scores = detections[pick], detections.scores_of(pick)
        image = draw_record(records[pick], boxes, scores, side=side, max_boxes=max_boxes)
        sheet.paste(image, (tile % columns * side, head + tile // columns * side))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    x = 6.0
    for text, color in legend:
        draw.text((x, head / 2), text, color, font, anchor="lm")
        x += 12 + draw.textlength(text, font)
    with atomic_write(path, "wb") as file:
        sheet.save(file, format="PNG")
    return [records[pick].key for pick in picks]
