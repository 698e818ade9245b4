"""The border and centre prior: an object differs from the border and is near the centre.

No network and no weights. Photographs show their object whole and about the middle, so the border
is background: a few typical colours and textures of it are found by k-means, and a pixel is the
more object the further it is from all of them. That distance is smoothed, weighted by a Gaussian
around the centre and thresholded at a multiple of its mean; the largest component's box is the
answer, or the boxes of several objects.

Boundary priors are those of saliency before networks (Wei et al., "Geodesic saliency using
background priors", ECCV 2012). The numbers below were chosen on the 300 training images of
``shared/data/cub10`` and on generated images (``docs/make_boxes.md``), not on test images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

import cv2
import numpy as np

from wend.errors import InputError
from wend.images.reading import read_image
from wend.localize.boxes import Corners, FoundBox, boxes_of_map
from wend.stop_signals import deaf_children
from wend.structures.records import MAX_MEGAPIXELS

_SEED = 0  # of k-means, for each image anew: equal images get equal boxes, in any process
_FLAT = 0.1  # in units of Lab: an image whose pixels all lie this near to its border shows nothing


@dataclass(frozen=True)
class BorderPriorConfig:
    """The prior's numbers.

    Attributes:
        side: the image's longer side is resized to it, in pixels; at least 16.
        border: width of the border, as a share of the shorter side.
        clusters: typical backgrounds that the border is described by.
        lightness, texture: weight of L* and of the local deviation of grey (0..255) beside a*, b*.
        smoothing: deviation of the Gaussian that smooths the distance, as a share of ``side``.
        power: of the smoothed distance; above 1 the most different part counts more.
        centre: deviation of the centre's Gaussian, as a share of the image's width and height.
        threshold: in means of the map.
    """

    side: int = 128
    border: float = 0.06
    clusters: int = 5
    lightness: float = 0.6
    texture: float = 0.5
    smoothing: float = 3 / 128
    power: float = 1.5
    centre: float = 0.4
    threshold: float = 1.4


def _features(pixels: np.ndarray, config: BorderPriorConfig) -> np.ndarray:
    """Colour and texture (H, W, 4) float32 of RGB uint8 (H, W, 3)."""
    unit = max(config.side, 1) / 128
    soft = cv2.GaussianBlur(pixels, (0, 0), unit).astype(np.float32) / 255
    lab: np.ndarray = cv2.cvtColor(soft, cv2.COLOR_RGB2LAB)
    lab[..., 0] *= config.lightness
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    mean = cv2.GaussianBlur(grey, (0, 0), 2 * unit)
    square = cv2.GaussianBlur(grey * grey, (0, 0), 2 * unit)
    deviation = np.sqrt(np.maximum(square - mean * mean, 0))
    return np.dstack([lab, config.texture * deviation])


def _border_mask(height: int, width: int, share: float) -> np.ndarray:
    mask = np.ones((height, width), dtype=bool)
    band = max(1, round(share * min(height, width)))
    mask[band:-band, band:-band] = False
    return mask


def _centre_weight(height: int, width: int, deviation: float) -> np.ndarray:
    """A Gaussian (H, W) around the centre, 1 there."""
    y, x = (((np.arange(n) + 0.5) / n - 0.5) / deviation for n in (height, width))
    return np.exp(-0.5 * (y[:, None] ** 2 + x**2)).astype(np.float32)


def object_map(pixels: np.ndarray, config: BorderPriorConfig | None = None) -> np.ndarray:
    """The difference of each pixel from the border, weighted by the centre.

    Args:
        pixels: RGB uint8 (H, W, 3), of the working size.

    Returns:
        (H, W) float32, at least 0; all 0 where nothing differs.
    """
    config = config or BorderPriorConfig()
    features = _features(pixels, config)
    height, width = features.shape[:2]
    border = np.ascontiguousarray(features[_border_mask(height, width, config.border)])
    cv2.setRNGSeed(_SEED)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 10, 1.0)
    clusters = min(config.clusters, len(border))
    labels = np.zeros((len(border), 1), dtype=np.int32)  # OpenCV writes them; not used
    _, _, centres = cv2.kmeans(border, clusters, labels, stop, 1, cv2.KMEANS_PP_CENTERS)
    distance = np.min([np.square(features - c).sum(-1) for c in centres], axis=0)
    distance = cv2.GaussianBlur(np.sqrt(distance), (0, 0), config.smoothing * config.side)
    if distance.max() < _FLAT:
        return np.zeros_like(distance)
    return distance**config.power * _centre_weight(height, width, config.centre)


def find_boxes(
    pixels: np.ndarray, config: BorderPriorConfig | None = None, number: int = 1
) -> tuple[FoundBox, ...]:
    """The objects' boxes in an RGB uint8 image (H, W, 3) of any size, at most ``number``.

    The first's score is how much higher the map's mean is inside the box than outside, over their
    sum; the others' are as of :func:`wend.localize.boxes.boxes_of_map`.
    """
    config = config or BorderPriorConfig()
    height, width = pixels.shape[:2]
    scale = config.side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    values = object_map(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), config)
    return boxes_of_map(values, config.threshold * values.mean(), number, _contrast)


def _contrast(values: np.ndarray, _: np.ndarray, box: Corners) -> float:
    height, width = values.shape
    inside = np.zeros(values.shape, dtype=bool)
    x0, y0, x1, y1 = (round(v * n) for v, n in zip(box, (width, height) * 2, strict=True))
    inside[y0:y1, x0:x1] = True
    within = float(values[inside].mean())
    beyond = float(values[~inside].mean()) if not inside.all() else 0.0
    return max(0.0, (within - beyond) / (within + beyond))


def _localize(
    config: BorderPriorConfig, exif: str, number: int, max_megapixels: float, file_name: str
) -> tuple[FoundBox, ...] | InputError:
    try:
        pixels = np.asarray(read_image(file_name, exif, max_megapixels))
        return find_boxes(pixels, config, number)
    except InputError as error:  # raised in a worker, its message would be a traceback
        return error


def _use_one_thread() -> None:
    cv2.setNumThreads(1)


def localize(
    file_names: Sequence[str],
    config: BorderPriorConfig | None = None,
    num_workers: int = 0,
    exif: str = "ignore",
    number: int = 1,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Iterator[tuple[FoundBox, ...] | InputError]:
    """The boxes of each image file in order, or the error that its reading ended in.

    Args:
        num_workers: processes; 0: this one.
        exif: the data set's policy, see :data:`wend.structures.records.EXIF`.
        number: boxes per image at most, at least 1.
        max_megapixels: an image that states more pixels, in millions, is not decoded.
    """
    task = partial(_localize, config or BorderPriorConfig(), exif, number, max_megapixels)
    if num_workers == 0 or len(file_names) < 2:
        yield from map(task, file_names)
        return
    # not forked: OpenCV's threads do not survive it, and a forked child would wait for them
    pool = ProcessPoolExecutor(num_workers, get_context("spawn"), _use_one_thread)
    try:
        with deaf_children():
            results = pool.map(task, file_names, chunksize=16)
        yield from results
    finally:
        pool.shutdown(cancel_futures=True)
