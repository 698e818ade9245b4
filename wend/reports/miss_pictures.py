"""The worst misses, by how they miss: sheets of images with their truth and their best box."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from wend.evaluation.analysis_report import ERROR_MEANINGS, miss_types
from wend.evaluation.per_image import PerImage, box_scores
from wend.files import atomic_write
from wend.reports.draw import draw_boxes, draw_legend, scaled_image
from wend.reports.roles import OURS, TRUTH
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

MISSES_FILE = "misses_{}.png"  # by kind
LEGEND = ((TRUTH, TRUTH.title), (OURS, "best box"))
SIDE, TEXT_HEIGHT, GAP = 240, 34, 8  # pixels of a tile's picture, of the words below it, around it
FONT_SIZE, MOST_COLUMNS = 12, 6


def worst_misses(
    per_image: PerImage, number: int, there: np.ndarray
) -> dict[str, tuple[np.ndarray, int]]:
    """Of each kind, indices (n,) in the data set of the worst misses, and how many there are.

    Worst is the lowest IoU of the best box; of equal ones, the higher score.

    Args:
        number: the most indices of a kind.
        there: (number of images,) which may be chosen.
    """
    types, _ = miss_types(per_image)
    scores = np.zeros(len(per_image))
    table = per_image.ranked.take(per_image.images)
    scores[table.with_boxes] = box_scores(table)[table.offsets[table.with_boxes]]
    order = np.lexsort((-scores, per_image.top_iou))
    chosen = {}
    for kind in ERROR_MEANINGS:
        images = per_image.images[order[types[order] == kind]]
        if there[images].any():
            chosen[kind] = (images[there[images]][:number], len(images))
    return chosen


def draw_misses(
    folder: str | Path, per_image: PerImage, number: int, located: DataSet, there: np.ndarray
) -> list[Path]:
    """Write ``misses_<kind>.png`` of the worst misses of each kind that occurs.

    Args:
        number: images of each kind.
        located: the data set with the paths of its image files.
        there: (number of images,) whose files are there.

    Returns:
        The files.
    """
    written = []
    _, threshold = miss_types(per_image)
    for kind, (images, total) in worst_misses(per_image, number, there).items():
        title = f"{kind}: {total} misses at IoU {threshold:g} under {per_image.protocol.name}"
        meaning = ("" if kind == "none" else "the best box: ") + ERROR_MEANINGS[kind]
        meaning += f"; {len(images)} shown, lowest IoU in the protocol's frame first"
        written.append(Path(folder) / MISSES_FILE.format(kind))
        tiles = [_tile(per_image, located[i], i) for i in images.tolist()]
        _write_sheet(written[-1], title, meaning, tiles)
    return written


def _tile(per_image: PerImage, record: ImageRecord, index: int) -> Image.Image:
    """An image with its boxes, and below it the IoU, the score and the image's name."""
    picture, scale = scaled_image(record, SIDE)
    boxes = per_image.ranked[index]
    draw_boxes(picture, record.gt_boxes * scale, TRUTH)
    draw_boxes(picture, boxes[:1] * scale, OURS)
    tile = Image.new("RGB", (SIDE + 2 * GAP, SIDE + TEXT_HEIGHT + 2 * GAP), "white")
    tile.paste(picture, ((tile.width - picture.width) // 2, GAP + SIDE - picture.height))
    draw, font = ImageDraw.Draw(tile), ImageFont.load_default(FONT_SIZE)
    words = "no box"
    if len(boxes):
        row = int(np.searchsorted(per_image.images, index))
        score = per_image.ranked.scores_of(index)[0]
        words = f"IoU {per_image.top_iou[row]:.2f}, score {score:.3g}"

    def fits(text: str) -> bool:
        return draw.textlength(text, font) <= SIDE

    for line, text in enumerate((words, record.key)):
        top = GAP + SIDE + 3 + line * TEXT_HEIGHT // 2
        draw.text((GAP, top), _shortened(text, fits), "black", font)
    return tile


def _shortened(text: str, fits: Callable[[str], bool]) -> str:
    """The end of a text that is too wide."""
    if fits(text):
        return text
    while len(text) > 1 and not fits(f"...{text}"):
        text = text[1:]
    return f"...{text}"


def _write_sheet(path: Path, title: str, meaning: str, tiles: Sequence[Image.Image]) -> None:
    columns = min(max(3, math.ceil(math.sqrt(len(tiles) * 1.5))), MOST_COLUMNS)
    rows = math.ceil(len(tiles) / columns)
    width, height = tiles[0].size
    head = 68
    sheet = Image.new(
        "RGB", (min(columns, max(len(tiles), 3)) * width, rows * height + head), "white"
    )
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(15), ImageFont.load_default(FONT_SIZE)
    draw.text((GAP, 6), title, "black", large)
    draw.text((GAP, 27), meaning, "black", small)
    draw_legend(sheet, LEGEND, GAP + 2, 56)
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (number % columns * width, head + number // columns * height))
    with atomic_write(path, "wb") as file:
        sheet.save(file, format="PNG")
