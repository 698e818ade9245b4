"""JPEG to pixels, and a file to a square: who is how fast, and what of the pixels differs."""

# ruff: noqa: TID251 (torchvision's decoder is one of them)
from __future__ import annotations

import io
from collections.abc import Callable

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from photos import Photos
from PIL import Image
from timing import cores, seconds_each, table
from torchvision.io import ImageReadMode, decode_jpeg

from wend.images.reading import read_image, squash
from wend.loading.decoders import read_square
from wend.structures.records import DECODERS

SIDE = 256
Pixels = np.ndarray | Image.Image


def pillow(content: bytes, draft: int | None = None) -> Image.Image:
    """Pillow, at a fraction of the size that is not below ``draft`` squared where that is given."""
    image = Image.open(io.BytesIO(content))
    if draft:
        image.draft("RGB", (draft, draft))
    image.load()
    return image


def torchvisions(content: bytes) -> np.ndarray:
    """Of torchvision.io."""
    data = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    return decode_jpeg(data, mode=ImageReadMode.RGB).permute(1, 2, 0).numpy()


def opencvs(content: bytes) -> np.ndarray:
    """Of OpenCV, whose channels are then turned round."""
    bgr = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def simplejpegs(content: bytes, **options: bool) -> np.ndarray:
    """Of simplejpeg."""
    import simplejpeg

    return simplejpeg.decode_jpeg(content, **options)


def half(content: bytes) -> np.ndarray:
    """By simplejpeg, at 1/2 where both sides are at least twice SIDE, else whole."""
    import simplejpeg

    height, width, *_ = simplejpeg.decode_jpeg_header(content)
    scale = next((s for s in (8, 4, 2) if min(height, width) // s >= SIDE), 1)
    return simplejpeg.decode_jpeg(
        content, min_height=-(-height // scale), min_width=-(-width // scale)
    )


DECODE: dict[str, Callable[[bytes], Pixels]] = {
    "Pillow": pillow,
    f"Pillow, draft {SIDE}": lambda content: pillow(content, SIDE),
    "torchvision.io": torchvisions,
    "OpenCV": opencvs,
    "simplejpeg": simplejpegs,
    "simplejpeg, fast DCT and upsampling": lambda content: simplejpegs(
        content, fastdct=True, fastupsample=True
    ),
    "simplejpeg, at 1/2, 1/4, 1/8": half,
}


def torchs(pixels: np.ndarray) -> np.ndarray:
    """Torch's antialiased bilinear filter on uint8."""
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    resized = F.interpolate(image, (SIDE, SIDE), mode="bilinear", antialias=True)
    return resized[0].permute(1, 2, 0).contiguous().numpy()


def opencv_resized(pixels: np.ndarray, filter_: int) -> np.ndarray:
    """OpenCV's; its bilinear filter is not antialiased."""
    return cv2.resize(pixels, (SIDE, SIDE), interpolation=filter_)


SQUASH: dict[str, Callable[[tuple[Image.Image, np.ndarray]], np.ndarray]] = {
    "Pillow, bilinear, of its own image": lambda pair: squash(pair[0], SIDE),
    "Pillow, bilinear, of an array": lambda pair: squash(Image.fromarray(pair[1]), SIDE),
    "Pillow, bilinear, reducing_gap 2": lambda pair: np.asarray(
        pair[0].resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    ),
    "torch, bilinear, antialiased": lambda pair: torchs(pair[1]),
    "OpenCV, area": lambda pair: opencv_resized(pair[1], cv2.INTER_AREA),
    "OpenCV, bilinear": lambda pair: opencv_resized(pair[1], cv2.INTER_LINEAR),
}

SQUARE: dict[str, Callable[[str], np.ndarray]] = {
    f"WEND.DATA.DECODER {name}": lambda file, name=name: read_square(file, SIDE, decoder=name)[0]
    for name in DECODERS
}


def _difference(pixels: Pixels, expected: Pixels) -> np.ndarray | None:
    values, others = np.asarray(pixels).astype(int), np.asarray(expected).astype(int)
    return np.abs(values - others) if values.shape == others.shape else None


def _said(differences: list[np.ndarray | None]) -> str:
    known = [each for each in differences if each is not None]
    if not known:
        return "smaller image"
    worst = max(int(each.max()) for each in known)
    if not worst:
        return "equal"
    mean = float(np.mean([each.mean() for each in known]))
    share = float(np.mean([(each > 0).mean() for each in known]))
    return f"up to {worst}, mean {mean:.2g}, {100 * share:.2g} % of values"


def _rows(ways: dict, items: list, rounds: int) -> list[list[object]]:
    times = seconds_each(ways, items, rounds)
    first = next(iter(ways.values()))
    rows = []
    for name, way in ways.items():
        said = _said([_difference(way(item), first(item)) for item in items[:40]])
        rate = f"{1 / times[name]:,.0f}"
        rows.append([name, rate, *cores(times[name]), said])
    return rows


def tables(photos: Photos, rounds: int) -> str:
    """Of one kind of files."""
    contents = []
    for file in photos.files:
        with open(file, "rb") as stream:
            contents.append(stream.read())
    images = [read_image(file) for file in photos.files]
    pairs = [(image, np.array(image)) for image in images]
    parts = {
        "decoded": _rows(DECODE, contents, rounds),
        f"pixels to {SIDE}x{SIDE}": _rows(SQUASH, pairs, rounds),
        f"file to {SIDE}x{SIDE}": _rows(SQUARE, list(photos.files), rounds),
    }
    head = ("images/s of a core", "cores for 4,000/s", "for 1,500/s", "against the first row")
    name = f"{photos.name}, {photos.kilobytes:.0f} kB"
    return "\n".join(table([f"{name}: {part}", *head], rows) for part, rows in parts.items())
