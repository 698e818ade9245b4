"""The boxes that a detector predicts on an image, and what they can be turned into."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from wend.errors import InputError
from wend.formats.coco import CATEGORY_ID, CATEGORY_NAME
from wend.inference.inputs import ImageInput, is_path, read_rgb
from wend.structures.boxes import xyxy_to_xywh
from wend.structures.records import MAX_MEGAPIXELS

if TYPE_CHECKING:
    import supervision


@dataclass(frozen=True, eq=False, repr=False)
class Detections:
    """Boxes of one image, best first.

    ``detections[0]``, ``detections[:5]``, ``detections[detections.scores > 0.5]`` are detections
    again; so is what iterating over them yields, one box each.

    Attributes:
        xyxy: (N, 4) float64 ``x0, y0, x1, y1`` in pixels of the image.
        scores: (N,) float64, higher is better.
        image: the image as it was given, a path or pixels.
        size: width and height of the image in pixels.
        index: its position among the images that were predicted on, from 0.
        exif: how its file was read (:data:`wend.structures.records.EXIF`).
        max_megapixels: up to how many pixels, in millions, its file is read.
    """

    xyxy: np.ndarray
    scores: np.ndarray
    image: ImageInput
    size: tuple[int, int]
    index: int = 0
    exif: str = "ignore"
    max_megapixels: float = MAX_MEGAPIXELS

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        best = f", best {self.scores[0]:.3f}" if len(self) else ""
        name = f", {os.fspath(self.image)}" if is_path(self.image) else ""
        return f"<wend.Detections: {len(self)} boxes{best}{name}, {self.size[0]}x{self.size[1]}>"

    def __getitem__(self, rows: int | slice | np.ndarray | list) -> Detections:
        if isinstance(rows, int | np.integer):
            if not -len(self) <= rows < len(self):
                raise IndexError(f"box {rows} of {len(self)}")
            rows = [int(rows)]
        return replace(self, xyxy=self.xyxy[rows], scores=self.scores[rows])

    def __iter__(self) -> Iterator[Detections]:
        return (self[row] for row in range(len(self)))

    def above(self, min_score: float) -> Detections:
        """The boxes that score at least ``min_score``."""
        return self[self.scores >= min_score]

    def to_supervision(self) -> supervision.Detections:
        """The boxes as ``supervision.Detections``, of class 0.

        Raises:
            InputError: supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise InputError(
                f"to_supervision needs the package supervision ({error}): pip install supervision"
            ) from error
        return supervision.Detections(
            xyxy=self.xyxy.copy(),
            confidence=self.scores.copy(),
            class_id=np.zeros(len(self), dtype=int),
            data={"class_name": np.full(len(self), CATEGORY_NAME)},
        )

    def to_coco(self, image_id: int | str | None = None) -> list[dict[str, Any]]:
        """The boxes as rows of COCO results: ``image_id, category_id, bbox`` (xywh), ``score``.

        Args:
            image_id: by default the name of the image's file, or the position of pixels.
        """
        if image_id is None:
            image_id = Path(self.image).name if is_path(self.image) else self.index
        boxes = xyxy_to_xywh(self.xyxy).tolist()
        return [
            {"image_id": image_id, "category_id": CATEGORY_ID, "bbox": box, "score": score}
            for box, score in zip(boxes, self.scores.tolist(), strict=True)
        ]

    def plot(self, min_score: float = 0.0, max_boxes: int | None = None) -> Image.Image:
        """The image with its boxes, as an RGB image of Pillow's; the best box is thickest.

        Args:
            min_score, max_boxes: only boxes that score so much, at most so many.
        """
        from wend.reports.draw import draw_detections

        shown = self.above(min_score)[:max_boxes]
        image = read_rgb(self.image, self.exif, self.max_megapixels).copy()
        draw_detections(image, shown.xyxy, shown.scores)
        return image
