"""An image file to a detector's input: the paper's crop (appendix A), or another view.

For every engine alike. Resize to ``resize``²; to train a random ``crop``² with a random horizontal
flip, to test what :class:`wend.structures.view.View` says.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from wend.errors import BadImageError, InputError
from wend.images.reading import check_size, fit, squash
from wend.loading.box_counts import BoxCounts
from wend.loading.decoders import PILLOW, read_square, require_decoder
from wend.loading.image_cache import ImageCache
from wend.structures.box_table import NO_BOXES
from wend.structures.frame import Frame, Part
from wend.structures.records import MAX_MEGAPIXELS
from wend.structures.view import View

FLIPS = ("horizontal", "vertical", "none")
MIN_SIDE = 1.0  # pixels of the crop; a box with a shorter side there is lost to it


@dataclass(frozen=True, eq=False)
class Sample:
    """One image as a detector sees it.

    Attributes:
        image: (side, side, 3) uint8, RGB; the crop's side, in testing the view's ``test_side``. Its
            colours lie in memory one after the other, so that ``image.transpose(2, 0, 1)``, as
            detectors take it, is contiguous without a copy.
        boxes: (P, 4) float32, xyxy in pixels of the crop, clipped to it (and off its padding).
        scores: (P,) float32 scores of the boxes in [0, 1]; 1 where they have none.
        frame: the map from original pixels to the crop.
        size: width and height of the image in original pixels.
        counts: what became of the boxes.
        problem: why the image could not be read and is black; empty where it could.
    """

    image: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    frame: Frame
    size: tuple[int, int]
    counts: BoxCounts
    problem: str = ""


class CropMapper:
    """Maps image files and their boxes to the crop.

    Args:
        resize: side in pixels of the square that images are squashed to (paper: 256).
        crop: side of the square cut out (paper: 224), at most ``resize``.
        train: random crop and flip, drawn from torch's generator (seeded in loader workers);
            otherwise what the view is tested on.
        flip: of the random ones every second is mirrored: "horizontal" (paper), "vertical" or
            "none", as Detectron2's INPUT.RANDOM_FLIP.
        caches: of images resized as the view does; an image in none of them is read from its file.
        black_if_bad: an image that cannot be read is black and says why, instead of an error.
        view: "crop" (the paper's), "squash" or "pad", see :class:`wend.structures.view.View`.
        fill: the colour (R, G, B) of padding, 0..255.
        mirror: in testing, every crop is mirrored left to right.
        max_megapixels: an image of more pixels (in millions) cannot be read.
        decoder: of the images that are trained on, see :mod:`wend.loading.decoders`; those that are
            tested on are read by Pillow.
        views: in training, fixed crops and flips of each image, one of which is drawn each time; 0
            for a new crop each time. They depend on the file's name alone; the first is the centre.

    Raises:
        ValueError: the crop does not fit, or there is no such view.
        InputError: a cache holds images that were resized otherwise, or the decoder is not here.
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
        view: str = "crop",
        fill: Sequence[int] = (0, 0, 0),
        mirror: bool = False,
        max_megapixels: float = MAX_MEGAPIXELS,
        decoder: str = PILLOW,
        views: int = 0,
    ) -> None:
        self.view = View(view, resize, crop)
        if flip not in FLIPS:
            raise InputError(
                f"config entry INPUT.RANDOM_FLIP: expected one of {', '.join(FLIPS)}, got {flip!r}"
            )
        self.flip = flip
        self.side = crop if train else self.view.test_side
        self.train = train
        self.decoder = decoder if train else PILLOW
        require_decoder(self.decoder)
        self.caches = caches
        for cache in caches:
            cache.check_view(resize, self.view.pads, self.decoder)
        self.black_if_bad = black_if_bad
        self.fill = np.array(fill, np.uint8)
        self.mirror = mirror
        self.max_megapixels = max_megapixels
        self.views = views

    def draw_frame(self, width: int, height: int, file_name: str = "") -> Frame:
        """A frame for an image of this size: random in training, central in testing.

        Args:
            file_name: which fixed views depend on.
        """
        if not self.train:
            return self.view.test_frame(width, height, flip=self.mirror)
        margin = self.view.resize - self.side
        if self.views:
            left, top, mirrored = self._fixed_view(margin, file_name)
        else:
            left, top = torch.randint(0, margin + 1, (2,)).tolist()
            mirrored = torch.rand(()).item() < 0.5 if self.flip != "none" else False
        mirrored = mirrored and self.flip != "none"
        return self.view.frame(
            width,
            height,
            self.side,
            left,
            top,
            flip=mirrored and self.flip == "horizontal",
            upside_down=mirrored and self.flip == "vertical",
        )

    def _fixed_view(self, margin: int, file_name: str) -> tuple[int | None, int | None, bool]:
        """Left, top (None: the centre), whether mirrored of one of the views, which is drawn."""
        number = int(torch.randint(0, self.views, ())) if self.views > 1 else 0
        if not number:
            return None, None, False
        name = f"{number} {os.path.basename(file_name)}".encode()
        left, top, mirrored = np.frombuffer(hashlib.blake2b(name, digest_size=24).digest(), "<u8")
        return int(left) % (margin + 1), int(top) % (margin + 1), bool(mirrored % 2)

    def _resized(self, file_name: str, width: int, height: int, exif: str) -> np.ndarray:
        """The image (resize, resize, 3) uint8, from a cache or its file; checks its size."""
        for cache in self.caches:
            cached = cache.resized(file_name) if cache.exif == exif else None
            if cached is not None:
                check_size(file_name, cached[1], (width, height), exif)
                return cached[0]
        side, size = self.view.resize, (width, height)
        how = (side, self.view.pads, self.decoder, exif, self.max_megapixels, size)
        return read_square(file_name, *how)[0]

    def _resize(self, image: Image.Image) -> np.ndarray:
        return (fit if self.view.pads else squash)(image, self.view.resize)

    def _shown(self, square: np.ndarray, frame: Frame, part: Part) -> np.ndarray:
        """The crop (side, side, 3) of the resized square that a frame shows, before any flip.

        Args:
            square: (resize, resize, 3); unchanged.
            part: where the image lies in it.
        """
        left, top = int(part.left - frame.offset_x), int(part.top - frame.offset_y)
        pixels = square[top : top + self.side, left : left + self.side]
        if not self.view.pads:
            return pixels
        rows = slice(max(part.top - top, 0), max(part.top - top + part.height, 0))
        columns = slice(max(part.left - left, 0), max(part.left - left + part.width, 0))
        padded = np.empty_like(pixels)
        padded[:] = self.fill
        padded[rows, columns] = pixels[rows, columns]
        return padded

    def __call__(
        self,
        file_name: str,
        width: int,
        height: int,
        boxes: np.ndarray,
        exif: str = "ignore",
        scores: np.ndarray | None = None,
    ) -> Sample:
        """Read and crop one image.

        Args:
            file_name: the image.
            width, height: its size as recorded.
            boxes: (P, 4) xyxy in original pixels.
            exif: the policy by which size and boxes were made, see
                :data:`wend.structures.records.EXIF`.
            scores: (P,) of the boxes, in [0, 1]; None: they have none.

        Raises:
            BadImageError: the image cannot be read, or is not of the recorded size.
        """
        problem = ""
        try:
            pixels = self._resized(file_name, width, height, exif)
        except BadImageError as error:
            if not self.black_if_bad:
                raise
            side = self.view.resize
            pixels, problem = np.zeros((side, side, 3), np.uint8), str(error)
        return self._cut(pixels, (width, height), boxes, scores, problem, file_name)

    def of_image(self, image: Image.Image, size: tuple[int, int] | None = None) -> Sample:
        """Crop an RGB image that was read already, without boxes.

        Args:
            size: its original width and height, where it was resized since.
        """
        return self._cut(self._resize(image), size or image.size, NO_BOXES)

    def _cut(
        self,
        pixels: np.ndarray,
        size: tuple[int, int],
        boxes: np.ndarray,
        scores: np.ndarray | None = None,
        problem: str = "",
        file_name: str = "",
    ) -> Sample:
        """The crop of an image resized to (resize, resize, 3), whose original size is ``size``."""
        width, height = (max(side, 1) for side in size)  # 0: its header was unreadable
        frame = self.draw_frame(width, height, file_name)
        pixels = self._shown(pixels, frame, self.view.part(width, height))
        if frame.upside_down:
            pixels = pixels[::-1]
        if frame.flip:
            pixels = pixels[:, ::-1]
        planes = np.array(pixels.transpose(2, 0, 1), order="C")  # the caller's own, the only copy
        in_frame = frame.to_frame(boxes)
        clipped = frame.clip(in_frame)
        kept = (clipped[:, 2:] - clipped[:, :2] >= MIN_SIDE).all(1)
        return Sample(
            image=planes.transpose(1, 2, 0),
            boxes=clipped[kept].astype(np.float32),
            scores=(np.ones(len(boxes)) if scores is None else scores)[kept].astype(np.float32),
            frame=frame,
            size=size,
            counts=BoxCounts.of_image(boxes, in_frame, ~kept),
            problem=problem,
        )
