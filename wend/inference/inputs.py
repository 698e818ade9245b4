"""What users predict on -> images: paths, folders, patterns, videos, pixels, and lists of them.

A pattern is a path with ``*``, ``?`` or ``[...]``, ``**`` for folders within folders, where there
is no file of that very name. Of folders, which are looked through with those within them, and of
patterns the files count whose name ends as images' do; a file that is named itself is read whatever
its name ends in.
"""

from __future__ import annotations

import glob
import io
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeGuard

import numpy as np
from PIL import Image

from wend.errors import BadImageError, InputError, MissingImageError, shown
from wend.files import expand_user
from wend.images.opening import check_pixels
from wend.images.paths import SUFFIXES, find_images
from wend.images.reading import read_image, to_rgb
from wend.structures.records import MAX_MEGAPIXELS

ImageInput = str | os.PathLike | np.ndarray | Image.Image
Images = ImageInput | Iterable[ImageInput]
VIDEO_ENDINGS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")
EXPECTED = (
    "a path, a folder, a pattern, a video, an array (height, width, 3) uint8 in RGB, a PIL image, "
    "or an iterable of these"
)
logger = logging.getLogger(__name__)


def is_path(image: object) -> TypeGuard[str | os.PathLike[str]]:
    """Whether an image is given by its path."""
    return isinstance(image, str | os.PathLike)


def is_video(path: object) -> TypeGuard[str | os.PathLike[str]]:
    """Whether it is a path whose ending is a video's."""
    return is_path(path) and os.fspath(path).lower().endswith(VIDEO_ENDINGS)


def image_files(path: str | os.PathLike) -> list[str]:
    """The image files that a path names: a file itself, those of a folder or of a pattern.

    Returns:
        Paths, sorted by folder and name.

    Raises:
        MissingImageError: there is no such file or folder, and nothing that a pattern matches.
        InputError: a folder, or what a pattern matches, holds no image.
    """
    if not os.fspath(path) or "\0" in os.fspath(path):
        raise InputError(f"expected the path of an image or a folder, got {os.fspath(path)!r}")
    text = os.fspath(expand_user(os.fspath(path)))
    if os.path.isdir(text):
        names, others = find_images(text)
        files = [os.path.join(text, name) for name in names]
    elif os.path.lexists(text) or not glob.has_magic(text):
        if not os.path.lexists(text):  # a link to nothing is an image that cannot be read
            raise MissingImageError(f"{text}: there is no such image file or folder")
        return [text]
    else:
        matched = [name for name in sorted(glob.glob(text, recursive=True)) if os.path.isfile(name)]
        if not matched:
            raise MissingImageError(f"{text}: there is no file of this pattern")
        ends = [os.path.splitext(name)[1].lower() for name in matched]
        files = [name for name, end in zip(matched, ends, strict=True) if end in SUFFIXES]
        others = Counter(end or "no ending" for end in ends if end not in SUFFIXES)
    counts = ", ".join(f"{number} {ending}" for ending, number in sorted(others.items()))
    if not files:
        raise InputError(
            f"{text}: there is no image (a file that ends in {', '.join(sorted(SUFFIXES))})"
            + (f", but other files: {counts}" if counts else "")
        )
    if others:
        logger.info("%s: %d images; passed over other files: %s", text, len(files), counts)
    return files


def is_single(images: Images) -> bool:
    """Whether it is one image: pixels, or the path of a file that is no video."""
    if not is_path(images):
        return isinstance(images, np.ndarray | Image.Image)
    path = os.fspath(expand_user(images))
    many = os.path.isdir(path) or is_video(path)
    return not many and (os.path.exists(path) or not glob.has_magic(path))


def each_image(images: Images) -> Iterator[ImageInput]:
    """The images one after the other: of folders, patterns and videos each of theirs.

    Raises:
        InputError: it is nothing of which images come; as the iteration goes on, something in it is
            no image.
    """
    if is_path(images) or isinstance(images, np.ndarray | Image.Image):
        return iter(_images_of(images))
    no_images = isinstance(images, Mapping | bytes | bytearray | io.IOBase) or _is_tensor(images)
    if no_images or not isinstance(images, Iterable):
        raise InputError(f"images: {_unlike(images)}")
    return _each_of(images)


def _each_of(images: Iterable[ImageInput]) -> Iterator[ImageInput]:
    for index, image in enumerate(images):
        if not (is_path(image) or isinstance(image, np.ndarray | Image.Image)):
            raise InputError(f"images: image {index}: {_unlike(image)}")
        yield from _images_of(image)


def _images_of(image: ImageInput) -> Iterable[ImageInput]:
    if not is_path(image):
        return [image]
    if is_video(image):
        from wend.inference.video import read_frames

        return read_frames(image)
    return image_files(image)


def _is_tensor(value: object) -> bool:
    return type(value).__module__.partition(".")[0] == "torch"


def _unlike(value: object) -> str:
    kind = type(value)
    name = f"{kind.__module__}.{kind.__name__}".removeprefix("builtins.")
    if _is_tensor(value):
        return (
            f"expected {EXPECTED}; got a {name}; of one of shape (3, height, width) in 0..1 make "
            f"(255 * tensor).byte().permute(1, 2, 0).cpu().numpy()"
        )
    return f"expected {EXPECTED}; got {name} {shown(value, 80)}"


def read_rgb(
    image: ImageInput,
    exif: str,
    max_megapixels: float = MAX_MEGAPIXELS,
    where: str = "image",
) -> Image.Image:
    """One image as RGB of Pillow's.

    Args:
        image: a file is read by the ``exif`` policy; pixels are taken as they stand. Arrays are
            (height, width, 3) RGB, (height, width, 4) whose alpha is dropped, or grey of
            (height, width) or (height, width, 1); PIL images of any mode become RGB as files do.
        max_megapixels: a file, or an opened image of Pillow's that is not decoded yet, which states
            more pixels, in millions, is refused.
        where: names pixels in messages.

    Raises:
        BadImageError: the file, or a PIL image's, cannot be read.
        InputError: an array of another shape or type.
    """
    if is_path(image):
        return read_image(os.fspath(image), exif, max_megapixels)
    if isinstance(image, Image.Image):
        if getattr(image, "tile", ()):  # opened, not decoded
            check_pixels(where, image.size, max_megapixels)
        try:
            return to_rgb(image)
        except Exception as error:  # what the decoder of its file raises
            raise BadImageError(f"{where}: cannot be read as an image ({error})") from error
    return Image.fromarray(_as_rgb(np.asarray(image), where))


def _as_rgb(pixels: np.ndarray, where: str) -> np.ndarray:
    expected = f"{where}: expected pixels (height, width, 3) uint8 in RGB, or grey, or with alpha"
    shape = pixels.shape
    if pixels.dtype != np.uint8:
        hint = ""
        if pixels.dtype.kind == "f":
            hint = "; of numbers in 0..1 make (255 * image).round().astype('uint8')"
        raise InputError(f"{expected}; got an array of {pixels.dtype} {shape}{hint}")
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or not pixels.size:
        hint = ""
        if pixels.ndim == 4:
            hint = "; several images are a list of arrays"
        elif pixels.ndim == 3 and shape[0] in (1, 3, 4) and pixels.size:
            hint = "; of channels first make image.transpose(1, 2, 0)"
        raise InputError(f"{expected}; got an array of shape {shape}{hint}")
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    return np.ascontiguousarray(pixels[..., :3])
