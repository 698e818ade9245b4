"""The map from an image's original pixels to a frame (a crop, a squash), and back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from wend.errors import InputError
from wend.structures.boxes import Array, array_namespace, clip_boxes


@dataclass(frozen=True)
class Frame:
    """The axis-aligned map from an image's original pixels to a frame, and back.

    ``x' = scale_x · x + offset_x`` (likewise y), then ``x' -> width - x'`` if flipped left to
    right, ``y' -> height - y'`` if upside down. The fields are numbers, or arrays (N,) that map
    each of N boxes with its own image's scale.

    Attributes:
        width, height: the frame's size in its own pixels.
        scale_x, scale_y: frame pixels for each original pixel, > 0.
        offset_x, offset_y: frame position of the original's top left corner, before a flip.
        flip: mirrored left to right.
        upside_down: mirrored top to bottom.
        image: the image's width and height, where there may be padding around it
            (:func:`fit_and_crop`): boxes are then cut at the image's border, too.
    """

    width: float
    height: float
    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float
    flip: bool = False
    upside_down: bool = False
    image: tuple[float, float] | None = None

    def to_frame(self, boxes: Array) -> Array:
        """Boxes (N, 4) in original pixels to frame pixels, not clipped."""
        x0 = boxes[..., 0] * self.scale_x + self.offset_x
        x1 = boxes[..., 2] * self.scale_x + self.offset_x
        y0 = boxes[..., 1] * self.scale_y + self.offset_y
        y1 = boxes[..., 3] * self.scale_y + self.offset_y
        if self.flip:
            x0, x1 = self.width - x1, self.width - x0
        if self.upside_down:
            y0, y1 = self.height - y1, self.height - y0
        return array_namespace(boxes).stack([x0, y0, x1, y1], -1)

    def clip(self, boxes: Array) -> Array:
        """Boxes (N, 4) in frame pixels, cut at the frame's border and at the image's in it."""
        if self.image is None:
            return clip_boxes(boxes, self.width, self.height)
        x0, y0, x1, y1 = self._window()
        cut = [boxes[..., i].clip(*((x0, x1), (y0, y1))[i % 2]) for i in range(4)]
        return array_namespace(boxes).stack(cut, -1)

    def _window(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 of the image's part of a padded frame; whole pixels."""
        assert self.image is not None
        corners = self.to_frame(np.array([0.0, 0.0, *self.image]))
        x0, y0, x1, y1 = clip_boxes(np.round(corners), self.width, self.height).tolist()
        return x0, y0, x1, y1

    def to_original(self, boxes: Array) -> Array:
        """Boxes (N, 4) in frame pixels to original pixels: the inverse of :meth:`to_frame`.

        Of a padded frame they are cut at the image's border; a box in the padding gets no area.
        """
        x0, y0, x1, y1 = (boxes[..., i] for i in range(4))
        if self.flip:
            x0, x1 = self.width - x1, self.width - x0
        if self.upside_down:
            y0, y1 = self.height - y1, self.height - y0
        xs = [(x - self.offset_x) / self.scale_x for x in (x0, x1)]
        ys = [(y - self.offset_y) / self.scale_y for y in (y0, y1)]
        original = array_namespace(boxes).stack([xs[0], ys[0], xs[1], ys[1]], -1)
        return original if self.image is None else clip_boxes(original, *self.image)


def resize_and_crop(
    width: float,
    height: float,
    resize: int = 256,
    crop: int = 224,
    *,
    left: int | None = None,
    top: int | None = None,
    flip: bool = False,
    upside_down: bool = False,
) -> Frame:
    """The paper's frame (appendix A): squash to ``resize``², then cut ``crop``² out.

    Args:
        width, height: the image's size in original pixels (numbers, or arrays (N,)).
        resize: side of the square that the image is squashed to; its aspect is not kept.
        crop: side of the square cut out of it, at most ``resize``.
        left, top: the crop's corner in the resized image, 0..resize-crop; the centre by default,
            rounded as torchvision's ``CenterCrop`` does.
        flip, upside_down: mirrored after the crop, left to right or top to bottom.

    Raises:
        ValueError: the crop does not lie inside the resized image.
    """
    left, top = _corner(resize, crop, left, top)
    return Frame(crop, crop, resize / width, resize / height, -left, -top, flip, upside_down)


def _corner(resize: int, crop: int, left: int | None, top: int | None) -> tuple[int, int]:
    """The crop's corner, the centre's where none is given; ValueError where it does not fit."""
    centre = round((resize - crop) / 2)
    left = centre if left is None else left
    top = centre if top is None else top
    if not 0 < crop <= resize:
        raise ValueError(f"expected 0 < crop <= resize, got crop {crop} and resize {resize}")
    if not (0 <= left <= resize - crop and 0 <= top <= resize - crop):
        raise ValueError(
            f"a crop of {crop}x{crop} at ({left}, {top}) does not lie inside the resized image of "
            f"{resize}x{resize}; expected corners in 0..{resize - crop}"
        )
    return left, top


class Part(NamedTuple):
    """Where an image lies in the square that it was resized to, in whole pixels of the square."""

    left: int
    top: int
    width: int
    height: int


def fitted_part(width: int, height: int, side: int) -> Part:
    """An image scaled to fit a square, its aspect kept, in the square's middle.

    The longer side fills the square; the shorter is rounded to whole pixels, at least one. Of an
    odd number of pixels around it, the one more is behind it.

    Args:
        width, height: of the image, at least 1.
        side: of the square.
    """
    longer = max(width, height)
    inner = [max(1, round(length * side / longer)) for length in (width, height)]
    return Part(*((side - length) // 2 for length in inner), *inner)


def fit_and_crop(
    width: int,
    height: int,
    resize: int = 256,
    crop: int = 224,
    *,
    left: int | None = None,
    top: int | None = None,
    flip: bool = False,
    upside_down: bool = False,
) -> Frame:
    """Fit the image into ``resize``² and pad it (:func:`fitted_part`), then cut ``crop``² out.

    Args, Raises:
        see :func:`resize_and_crop`; width and height are numbers.
    """
    left, top = _corner(resize, crop, left, top)
    part = fitted_part(width, height, resize)
    return Frame(
        crop,
        crop,
        part.width / width,
        part.height / height,
        part.left - left,
        part.top - top,
        flip,
        upside_down,
        (width, height),
    )


class BoxFrame(NamedTuple):
    """A frame that has the same size for every image: squash to ``resize``², centre ``crop``².

    Fractions of the image are the squash to 1². Original pixels, which are no such frame, are
    None where one may be named.

    A frame says where coordinates are measured and nothing about what x1 is: the peers hand the
    corners ``x, y, x + w, y + h`` of a whole-number box to IoUs with and without "+1" alike, so
    that a coordinate is scaled as it stands, and "+1" is the protocol's business.
    """

    resize: int
    crop: int

    @property
    def name(self) -> str:
        """The name that :func:`parse_box_frame` reads."""
        for name, frame in _NAMED.items():
            if frame == self:
                return name
        if self.crop == self.resize:
            return f"squash{self.resize}"
        return f"crop{self.crop}-of-{self.resize}"

    @property
    def offset(self) -> int:
        """Pixels of the resized image left of the crop and above it."""
        return round((self.resize - self.crop) / 2)

    def to_original(self, boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Boxes (N, 4) in this frame to original pixels of images of sizes (N, 2).

        Multiplied before it is divided, so that the border of the frame is that of the image.
        """
        return (boxes + self.offset) * np.tile(sizes, 2) / self.resize


ORIGINAL = "original"
_NAMED = {
    "fractions": BoxFrame(1, 1),
    "squash224": BoxFrame(224, 224),
    "crop224": BoxFrame(256, 224),
}
BOX_FRAMES = (ORIGINAL, *_NAMED, "squashN", "cropN-of-M")


def parse_box_frame(name: str) -> BoxFrame | None:
    """The frame of a name, such as of ``--box-frame``; None for "original" pixels.

    Args:
        name: "original"; "fractions" of the image; "squash224": the image squashed to 224x224;
            "crop224": the centre 224x224 of the image squashed to 256x256; "squashN" and
            "cropN-of-M": the same of other sides.

    Raises:
        InputError: another name; the message lists those that exist.
    """
    if name == ORIGINAL:
        return None
    if name in _NAMED:
        return _NAMED[name]
    match = re.fullmatch(r"squash([0-9]{1,6})|crop([0-9]{1,6})-of-([0-9]{1,6})", name)
    sides = [int(side) for side in match.groups() if side is not None] if match else [0]
    crop, resize = sides[0], sides[-1]
    if not crop or not resize:
        raise InputError(
            f"unknown frame of boxes {name!r}; there are: {', '.join(BOX_FRAMES)} (squash512: the "
            f"image squashed to 512x512; crop448-of-480: the centre 448x448 of one of 480x480)"
        )
    if crop > resize:
        raise InputError(f"frame of boxes {name!r}: a crop of {crop} does not fit in {resize}")
    return BoxFrame(resize, crop)
