"""EXIF's orientation of image files: what it is, and pixels and sizes turned by it.

A data set's policy (:data:`wend.structures.records.EXIF`) says whether it is applied: "ignore" is
what PSOL, C2AM, torchvision's and Pillow's own loaders do, "apply" what Detectron2, CVAT and VIA
do. Pillow itself turns TIFF files by their orientation, which is a tag of TIFF and not of EXIF;
they are upright under either policy.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from wend.images.opening import open_image
from wend.images.threads import map_in_threads

UPRIGHT = 1
SIDEWAYS = (5, 6, 7, 8)  # of these the width is the stored height
_FLIPPED_X, _FLIPPED_Y = (2, 3, 6, 7), (3, 4, 7, 8)  # the latter of SIDEWAYS once transposed
_TAG = 0x0112
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_IHDR_END = len(_SIGNATURE) + 25  # the first chunk's 13 bytes, and 12 around them
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def orientation_of(image: Image.Image) -> int:
    """EXIF's orientation (1 to 8) of an opened image file; 1 where it has none, or a broken one.

    No pixel is decoded for it.
    """
    if image.format == "TIFF":
        return UPRIGHT
    try:
        exif = _png_exif(image) if image.format == "PNG" else image.getexif()
        value = exif.get(_TAG, UPRIGHT)
    except Exception:  # broken EXIF raises anything; the pixels are none the worse
        return UPRIGHT
    return value if value in _TURNS else UPRIGHT


_WITH_EXIF = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")  # PNG's chunks, also behind the pixels


def _png_exif(image: Image.Image) -> Image.Exif:
    """A PNG's EXIF by its chunks alone: Pillow would decode all pixels to see the last ones.

    Pillow reads them from a PNG of one pixel that has them.
    """
    file = getattr(image, "fp", None)
    if file is None:  # loaded: Pillow has seen all chunks
        return image.getexif()
    chunks: list[bytes] = []
    start = file.tell()
    try:
        file.seek(len(_SIGNATURE))
        while len(head := file.read(8)) == 8:
            length = int.from_bytes(head[:4], "big")
            if head[4:] in _WITH_EXIF:
                chunks.append(head + file.read(length + 4))
            else:
                file.seek(length + 4, 1)
    finally:
        file.seek(start)
    if not chunks:
        return Image.Exif()
    pixel = io.BytesIO()
    Image.new("L", (1, 1)).save(pixel, "PNG")
    beginning, pixels = pixel.getvalue()[:_IHDR_END], pixel.getvalue()[_IHDR_END:]
    with PngImageFile(io.BytesIO(b"".join((beginning, *chunks, pixels)))) as small:
        return small.getexif()


def upright_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Width and height of an image of the stored ``size`` when it is turned upright."""
    return size[::-1] if orientation in SIDEWAYS else size


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """The image turned upright: a new one, or the same where there is nothing to turn."""
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def turn_boxes(boxes: np.ndarray, sizes: np.ndarray, orientations: np.ndarray) -> np.ndarray:
    """Boxes of images as stored, in the pixels of the images turned upright.

    Args:
        boxes: (B, 4) ``x0, y0, x1, y1``.
        sizes: (B, 2) width and height of each box's image as stored.
        orientations: (B,) EXIF's orientation, 1 to 8, of each box's image.

    Returns:
        (B, 4) float64.
    """
    sideways = np.isin(orientations, SIDEWAYS)[:, None]
    turned = np.where(sideways, boxes[:, [1, 0, 3, 2]], boxes).astype(np.float64)
    sizes = np.where(sideways, sizes[:, ::-1], sizes)
    for axis, flipped in enumerate((_FLIPPED_X, _FLIPPED_Y)):
        rows = np.isin(orientations, flipped)
        near, far = turned[rows, axis], turned[rows, axis + 2]
        turned[rows, axis] = sizes[rows, axis] - far
        turned[rows, axis + 2] = sizes[rows, axis] - near
    return turned


def read_orientation(path: str | Path) -> int:
    """EXIF's orientation (1 to 8) of an image file, from its header; 1 where it cannot be read."""
    try:
        with open_image(path) as image:
            return orientation_of(image)
    except Exception:  # decoders raise struct.error, IndexError, ... on damaged files
        return UPRIGHT


def read_orientations(
    paths: Sequence[str | Path], task: str = "orientations", workers: int | None = None
) -> np.ndarray:
    """EXIF's orientations (I,) uint8 of I image files, from their headers alone, in threads.

    Args:
        task: what is being done, for the progress bar.
        workers: threads.

    Returns:
        1 to 8; 1 also for a file that is not there or cannot be read.
    """
    values = map_in_threads(read_orientation, paths, task, "image", workers)
    return np.fromiter(values, dtype=np.uint8, count=len(paths))


def explain_size(path: str | Path, recorded: tuple[int, int], exif: str) -> str:
    """Which policy the recorded size of an image belongs to, if it is the other one; else empty.

    Args:
        recorded: width and height as a list or an annotation states them.
        exif: the data set's policy.
    """
    try:
        with open_image(path) as image:
            size, orientation = image.size, orientation_of(image)
    except Exception:  # whoever reads its pixels says why
        return ""
    other = "apply" if exif == "ignore" else "ignore"
    of_policy = {"ignore": size, "apply": upright_size(size, orientation)}
    if of_policy["ignore"] == of_policy["apply"] or of_policy[other] != tuple(recorded):
        return ""
    how = "turned by its" if other == "apply" else "stored, before its"
    return (
        f"{recorded[0]}x{recorded[1]} is the image as {how} EXIF orientation {orientation}: the "
        f"data set needs 'exif: {other}' in its declaration (it has 'exif: {exif}')"
    )
