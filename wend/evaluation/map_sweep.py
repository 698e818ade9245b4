"""MaxBoxAcc and PxAP: what score maps give at every threshold, and at the best one.

Each map's boxes at each threshold are compared with the true boxes by
:func:`wend.evaluation.per_image.box_ious`, as detections are. A protocol's MaxBoxAcc is the mean
over its IoU thresholds of the largest accuracy over the maps' thresholds, for the largest contour's
box and for any contour's. So wsolevaluation's MaxBoxAcc (96f4b88 evaluation.py:239-288) is that of
the largest contour under ``wsoleval-v1``, and its MaxBoxAccV2 (config.py box_v2_metric) that of any
contour under ``wsoleval-v2``.

Maps are read once for the sweep and once more at the chosen threshold, some at a time, so that they
are never all held.

Shape letters: I = images, n = images of a batch, T = the maps' thresholds, C = a protocol's IoU
thresholds, K = 1 or 2 choices of contours (:data:`CHOICES`), B = boxes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from wend.errors import InputError
from wend.evaluation.map_boxes import CONTOURS, MapBoxes, boxes_at
from wend.evaluation.per_image import box_ious, passes, scored_images
from wend.evaluation.pixel_precision import PixelCurve, bin_edges, count_pixels
from wend.evaluation.protocols import EvalProtocol
from wend.evaluation.score_maps import FRAME, SIDE, ScoreMaps, prepare_map
from wend.formats.masks import read_pixel_truth
from wend.stop_signals import deaf_children
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.structures.masks import MaskFiles

CHOICES = ("largest", "any")  # the contour that counts: the largest, or whichever is right
BATCH = 32  # maps of a task
MAX_BOXES = 1 << 17  # of the sweep, compared at a time


@dataclass(frozen=True)
class MapOptions:
    """How boxes come of maps.

    Attributes:
        interval: step of the thresholds 0, interval, 2 interval, ... below 1.
        contours: "all" or only the "largest" of a map.
        normalize: maps are taken to 0..1 each by itself, whatever their size.

    Raises:
        InputError: an interval that is not in (0, 1), or another choice of contours.
    """

    interval: float = 0.001
    contours: str = "all"
    normalize: bool = False

    def __post_init__(self) -> None:
        if not 1e-5 <= self.interval < 1:
            raise InputError(
                f"score maps: the thresholds' interval must be in [0.00001, 1), got {self.interval}"
            )
        if self.contours not in CONTOURS:
            raise InputError(
                f"score maps: contours must be one of {CONTOURS}, got {self.contours!r}"
            )

    @property
    def thresholds(self) -> np.ndarray:
        """The thresholds (T,), as wsolevaluation's lists are made (evaluation.py:468)."""
        return np.arange(0, 1, self.interval)

    @property
    def choices(self) -> tuple[str, ...]:
        """The K choices of contours that can be told apart."""
        return CHOICES if self.contours == "all" else CHOICES[:1]


@dataclass(frozen=True)
class MapCounts:
    """What the maps were.

    Attributes:
        maps: how many there are, one of each image.
        resized: of another size than 224 x 224, resized and normalised.
        constant: of one value alone.
        blank: without a pixel above 0, whose box is 0, 0, 0, 0 at every threshold.
        others: further maps, of no image of the data set.
    """

    maps: int = 0
    resized: int = 0
    constant: int = 0
    blank: int = 0
    others: int = 0


@dataclass(frozen=True, eq=False)
class Sweep:
    """What maps give at every threshold.

    Attributes:
        options: how boxes were made.
        accuracy: protocol name -> per cent (C, K, T) of images that are right, averaged as the
            protocol says.
        protocols: protocol name -> protocol.
        counts: what the maps were.
        sha256: of all maps as they are stored, in the order of the images.
        pixels: precision and recall of the pixels; None where the truth has no masks.
    """

    options: MapOptions
    accuracy: Mapping[str, np.ndarray]
    protocols: Mapping[str, EvalProtocol]
    counts: MapCounts
    sha256: str
    pixels: PixelCurve | None = None

    def max_box_acc(self, protocol: str, choice: str = "largest") -> float:
        """MaxBoxAcc in per cent under a protocol, for a choice of contours."""
        return float(self._of_choice(protocol, choice).max(1).mean())

    def best_thresholds(self, protocol: str, choice: str = "largest") -> dict[str, dict]:
        """For each IoU threshold the largest accuracy in per cent and the first threshold of it."""
        accuracy = self._of_choice(protocol, choice)
        return {
            f"{iou:g}": {
                "accuracy": float(row.max()),
                "map_threshold": float(self.options.thresholds[row.argmax()]),
            }
            for iou, row in zip(self.protocols[protocol].thresholds, accuracy, strict=True)
        }

    def best_threshold(self, protocol: str) -> float:
        """The first threshold at which the largest contours' boxes are most often right.

        That is their GT-known Loc under the protocol, a mean over its IoU thresholds.
        """
        mean = self._of_choice(protocol, "largest").mean(0)
        return float(self.options.thresholds[mean.argmax()])

    def _of_choice(self, protocol: str, choice: str) -> np.ndarray:
        """Accuracy (C, T)."""
        return self.accuracy[protocol][:, self.options.choices.index(choice)]


def sweep_maps(
    data_set: DataSet,
    maps: ScoreMaps,
    protocols: Sequence[EvalProtocol],
    options: MapOptions | None = None,
    num_workers: int = 0,
) -> Sweep:
    """Compare each map's boxes at every threshold with the truth, and its pixels with masks.

    Args:
        data_set: images with true boxes, and perhaps masks.
        maps: one of each image, by its index.
        protocols: how boxes are compared.
        num_workers: processes; 0: this one.

    Raises:
        InputError: a map or a mask is wrong (it is named), an image has no truth, or no class where
            a protocol averages over them.
    """
    options = options or MapOptions()
    scored = {protocol.name: scored_images(data_set, protocol) for protocol in protocols}
    job = _SweepJob(
        *(maps, options, data_set.truth, data_set.frame_sizes, tuple(protocols)),
        masks=None if data_set.masks is None else list(data_set.masks),  # a store's is a view
    )
    shape = (len(options.choices), len(options.thresholds))
    sums = {
        protocol.name: _Sums(data_set, protocol, scored[protocol.name], shape)
        for protocol in protocols
    }
    counts, digest, pixels = MapCounts(others=getattr(maps, "others", 0)), hashlib.sha256(), None
    for images, result in _run(job, len(data_set), num_workers, "score maps"):
        for name, hits in result.hits.items():
            sums[name].add(images, hits)
        counts = replace(
            counts,
            maps=counts.maps + len(images),
            resized=counts.resized + result.resized,
            constant=counts.constant + result.constant,
            blank=counts.blank + result.blank,
        )
        digest.update(result.digests)
        if result.pixels is not None:
            pixels = result.pixels if pixels is None else pixels + result.pixels
    return Sweep(
        options=options,
        accuracy={name: each.accuracy() for name, each in sums.items()},
        protocols={protocol.name: protocol for protocol in protocols},
        counts=counts,
        sha256=digest.hexdigest(),
        pixels=None
        if pixels is None
        else PixelCurve.from_counts(pixels, bin_edges(options.thresholds)),
    )


def map_detections(
    data_set: DataSet,
    maps: ScoreMaps,
    threshold: float,
    options: MapOptions | None = None,
    num_workers: int = 0,
) -> BoxTable:
    """The boxes of each map at one threshold, the largest contour's first.

    Args:
        data_set: the images.
        maps: one of each image, by its index.
        threshold: in [0, 1), a share of each map's largest value.

    Returns:
        Boxes in original pixels, and as whole numbers in the frame of the maps (``given``); scores
        are the contours' areas as shares of the map, 0..1.

    Raises:
        InputError: a threshold outside [0, 1), or a map that is wrong.
    """
    if not 0 <= threshold < 1:
        raise InputError(f"score maps: the threshold must be in [0, 1), got {threshold}")
    job = _BoxJob(maps, options or MapOptions(), threshold)
    results = [result for _, result in _run(job, len(data_set), num_workers, "boxes of maps")]
    table = BoxTable.from_counts(
        np.concatenate([each.counts for each in results]),
        np.concatenate([each.boxes for each in results]).astype(np.float64),
        np.concatenate([each.areas for each in results]) / SIDE**2,
    )
    return table.given_in(FRAME, data_set.frame_sizes)


# --- tasks, each a batch of images, in this process or in others


class _Job(Protocol):
    """Work on the images of some indices; sent to a process once, whatever it holds."""

    def run(self, images: range) -> Any: ...


_job: _Job  # in a process of a pool: what it is there for


def _set_job(job: _Job) -> None:
    import cv2

    global _job
    _job = job
    cv2.setNumThreads(1)


def _run_job(images: range) -> Any:
    return _job.run(images)


def _run(job: _Job, number: int, num_workers: int, task: str) -> Iterator[tuple[range, Any]]:
    """A job's result for each batch of ``number`` images, in order, with a progress bar."""
    batches = [range(i, min(i + BATCH, number)) for i in range(0, number, BATCH)]
    pool = None
    if num_workers > 0 and len(batches) > 1:  # spawned: OpenCV's threads do not survive a fork
        pool = ProcessPoolExecutor(num_workers, get_context("spawn"), _set_job, (job,))
    with deaf_children():
        results = map(job.run, batches) if pool is None else pool.map(_run_job, batches)
    bar = tqdm(total=number, desc=task, unit="map", leave=False, disable=None)
    try:
        for images, result in zip(batches, results, strict=True):
            yield images, result
            bar.update(len(images))
    except BrokenProcessPool:
        raise InputError(
            f"{task}: one of {num_workers} processes ended; the machine may lack memory for so "
            f"many (--num-workers), or a script of yours starts them outside of "
            f"'if __name__ == \"__main__\"'"
        ) from None
    finally:
        bar.close()
        if pool is not None:
            pool.shutdown(cancel_futures=True)


@dataclass(frozen=True, eq=False)
class _BatchBoxes:
    """The boxes of a batch's images at one threshold, as the columns of a table."""

    counts: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray


@dataclass(frozen=True, eq=False)
class _BoxJob:
    """Boxes at one threshold."""

    maps: ScoreMaps
    options: MapOptions
    threshold: float

    def run(self, images: range) -> _BatchBoxes:
        made = [self._boxes(i) for i in images]
        return _BatchBoxes(
            np.concatenate([each.counts for each in made]),
            np.concatenate([each.boxes for each in made]).astype(np.int16),
            np.concatenate([each.areas for each in made]),
        )

    def _boxes(self, image: int) -> MapBoxes:
        stored, name = self.maps[image], self.maps.describe(image)
        values = prepare_map(stored, name, normalize=self.options.normalize).values
        return boxes_at(values, np.array([self.threshold]), self.options.contours)


@dataclass(eq=False)
class _SweepBatch:
    """What a batch of images gave.

    Attributes:
        hits: protocol name -> whether an image is right (C, K, n, T), blacklisted images included.
        digests: SHA-256 of each map, one after the other.
        pixels: numbers of pixels (2, E), or None without masks.
        resized, constant, blank: numbers of maps.
    """

    hits: dict[str, np.ndarray]
    digests: bytes = b""
    pixels: np.ndarray | None = None
    resized: int = 0
    constant: int = 0
    blank: int = 0


@dataclass(frozen=True, eq=False)
class _SweepJob:
    """Boxes at every threshold, compared with the truth; pixels, compared with masks."""

    maps: ScoreMaps
    options: MapOptions
    truth: BoxTable
    sizes: np.ndarray
    protocols: tuple[EvalProtocol, ...]
    masks: Sequence[MaskFiles] | None = None
    thresholds: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "thresholds", self.options.thresholds)

    def run(self, images: range) -> _SweepBatch:
        batch = _SweepBatch({})
        waiting: list[MapBoxes] = []
        parts: list[dict[str, np.ndarray]] = []
        start, held = images.start, 0
        for image in images:
            waiting.append(self._read(image, batch))
            held += len(waiting[-1].boxes)
            if held >= MAX_BOXES or image == images[-1]:
                parts.append(self._hits(range(start, image + 1), waiting))
                waiting, start, held = [], image + 1, 0
        batch.hits = {
            protocol.name: np.concatenate([part[protocol.name] for part in parts], 2)
            for protocol in self.protocols
        }
        return batch

    def _read(self, image: int, batch: _SweepBatch) -> MapBoxes:
        """An image's boxes; what else its map says is added to the batch."""
        stored = self.maps[image]
        scored = prepare_map(stored, self.maps.describe(image), normalize=self.options.normalize)
        batch.digests += _digest(stored)
        batch.resized += scored.was_resized
        batch.constant += scored.is_constant
        if self.masks is not None:
            truth = read_pixel_truth(self.masks[image], SIDE)
            pixels = count_pixels(scored.values, truth, bin_edges(self.thresholds))
            batch.pixels = pixels if batch.pixels is None else batch.pixels + pixels
        boxes = boxes_at(scored.values, self.thresholds, self.options.contours)
        batch.blank += boxes.is_blank
        return boxes

    def _hits(self, images: range, made: Sequence[MapBoxes]) -> dict[str, np.ndarray]:
        """Which images are right at each threshold: protocol name -> (C, K, n, T) booleans."""
        chosen = np.arange(images.start, images.stop)
        counts = np.array([len(each.boxes) for each in made])
        table = BoxTable.from_counts(
            counts, np.concatenate([each.boxes for each in made]).astype(np.float64)
        ).given_in(FRAME, self.sizes[chosen])
        truth, sizes = self.truth.take(chosen), self.sizes[chosen]
        sets = np.concatenate([each.counts for each in made])
        starts = np.cumsum(sets) - sets
        first_set = np.cumsum([0, *(len(each.counts) for each in made[:-1])])
        index = first_set[:, None] + np.stack([each.index for each in made])  # (n, T)
        hits = {}
        for protocol in self.protocols:
            iou = box_ious(truth, table, sizes, protocol)  # (B,)
            of_sets = {"largest": iou[starts], "any": np.maximum.reduceat(iou, starts)}
            hits[protocol.name] = np.array(
                [
                    [
                        passes(of_sets[choice], t, protocol.strict)[index]
                        for choice in self.options.choices
                    ]
                    for t in protocol.thresholds
                ]
            )
        return hits


def _digest(stored: np.ndarray) -> bytes:
    digest = hashlib.sha256(f"{stored.dtype.str} {stored.shape}".encode())
    digest.update(np.ascontiguousarray(stored).tobytes())
    return digest.digest()


class _Sums:
    """How many images of each class (or of all) are right, and so the accuracy.

    Args:
        images: indices of the images that the protocol scores.
        shape: K and T.
    """

    def __init__(
        self, data_set: DataSet, protocol: EvalProtocol, images: np.ndarray, shape: tuple[int, int]
    ) -> None:
        class_ids = np.zeros(len(data_set), dtype=np.int64)
        if protocol.average == "class":
            class_ids = data_set.class_ids
        self.group = np.full(len(data_set), -1)
        names, self.group[images] = np.unique(class_ids[images], return_inverse=True)
        self.sizes = np.bincount(self.group[images], minlength=len(names))
        self.right = np.zeros((len(names), len(protocol.thresholds), *shape), dtype=np.int64)

    def add(self, images: range, hits: np.ndarray) -> None:
        """Count hits (C, K, n, T) of some images."""
        group = self.group[images.start : images.stop]
        for name in np.unique(group[group >= 0]):
            self.right[name] += hits[:, :, group == name].sum(2)

    def accuracy(self) -> np.ndarray:
        """Per cent (C, K, T), averaged as the protocol says."""
        each: np.ndarray = 100 * self.right / self.sizes[:, None, None, None]
        return each.mean(0)
