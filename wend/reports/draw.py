"""Boxes on images, in the colours of the paper's figures 5 and 6, with OpenCV."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from wend.files import atomic_write
from wend.images.reading import read_image
from wend.structures.box_table import BoxTable
from wend.structures.records import ImageRecord

RED, BLUE, GREEN = (220, 30, 30), (40, 90, 255), (30, 200, 60)  # RGB: truth, pseudo boxes, ours
LEGEND = (("truth", RED), ("pseudo boxes", BLUE), ("ours (best box thick)", GREEN))


def draw_boxes(
    image: np.ndarray, boxes: np.ndarray, color: tuple[int, int, int], thickness: int = 2
) -> None:
    """Draw boxes (N, 4), xyxy in the image's pixels, into an RGB uint8 image (H, W, 3)."""
    for x0, y0, x1, y1 in np.round(boxes).astype(int).tolist():
        cv2.rectangle(image, (x0, y0), (x1, y1), color, thickness, cv2.LINE_AA)


def draw_record(
    record: ImageRecord,
    boxes: np.ndarray,
    scores: np.ndarray,
    *,
    side: int = 240,
    min_score: float = 0.5,
    max_boxes: int = 5,
) -> np.ndarray:
    """An image with its truth (red), pseudo boxes (blue) and detections (green).

    Args:
        boxes: detections (P, 4) in original pixels, best first; ``scores``: theirs (P,).
        side: longer side of the result in pixels.
        min_score: further boxes than the best are drawn, thinly, if they score at least this.
        max_boxes: and are among so many best.

    Returns:
        RGB uint8 (h, w, 3).
    """
    scale = side / max(record.width, record.height)
    size = (max(round(record.width * scale), 1), max(round(record.height * scale), 1))
    image = np.array(read_image(record.file_name).resize(size))
    draw_boxes(image, record.gt_boxes * scale, RED)
    draw_boxes(image, record.pseudo_boxes * scale, BLUE)
    others = boxes[1:max_boxes][scores[1:max_boxes] >= min_score]
    draw_boxes(image, others * scale, GREEN, thickness=1)
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
        records: of the data set; ``detections``: theirs, by the same index.
        legend: what each colour means.

    Returns:
        The files shown, row by row.
    """
    picks = np.linspace(0, len(records) - 1, min(num_images, len(records))).round().astype(int)
    columns = math.ceil(math.sqrt(len(picks)))
    rows = math.ceil(len(picks) / columns)
    head = 24
    sheet = np.full((rows * side + head, columns * side, 3), 255, dtype=np.uint8)
    for place, pick in enumerate(picks):
        boxes, scores = detections[pick], detections.scores_of(pick)
        image = draw_record(records[pick], boxes, scores, side=side, max_boxes=max_boxes)
        top, left = head + place // columns * side, place % columns * side
        sheet[top : top + image.shape[0], left : left + image.shape[1]] = image
    x = 6
    for text, color in legend:
        cv2.putText(sheet, text, (x, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, color, 1, cv2.LINE_AA)
        x += 12 + cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)[0][0]
    encoded = cv2.imencode(".png", sheet[:, :, ::-1])[1]  # OpenCV writes BGR
    with atomic_write(path, "wb") as file:
        file.write(encoded.tobytes())
    return [records[pick].key for pick in picks]
