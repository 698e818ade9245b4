"""The frames of a batch as arrays: boxes of many images back to original pixels at once.

Shape letters: N = images, B = boxes of all images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wend.structures.frame import Frame

_NO_BORDER = (np.inf, np.inf)


@dataclass(frozen=True, eq=False)
class Frames:
    """The fields of N :class:`Frame`, one row for each.

    Attributes:
        sides, scale, offset: (N, 2) float64, width and height, x and y.
        mirrored: (N, 2) bool, left to right and top to bottom.
        image: (N, 2) float64 width and height of the image where there may be padding around it,
            else infinite.
    """

    sides: np.ndarray
    scale: np.ndarray
    offset: np.ndarray
    mirrored: np.ndarray
    image: np.ndarray

    @classmethod
    def of(cls, frames: Sequence[Frame | None]) -> Frames:
        """Of frames; None: boxes are in original pixels already."""
        rows = [_IDENTITY if frame is None else _row(frame) for frame in frames]
        table = np.array(rows, dtype=np.float64).reshape(-1, 5, 2)
        sides, scale, offset, mirrored, image = table.transpose(1, 0, 2)
        return cls(sides, scale, offset, mirrored.astype(bool), image)

    def __len__(self) -> int:
        return len(self.scale)

    @property
    def pads(self) -> np.ndarray:
        """Whether there may be padding around each image (N,)."""
        return np.isfinite(self.image[:, 0])

    def to_frame(self, boxes: np.ndarray) -> np.ndarray:
        """A box of each image in original pixels to frame pixels: :meth:`Frame.to_frame`'s bits.

        Args:
            boxes: (N, 4) xyxy.
        """
        low, high = boxes[:, :2] * self.scale, boxes[:, 2:] * self.scale
        low, high = low + self.offset, high + self.offset
        corners = (
            np.where(self.mirrored, self.sides - high, low),
            np.where(self.mirrored, self.sides - low, high),
        )
        return np.concatenate(corners, axis=1)

    def to_original(self, boxes: np.ndarray, owner: np.ndarray) -> np.ndarray:
        """Boxes in frame pixels to original pixels: of each box :meth:`Frame.to_original`'s bits.

        Args:
            boxes: (B, 4) xyxy.
            owner: (B,) index of each box's image.

        Returns:
            (B, 4) float64.
        """
        low, high = boxes[:, :2].astype(np.float64), boxes[:, 2:].astype(np.float64)
        mirrored, sides = self.mirrored[owner], self.sides[owner]
        corners = np.where(mirrored, sides - high, low), np.where(mirrored, sides - low, high)
        offset, scale, image = self.offset[owner], self.scale[owner], self.image[owner]
        padded = self.pads[owner][:, None]
        original = [(corner - offset) / scale for corner in corners]
        cut = [np.where(padded, corner.clip(0, image), corner) for corner in original]
        return np.concatenate(cut, axis=1)


_IDENTITY = (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, False, False, *_NO_BORDER)


def _row(frame: Frame) -> tuple[float, ...]:
    image = _NO_BORDER if frame.image is None else frame.image
    return (
        *(frame.width, frame.height, frame.scale_x, frame.scale_y, frame.offset_x, frame.offset_y),
        *(frame.flip, frame.upside_down, *image),
    )
