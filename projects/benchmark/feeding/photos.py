"""JPEG files of the sizes that are met: as they are, and photos rescaled to others."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from wend.errors import BadImageError
from wend.images.paths import find_images
from wend.images.reading import read_image


@dataclass(frozen=True)
class Photos:
    """Files of one kind.

    Attributes:
        name: for the tables.
        files: their paths.
    """

    name: str
    files: tuple[str, ...]

    @property
    def kilobytes(self) -> float:
        """Mean size of a file."""
        return sum(Path(file).stat().st_size for file in self.files) / len(self.files) / 1e3


def as_they_are(name: str, folder: Path, count: int) -> Photos:
    """The first RGB JPEGs below a folder."""
    files: list[str] = []
    for path in find_images(folder)[0]:
        with Image.open(folder / path) as image:
            if image.format == "JPEG" and image.mode == "RGB":
                files.append(str(folder / path))
        if len(files) == count:
            break
    return Photos(name, tuple(files))


def rescaled(
    name: str, source: Path, count: int, size: tuple[int, int], kilobytes: float, folder: Path
) -> Photos:
    """Photos below ``source`` that are at least as large as ``size`` or nearly, rescaled to it.

    Args:
        size: width and height.
        kilobytes: mean size of a file; JPEG's quality follows from it, one for all files.
        folder: where the files are written.
    """
    images: list[Image.Image] = []
    for path in find_images(source)[0]:
        try:
            image = read_image(source / path)
        except BadImageError:
            continue
        if min(image.size) >= 375:
            images.append(image.resize(size, Image.Resampling.LANCZOS))
        if len(images) == count:
            break
    low, high = 30, 97
    while low < high:  # the lowest quality whose files are large enough
        middle = (low + high) // 2
        few = [len(_jpeg(image, middle)) for image in images[:: max(1, len(images) // 20)]]
        if sum(few) / len(few) < 1e3 * kilobytes:
            low = middle + 1
        else:
            high = middle
    files = []
    for number, image in enumerate(images):
        file = folder / f"{size[0]}_{number}.jpg"
        file.write_bytes(_jpeg(image, low))
        files.append(str(file))
    return Photos(f"{name} (quality {low})", tuple(files))


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
