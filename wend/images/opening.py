"""Opening an image file: its format and size are known, and no pixel of it is decoded yet.

A few kilobytes may state an image of gigabytes, and a name that ends in ``.jpg`` may be a pipe that
never ends, or a format whose reader starts another program (Pillow hands EPS to Ghostscript). So
only files are opened, of the formats of :data:`FORMATS` alone, and an image of more pixels than a
limit is refused by its header. The limit is the caller's, not Pillow's own, which is one for the
whole process.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from wend.errors import BadImageError, InputError, MissingImageError

# imported here, so that threads need not load them side by side
PLUG_INS = (
    BmpImagePlugin,
    GifImagePlugin,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM")  # JPEG's reader has MPO, too
NAMES = "JPEG, PNG, WebP, TIFF, BMP, GIF or PPM"
MOST_SCANS = 100  # of a progressive JPEG, each of which costs a pass; encoders write about ten
_START_OF_SCAN = b"\xff\xda"
_OTHERS = {  # what stands at which byte of files of other formats
    "AVIF": (4, b"ftypavi"),
    "HEIF": (4, b"ftyp"),
    "JPEG 2000": (4, b"jP  "),
    "EPS or PostScript": (0, b"%!PS"),
    "PDF": (0, b"%PDF"),
}


def check_pixels(where: str, size: tuple[int, int], max_megapixels: float) -> None:
    """Raise BadImageError for an image, or a frame of a video, of more pixels than the limit.

    Args:
        where: names it in the message.
        size: width and height in pixels, as its header states them.
        max_megapixels: in millions of pixels.
    """
    width, height = size
    if width * height > 1e6 * max_megapixels:
        raise BadImageError(
            f"{where}: states {width}x{height} pixels, {width * height / 1e6:.1f} megapixels, and "
            f"more than {max_megapixels:g} are not decoded, since a small file can state an image "
            f"that fills the memory; if it is a real one raise the limit (--max-megapixels, in a "
            f"config WEND.DATA.MAX_MEGAPIXELS), else take it out"
        )


@contextmanager
def open_image(
    path: str | Path, max_megapixels: float | None = None
) -> Iterator[ImageFile.ImageFile]:
    """Open an image file by its header.

    Args:
        max_megapixels: more pixels (in millions) are refused; None: its pixels are not needed.

    Raises:
        BadImageError: the file is not there (MissingImageError), is no file, of another format, or
            states more pixels; the message names it. Whatever else a reader of Pillow's raises
            on a damaged file: ``struct.error``, ``IndexError``, ...
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            kind = "a folder" if os.path.isdir(path) else "a pipe or a device"
            raise _unreadable(path, f"is {kind}, and no file")
        with open(path, "rb") as file, _recognized(file, path) as image:
            if max_megapixels is not None:
                check_pixels(str(path), image.size, max_megapixels)
                if image.info.get("progressive"):
                    _check_scans(file, path)
            yield image
    except FileNotFoundError as error:
        if isinstance(error, InputError):
            raise
        raise MissingImageError(f"{path}: there is no such image file") from error


def _recognized(file: IO[bytes], path: str | Path) -> ImageFile.ImageFile:
    """The image that a file begins as; unlike ``Image.open`` without Pillow's limit of pixels."""
    start = file.read(16)
    if not start:
        raise _unreadable(path, "it is empty")
    problem = "it is of no known image format"
    for name in FORMATS:
        reader, accepts = Image.OPEN[name]
        if accepts is not None and accepts(start) is not True:
            continue
        file.seek(0)
        try:
            return reader(file, os.fspath(path))
        except (SyntaxError, IndexError, TypeError, struct.error) as error:  # as of Image.open
            problem = f"its {name} header is damaged: {error}"
    for name, (offset, begins) in _OTHERS.items():
        if start[offset:].startswith(begins):
            problem = f"it is {name}"
            break
    raise _unreadable(path, f"{problem}; expected {NAMES}")


def _check_scans(file: IO[bytes], path: str | Path) -> None:
    """Raise BadImageError for a JPEG of so many scans that it takes minutes to decode."""
    position = file.tell()
    file.seek(0)
    scans = file.read().count(_START_OF_SCAN)
    file.seek(position)
    if scans > MOST_SCANS:
        raise _unreadable(path, f"it is a progressive JPEG of {scans} scans; expected about ten")


def _unreadable(path: str | Path, problem: object) -> BadImageError:
    return BadImageError(
        f"{path}: cannot be read as an image ({problem}); replace the file or take the image out "
        f"of the data set"
    )


def unreadable(path: str | Path, error: Exception) -> BadImageError:
    """The error that a reader's own becomes, which names the file; ours as they are."""
    if isinstance(error, BadImageError):
        return error
    return _unreadable(path, error or type(error).__name__)
