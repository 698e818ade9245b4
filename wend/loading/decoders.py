"""An image file to the square that crops are cut from, by Pillow or sooner: ``WEND.DATA.DECODER``.

- ``pillow``: :mod:`wend.images.reading`, whose pixels all published numbers of ours are made of;
- ``simplejpeg``: JPEGs are decoded by libjpeg-turbo without Pillow, to equal pixels, and resized by
  torch's antialiased bilinear filter, which rounds otherwise: a pixel differs by at most 1 of 255;
- ``simplejpeg-scaled``: the same, and a JPEG whose sides are both at least twice that of the square
  is decoded at 1/2, 1/4 or 1/8 (DCT scaling), no smaller than the square.

What is refused, and in which words, does not depend on it: the header is looked at by
:func:`wend.images.reading.checked_image`, and what simplejpeg does not take as it is (damaged
files, CMYK, greyscale, other formats, PNG) Pillow decodes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageFile, features

from wend.distribution import installed_version, pip_install, require_installed
from wend.images.orientation import UPRIGHT, upright, upright_size
from wend.images.reading import checked_image, fit, read_image, squash, to_rgb
from wend.structures.frame import fitted_part
from wend.structures.records import DECODERS, MAX_MEGAPIXELS

PILLOW, _, SCALED = DECODERS
_SCALES = (8, 4, 2)


def require_decoder(decoder: str) -> None:
    """Raise InputError where what a decoder needs is not installed."""
    if decoder != PILLOW:
        require_installed(f"WEND.DATA.DECODER {decoder}", pip_install("turbo"), "simplejpeg")


def versions(decoder: str) -> dict[str, str | None]:
    """The libraries that a decoder's pixels come from, and their versions."""
    jpeg = features.version("libjpeg_turbo") or features.version("jpg")
    libraries = {"pillow": Image.__version__, "jpeg": jpeg}
    if decoder != PILLOW:
        libraries |= {"simplejpeg": installed_version("simplejpeg"), "torch": torch.__version__}
    return libraries


def read_square(
    path: str | Path,
    side: int,
    padded: bool = False,
    decoder: str = PILLOW,
    exif: str = "ignore",
    max_megapixels: float = MAX_MEGAPIXELS,
    recorded: tuple[int, int] | None = None,
) -> tuple[np.ndarray, tuple[int, int]]:
    """An image file as RGB, resized to a square.

    Args:
        side: of the square in pixels.
        padded: fitted with black around (:func:`wend.images.reading.fit`), not squashed.
        decoder: of :data:`wend.structures.records.DECODERS`.
        exif, max_megapixels, recorded: see :func:`wend.images.reading.read_image`.

    Returns:
        (side, side, 3) uint8, and the image's width and height in original pixels.

    Raises:
        BadImageError: see :func:`wend.images.reading.read_image`.
    """
    if decoder == PILLOW:
        image = read_image(path, exif, max_megapixels, recorded)
        return (fit if padded else squash)(image, side), image.size
    with checked_image(path, exif, max_megapixels, recorded) as (file, orientation):
        pixels = _by_turbo(file, side if decoder == SCALED else None)
        if pixels is None:
            pixels = np.array(to_rgb(file))
        size = upright_size(file.size, orientation)
        if orientation != UPRIGHT:
            pixels = np.array(upright(Image.fromarray(pixels), orientation))
    if not padded:
        return _resized(pixels, side, side), size
    part = fitted_part(*size, side)
    square = np.zeros((side, side, 3), np.uint8)
    rows = slice(part.top, part.top + part.height)
    columns = slice(part.left, part.left + part.width)
    square[rows, columns] = _resized(pixels, part.height, part.width)
    return square, size


def _by_turbo(image: ImageFile.ImageFile, least: int | None) -> np.ndarray | None:
    """A JPEG of three channels, decoded by simplejpeg; None for what is to be left to Pillow.

    Args:
        image: an opened file, of which no pixel is decoded.
        least: sides that a scaled image has at least; None: it is not scaled.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    if image.format != "JPEG" or image.mode != "RGB":
        return None
    import simplejpeg

    width, height = image.size
    scale = 1
    if least is not None:
        scale = next((s for s in _SCALES if min(width, height) // s >= least), 1)
    file = image.fp
    assert file is not None  # an opened image has its file until it is decoded
    start = file.tell()
    file.seek(0)
    content = file.read()
    file.seek(start)
    try:
        return simplejpeg.decode_jpeg(
            content, min_height=-(-height // scale), min_width=-(-width // scale)
        )
    except ValueError:  # what Pillow says of it counts: it reads some, and names what is wrong
        return None


def _resized(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixels (H, W, 3) uint8 as (height, width, 3); Pillow's bilinear filter but for rounding."""
    images = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)  # torch sees that it is by pixels
    resized = F.interpolate(images, (height, width), mode="bilinear", antialias=True)
    return np.ascontiguousarray(resized.permute(0, 2, 3, 1)[0].numpy())
