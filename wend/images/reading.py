"""Image files to pixels, as the pseudo boxes and the truth were made: RGB, not rotated by EXIF."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from wend.errors import BadImageError, MissingImageError


def _unreadable(path: str | Path, error: Exception) -> BadImageError:
    if isinstance(error, FileNotFoundError):
        return MissingImageError(f"{path}: there is no such image file")
    return BadImageError(
        f"{path}: cannot be read as an image ({error}); replace the file or take the image out of "
        f"the data set"
    )


def read_image_size(path: str | Path) -> tuple[int, int]:
    """Width and height in pixels, read from the file's header, as stored (EXIF is not applied).

    Raises:
        BadImageError: the file is missing or no image; the message names it.
    """
    try:
        with Image.open(path) as image:
            return image.size
    except Exception as error:  # decoders raise struct.error, IndexError, ... on damaged files
        raise _unreadable(path, error) from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":  # convert() would copy it
        image.load()
        return image
    if image.mode.startswith("I"):  # 16 bits a pixel; Pillow would cut all above 255 to white
        high = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        image = Image.fromarray(high)
    return image.convert("RGB")


def read_image(path: str | Path) -> Image.Image:
    """The image as RGB (greyscale, palette, CMYK, 16 bits are converted, alpha dropped), as stored.

    Detectron2's ``read_image`` rotates by EXIF; PSOL, C2AM and the truth do not, so a box would
    lie beside its object. The format is read from the file, whatever its name ends in.

    Raises:
        BadImageError: the file is missing, cut off or no image; the message names it.
    """
    try:
        with Image.open(path) as image:
            return _to_rgb(image)
    except Exception as error:  # decoders raise struct.error, IndexError, ... on damaged files
        raise _unreadable(path, error) from error


def squash(image: Image.Image, side: int) -> np.ndarray:
    """Resize to ``side``² (aspect not kept), bilinear with antialiasing as torchvision's on PIL.

    Returns:
        (side, side, 3) uint8.
    """
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR))
