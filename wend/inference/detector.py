"""A trained detector that predicts on any images."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, overload

import numpy as np
from PIL import Image

from wend.errors import BadImageError, InputError, some
from wend.files import is_number
from wend.inference.detections import Detections
from wend.inference.inputs import (
    ImageInput,
    Images,
    each_image,
    is_single,
    read_rgb,
)
from wend.loading.crop import CropMapper, Sample
from wend.structures.box_table import BoxTable

if TYPE_CHECKING:
    from fvcore.common.config import CfgNode

    from wend.inference.checkpoint import Checkpoint

OnBad = str | Callable[[BadImageError], None]
MOST_READERS = 8  # threads
logger = logging.getLogger(__name__)


class Model(Protocol):
    """What a detector runs: of either engine, or an exported file.

    Attributes:
        cfg: its config.
        mapper: makes its crops of images.
    """

    cfg: CfgNode
    mapper: CropMapper

    def predict(self, samples: Sequence[Sample]) -> BoxTable:
        """The boxes of the samples, float64, xyxy in original pixels, and their scores."""
        ...


class Detector:
    """A trained detector; :func:`wend.load` makes it.

    Args:
        model: predicts on crops.
        exif: how files with an EXIF orientation are read: "ignore" or "apply".
        checkpoint: the file that its weights are of; None where they are of an exported file.
        exported: that file.
        engine: the engine that runs it.

    Attributes:
        model, exif, checkpoint, exported, engine: as above.
    """

    def __init__(
        self,
        model: Model,
        exif: str,
        *,
        checkpoint: Checkpoint | None = None,
        exported: Path | None = None,
        engine: str = "",
    ) -> None:
        self.model, self.exif = model, exif
        self.checkpoint, self.exported, self.engine = checkpoint, exported, engine

    def __repr__(self) -> str:
        name = self.cfg.MODEL.META_ARCHITECTURE
        source = "" if self.file is None else f" of {self.file}"
        return f"<wend.Detector {name}{source}, {self.engine}, {self.cfg.MODEL.DEVICE}>"

    @property
    def file(self) -> Path | None:
        """The file that its weights are of: a checkpoint, or an exported file."""
        return self.exported if self.checkpoint is None else self.checkpoint.weights

    @property
    def max_megapixels(self) -> float:
        """Files that state more pixels, in millions, are not decoded."""
        return self.model.mapper.max_megapixels

    @property
    def cfg(self) -> CfgNode:
        """The config; a change to it changes nothing here."""
        return self.model.cfg

    @overload  # of the first that fits: an array is an iterable, too
    def __call__(  # type: ignore[overload-overlap]
        self,
        images: np.ndarray | Image.Image,
        batch_size: int | None = None,
        max_boxes: int | None = None,
        min_score: float | None = None,
        on_bad: OnBad = "raise",
    ) -> Detections: ...

    @overload
    def __call__(
        self,
        images: Iterable[ImageInput],
        batch_size: int | None = None,
        max_boxes: int | None = None,
        min_score: float | None = None,
        on_bad: OnBad = "raise",
    ) -> Iterator[Detections]: ...

    @overload
    def __call__(
        self,
        images: Images,
        batch_size: int | None = None,
        max_boxes: int | None = None,
        min_score: float | None = None,
        on_bad: OnBad = "raise",
    ) -> Any: ...

    def __call__(
        self,
        images: Images,
        batch_size: int | None = None,
        max_boxes: int | None = None,
        min_score: float | None = None,
        on_bad: OnBad = "raise",
    ) -> Detections | Iterator[Detections]:
        """Predict boxes.

        Boxes are the same to the last bit as an evaluation's whose batches are the same: leave
        ``batch_size`` out, and give its images in its order.

        Args:
            images: one image (the path of a file, an array, a PIL image), or many: a folder, a
                pattern such as ``photos/*.jpg``, a video, a list or any iterable of these, mixed.
                What arrays may be: :func:`wend.inference.inputs.read_rgb`.
            batch_size: images at a time; by default the config's WEND.TEST_BATCH.
            max_boxes: at most so many boxes of each image, the best; by default all, which are at
                most the config's TEST.DETECTIONS_PER_IMAGE.
            min_score: boxes that score less are left out; by default none.
            on_bad: a file that cannot be read is an error ("raise"), is left out and named in the
                log ("skip"), or is handed to a function of yours and left out.

        Returns:
            :class:`Detections` of one image; of many an iterator over those of each, in order.

        Raises:
            InputError: names the image or the argument that is wrong.
            BadImageError: names the file that cannot be read.
        """
        size = self.cfg.WEND.TEST_BATCH if batch_size is None else batch_size
        _check_whole("batch_size", size)
        if max_boxes is not None:
            _check_whole("max_boxes", max_boxes)
        if isinstance(min_score, np.floating | np.integer):
            min_score = float(min_score)
        if min_score is not None and not is_number(min_score):
            raise InputError(f"min_score: expected a finite number, got {min_score!r}")
        if not (callable(on_bad) or on_bad in ("raise", "skip")):
            raise InputError(f"on_bad: expected raise, skip or a function, got {on_bad!r}")
        if is_single(images):
            return next(self._predict(each_image(images), 1, max_boxes, min_score, "raise"))
        return self._predict(each_image(images), size, max_boxes, min_score, on_bad)

    def _predict(
        self,
        images: Iterator[ImageInput],
        batch_size: int,
        max_boxes: int | None,
        min_score: float | None,
        on_bad: OnBad,
    ) -> Iterator[Detections]:
        bad: list[BadImageError] = []
        tell = on_bad if callable(on_bad) else bad.append
        read = self._read_all(images, 2 * batch_size)
        batch: list[tuple[int, ImageInput, Sample]] = []
        for index, image, sample in read:
            if isinstance(sample, Sample):
                batch.append((index, image, sample))
            elif on_bad == "raise":
                raise sample
            else:
                tell(sample)
            if len(batch) == batch_size:
                yield from self._of_batch(batch, max_boxes, min_score)
                batch = []
        if batch:
            yield from self._of_batch(batch, max_boxes, min_score)
        if bad:
            logger.warning(
                "%d images could not be read and are left out: %s", len(bad), some(bad, 10)
            )

    def _of_batch(
        self,
        batch: Sequence[tuple[int, ImageInput, Sample]],
        max_boxes: int | None,
        min_score: float | None,
    ) -> Iterator[Detections]:
        table = self.model.predict([sample for _, _, sample in batch])
        for place, (index, image, sample) in enumerate(batch):
            boxes, scores = table[place], table.scores_of(place)
            order = np.argsort(-scores, kind="stable")
            detections = Detections(
                *(boxes[order], scores[order], image, sample.size, index),
                *(self.exif, self.max_megapixels),
            )
            if min_score is not None:
                detections = detections.above(min_score)
            yield detections[:max_boxes]

    def _read_all(
        self, images: Iterator[ImageInput], ahead: int
    ) -> Iterator[tuple[int, ImageInput, Sample | BadImageError]]:
        """The crops of images in order, read in threads, ``ahead`` and more before they are needed.

        An image that cannot be read is its error.
        """
        workers = min(os.cpu_count() or 1, MOST_READERS)
        waiting: deque[tuple[int, ImageInput, Future[Sample | BadImageError]]] = deque()
        pool = ThreadPoolExecutor(workers)
        try:
            for index, image in enumerate(images):
                waiting.append((index, image, pool.submit(self._read, image, index)))
                if len(waiting) >= ahead + workers:
                    index, image, future = waiting.popleft()
                    yield index, image, future.result()
            while waiting:
                index, image, future = waiting.popleft()
                yield index, image, future.result()
        finally:
            # not waited for: the garbage collector may close this in a thread that just starts, and
            # joining another thread there waits for a lock of that very thread
            pool.shutdown(wait=False, cancel_futures=True)

    def _read(self, image: ImageInput, index: int) -> Sample | BadImageError:
        try:
            pixels = read_rgb(image, self.exif, self.max_megapixels, f"image {index}")
            return self.model.mapper.of_image(pixels)
        except BadImageError as error:
            return error


def _check_whole(name: str, value: object) -> None:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= 1
    if not whole:
        raise InputError(f"{name}: expected a whole number >= 1, got {value!r}")
