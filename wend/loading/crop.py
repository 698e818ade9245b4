"""An image file to a detector's input: the paper's crop (appendix A), for every engine alike.

Resize to ``resize``² without keeping the aspect; to train a random ``crop``² with a random
horizontal flip, to test the centre ``crop``².
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from wend.errors import BadImageError, InputError
from wend.images.orientation import explain_size
from wend.images.reading import read_image, squash
from wend.loading.box_counts import BoxCounts
from wend.loading.image_cache import ImageCache
from wend.structures.box_table import NO_BOXES
from wend.structures.boxes import clip_boxes
from wend.structures.frame import Frame, resize_and_crop

FLIPS = ("horizontal", "vertical", "none")
MIN_SIDE = 1.0  # pixels of the crop; a box with a shorter side there is lost to it


@dataclass(frozen=True, eq=False)
class Sample:
    """One image as a detector sees it.

    Attributes:
        image: (crop, crop, 3) uint8, RGB.
        boxes: (P, 4) float32, xyxy in pixels of the crop, clipped to it.
        frame: the map from original pixels to the crop.
        size: width and height of the image in original pixels.
        counts: what became of the boxes.
        problem: why the image could not be read and is black; empty where it could.
    """

    image: np.ndarray
    boxes: np.ndarray
    frame: Frame
    size: tuple[int, int]
    counts: BoxCounts
    problem: str = ""


def _flipped(pixels: np.ndarray) -> np.ndarray:
    """A mirrored copy; by channels, since NumPy copies reversed triples five times slower."""
    mirrored = np.empty(pixels.shape, pixels.dtype)
    for channel in range(pixels.shape[2]):
        mirrored[:, :, channel] = pixels[:, ::-1, channel]
    return mirrored


def _check_size(
    file_name: str, size: tuple[int, int], recorded: tuple[int, int], exif: str
) -> None:
    if size != recorded:
        frame = "of the file as stored" if exif == "ignore" else "turned by EXIF"
        why = explain_size(file_name, recorded, exif)
        raise BadImageError(
            f"{file_name}: is {size[0]}x{size[1]}, expected {recorded[0]}x{recorded[1]} as "
            f"recorded (sizes are {frame}); "
            + (why or "was the file replaced or resized after the data set was made?")
        )


class CropMapper:
    """Maps image files and their boxes to the crop.

    Args:
        resize: side in pixels of the square that images are squashed to (paper: 256).
        crop: side of the square cut out (paper: 224), at most ``resize``.
        train: random crop and flip, drawn from torch's generator (seeded in loader workers);
            otherwise the centre crop.
        flip: of the random ones every second is mirrored: "horizontal" (paper), "vertical" or
            "none", as Detectron2's INPUT.RANDOM_FLIP.
        caches: of images squashed to ``resize``²; an image in none of them is read from its file.
        black_if_bad: an image that cannot be read is black and says why, instead of an error.
    """

    def __init__(
        self,
        resize: int = 256,
        crop: int = 224,
        *,
        train: bool,
        flip: str = "horizontal",
        caches: Sequence[ImageCache] = (),
        black_if_bad: bool = False,
    ) -> None:
        resize_and_crop(1, 1, resize, crop)  # checks the two
        if flip not in FLIPS:
            raise InputError(
                f"config entry INPUT.RANDOM_FLIP: expected one of {', '.join(FLIPS)}, got {flip!r}"
            )
        self.flip = flip
        self.resize = resize
        self.crop = crop
        self.train = train
        self.caches = caches
        self.black_if_bad = black_if_bad

    def draw_frame(self, width: int, height: int) -> Frame:
        """A frame for an image of this size: random in training, central in testing."""
        if not self.train:
            return resize_and_crop(width, height, self.resize, self.crop)
        left, top = torch.randint(0, self.resize - self.crop + 1, (2,)).tolist()
        mirrored = self.flip != "none" and bool(torch.rand(()) < 0.5)
        return resize_and_crop(
            width,
            height,
            self.resize,
            self.crop,
            left=left,
            top=top,
            flip=mirrored and self.flip == "horizontal",
            upside_down=mirrored and self.flip == "vertical",
        )

    def _squashed(self, file_name: str, width: int, height: int, exif: str) -> np.ndarray:
        """The image (resize, resize, 3) uint8, from a cache or its file; checks its size."""
        for cache in self.caches:
            cached = cache.squashed(file_name) if cache.exif == exif else None
            if cached is not None:
                _check_size(file_name, cached[1], (width, height), exif)
                return cached[0]
        image = read_image(file_name, exif)
        _check_size(file_name, image.size, (width, height), exif)
        return squash(image, self.resize)

    def __call__(
        self, file_name: str, width: int, height: int, boxes: np.ndarray, exif: str = "ignore"
    ) -> Sample:
        """Read and crop one image.

        Args:
            file_name: the image.
            width, height: its size as recorded.
            boxes: (P, 4) xyxy in original pixels.
            exif: the policy by which size and boxes were made, see
                :data:`wend.structures.records.EXIF`.

        Raises:
            BadImageError: the image cannot be read, or is not of the recorded size.
        """
        problem = ""
        try:
            pixels = self._squashed(file_name, width, height, exif)
        except BadImageError as error:
            if not self.black_if_bad:
                raise
            pixels, problem = np.zeros((self.resize, self.resize, 3), np.uint8), str(error)
        return self._cut(pixels, (width, height), boxes, problem)

    def of_image(self, image: Image.Image) -> Sample:
        """Crop an RGB image that was read already, without boxes."""
        return self._cut(squash(image, self.resize), image.size, NO_BOXES)

    def _cut(
        self, pixels: np.ndarray, size: tuple[int, int], boxes: np.ndarray, problem: str = ""
    ) -> Sample:
        """The crop of an image squashed to (resize, resize, 3), whose original size is ``size``."""
        frame = self.draw_frame(*(max(side, 1) for side in size))  # 0: its header was unreadable
        left, top = int(-frame.offset_x), int(-frame.offset_y)
        pixels = pixels[top : top + self.crop, left : left + self.crop]
        if frame.upside_down:
            pixels = pixels[::-1]
        in_frame = frame.to_frame(boxes)
        clipped = clip_boxes(in_frame, self.crop, self.crop)
        kept = (clipped[:, 2:] - clipped[:, :2] >= MIN_SIDE).all(1)
        return Sample(
            image=_flipped(pixels) if frame.flip else pixels.copy(),  # the caller's own
            boxes=clipped[kept].astype(np.float32),
            frame=frame,
            size=size,
            counts=BoxCounts.of_image(boxes, in_frame, ~kept),
            problem=problem,
        )
