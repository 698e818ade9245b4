"""Image files to pixels, as a data set's boxes were made: RGB, as stored or turned by EXIF.

Kinds of pixels: greyscale, palettes, CMYK and the like become RGB as Pillow converts them, alpha is
dropped. Of more than 8 bits the highest 8 are kept, of numbers with a point 0 is black and 1 white;
32-bit whole numbers have no white and are refused. Of several pages or frames the first is read.
Which files are opened at all: :mod:`wend.images.opening`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

from wend.errors import BadImageError
from wend.images.opening import open_image, unreadable
from wend.images.orientation import (
    UPRIGHT,
    explain_size,
    orientation_of,
    upright,
    upright_size,
)
from wend.structures.frame import fitted_part
from wend.structures.records import MAX_MEGAPIXELS

WIDE_FORMATS = ("PNG", "PPM")  # Pillow gives their 16 bits in mode I, which has 32
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # TIFF's tags


def read_image_size(path: str | Path, exif: str = "ignore") -> tuple[int, int]:
    """Width and height in pixels, read from the file's header.

    Args:
        exif: "ignore": as stored; "apply": turned by EXIF's orientation.

    Raises:
        BadImageError: the file is missing or no image; the message names it.
    """
    try:
        with open_image(path) as image:
            turned = orientation_of(image) if exif == "apply" else UPRIGHT
            return upright_size(image.size, turned)
    except Exception as error:  # decoders raise struct.error, IndexError, ... on damaged files
        raise unreadable(path, error) from error


def check_size(
    path: str | Path, size: tuple[int, int], recorded: tuple[int, int], exif: str
) -> None:
    """Raise BadImageError for an image of another size than the data set has for it."""
    if size != recorded:
        frame = "of the file as stored" if exif == "ignore" else "turned by EXIF"
        why = explain_size(path, recorded, exif)
        raise BadImageError(
            f"{path}: is {size[0]}x{size[1]}, expected {recorded[0]}x{recorded[1]} as recorded "
            f"(sizes are {frame}); "
            + (why or "was the file replaced or resized after the data set was made?")
        )


def _eight_bits(image: Image.Image) -> Image.Image:
    """An image of one wide channel as greyscale of 8 bits.

    Raises:
        ValueError: where its white is not known.
    """
    tags = getattr(image, "tag_v2", {})  # TIFF's
    values = np.asarray(image)
    if image.mode == "F":
        if not (np.isfinite(values).all() and 0 <= values.min() and values.max() <= 1):
            raise ValueError(
                f"its pixels are numbers with a point from {values.min():g} to {values.max():g}, "
                f"expected 0 (black) to 1 (white); save it with 8 or 16 bits"
            )
        levels = np.round(255 * values)
    elif image.mode.startswith("I;16") or image.format in WIDE_FORMATS:
        bits = tags.get(_BITS_PER_SAMPLE, (16,))[0] if tags else 16
        levels = (values.astype(np.int64) >> (bits - 8)).clip(0, 255)
    else:
        raise ValueError(
            f"its pixels are whole numbers of 32 bits (from {values.min()} to {values.max()}), "
            f"whose white is not known; save it with 8 or 16 bits"
        )
    if tags and tags.get(_PHOTOMETRIC) == 0:  # white is 0; Pillow turns 8 bits round itself
        levels = 255 - levels
    return Image.fromarray(levels.astype(np.uint8))


def to_rgb(image: Image.Image) -> Image.Image:
    """An opened image as RGB, as the module says; the same where it is.

    Raises:
        ValueError: its pixels have no known white. Decoders of damaged files raise anything.
    """
    if image.mode == "RGB":  # convert() would copy it
        image.load()
        return image
    if image.mode[0] in "IF":
        return _eight_bits(image).convert("RGB")
    return image.convert("RGB")


@contextmanager
def checked_image(
    path: str | Path,
    exif: str = "ignore",
    max_megapixels: float = MAX_MEGAPIXELS,
    recorded: tuple[int, int] | None = None,
) -> Iterator[tuple[ImageFile.ImageFile, int]]:
    """An image file whose header was looked at, to decode; arguments, errors: :func:`read_image`.

    Yields:
        The image, of which no pixel is decoded, and the orientation that it is to be turned by.
    """
    try:
        with open_image(path, max_megapixels) as image:
            orientation = UPRIGHT if exif == "ignore" else orientation_of(image)
            if recorded is not None:
                check_size(path, upright_size(image.size, orientation), recorded, exif)
            yield image, orientation
    except Exception as error:  # decoders raise struct.error, IndexError, ... on damaged files
        raise unreadable(path, error) from error


def read_image(
    path: str | Path,
    exif: str = "ignore",
    max_megapixels: float = MAX_MEGAPIXELS,
    recorded: tuple[int, int] | None = None,
) -> Image.Image:
    """The image as RGB; the module says how each kind of pixels becomes that.

    Detectron2's ``read_image`` turns by EXIF, PSOL's and C2AM's do not: where the policy is not
    that of the boxes, they lie beside their objects. The format is read from the file, whatever its
    name ends in. What can be refused by the header is refused before a pixel is decoded.

    Args:
        exif: "ignore": as stored; "apply": turned by EXIF's orientation.
        max_megapixels: an image of more pixels (in millions) is refused.
        recorded: width and height that the data set has for it; another is an error.

    Raises:
        BadImageError: the file is missing, cut off, no image, too large, of another size, or of
            pixels whose white is not known; the message names it.
    """
    with checked_image(path, exif, max_megapixels, recorded) as (image, orientation):
        return upright(to_rgb(image), orientation)


def squash(image: Image.Image, side: int) -> np.ndarray:
    """Resize to ``side``² (aspect not kept), bilinear with antialiasing as torchvision's on PIL.

    Returns:
        (side, side, 3) uint8.
    """
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR))


def fit(image: Image.Image, side: int) -> np.ndarray:
    """Scale to fit ``side``², the aspect kept, black around (:func:`fitted_part`); as ``squash``.

    Returns:
        (side, side, 3) uint8.
    """
    part = fitted_part(*image.size, side)
    square = np.zeros((side, side, 3), np.uint8)
    inner = image.resize((part.width, part.height), Image.Resampling.BILINEAR)
    rows = slice(part.top, part.top + part.height)
    columns = slice(part.left, part.left + part.width)
    square[rows, columns] = np.asarray(inner)
    return square
