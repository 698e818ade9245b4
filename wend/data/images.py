"""Image files to pixels, as the pseudo boxes and the truth were made: RGB, not rotated by EXIF."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from wend.errors import InputError, MissingFileError


def _unreadable(path: str | Path, error: Exception) -> InputError:
    if isinstance(error, FileNotFoundError):
        return MissingFileError(f"{path}: there is no such image file")
    return InputError(
        f"{path}: cannot be read as an image ({error}); replace the file or take the image out of "
        f"the data set"
    )


def read_image_size(path: str | Path) -> tuple[int, int]:
    """Width and height in pixels, read from the file's header, as stored (EXIF is not applied)."""
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error


def read_image(path: str | Path) -> Image.Image:
    """The image as RGB (greyscale, palette and CMYK are converted), as stored.

    Detectron2's ``read_image`` rotates by EXIF; PSOL, C2AM and the truth do not, so a box would
    lie beside its object.

    Raises:
        InputError: the file is missing, cut off or no image; the message names it.
    """
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error


def squash(image: Image.Image, side: int) -> np.ndarray:
    """Resize to ``side``² (aspect not kept), bilinear with antialiasing as torchvision's on PIL.

    Returns:
        (side, side, 3) uint8.
    """
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR))
