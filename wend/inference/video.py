"""Videos and cameras by OpenCV: frames in, frames with boxes out."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from wend.errors import InputError, MissingFileError
from wend.files import expand_user
from wend.images.opening import check_pixels
from wend.structures.records import MAX_MEGAPIXELS

DEFAULT_RATE = 30.0  # frames a second where the file or the camera states none
MEASURED = 10  # frames of a camera, by which its rate is measured
CODEC = "mp4v"  # MPEG-4 part 2, which every OpenCV writes


class Video:
    """Frames of a video file or a camera, as RGB pixels; use it in a ``with`` block.

    Args:
        source: a file, or the number of a camera.
        max_megapixels: one whose frames have more pixels, in millions, is refused.

    Attributes:
        name: the file's name without its ending, or ``camera N``.
        rate: frames a second.
        expected: how many frames the file says that it has; 0 where it does not, or of a camera.

    Raises:
        InputError: it cannot be opened.
        BadImageError: its frames are too large.
    """

    def __init__(
        self, source: str | os.PathLike | int, max_megapixels: float = MAX_MEGAPIXELS
    ) -> None:
        self.is_camera = isinstance(source, int)
        if isinstance(source, int):
            self.name = f"camera {source}"
            self._capture = _open(source)
            if not self._capture.isOpened():
                raise InputError(
                    f"there is no camera {source} that can be opened; name another number, or a "
                    f"video file"
                )
        else:
            path = expand_user(source)
            if not path.is_file():
                raise MissingFileError(f"{path}: there is no such video file")
            self.name = path.stem
            self._capture = _open(str(path))
            if not self._capture.isOpened():
                raise InputError(f"{path}: cannot be read as a video by OpenCV; is it damaged?")
        size = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        width, height = (int(self._capture.get(each)) for each in size)
        check_pixels(self.name, (width, height), max_megapixels)
        stated = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = float(stated) if 0 < stated <= 1000 else DEFAULT_RATE
        count = 0 if self.is_camera else int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.expected = max(count, 0)

    def __iter__(self) -> Iterator[np.ndarray]:
        """The frames (height, width, 3) uint8, RGB, in order; turned as the file says."""
        while True:
            there, frame = self._capture.read()
            if not there:
                return
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)

    def __enter__(self) -> Video:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._capture.release()


_SILENT = 0  # cv2.utils.logging.LOG_LEVEL_SILENT


def _open(source: int | str) -> cv2.VideoCapture:
    """OpenCV's reader, which does not say itself what is wrong: the error does."""
    messages: Any = getattr(cv2.utils, "logging", cv2)  # where OpenCV 5, and early 4, have it
    level = messages.getLogLevel()
    messages.setLogLevel(_SILENT)
    try:
        return cv2.VideoCapture(source)
    finally:
        messages.setLogLevel(level)


def read_frames(source: str | os.PathLike | int) -> Iterator[np.ndarray]:
    """The frames of a video file or a camera; see :class:`Video`.

    Raises:
        InputError: it cannot be opened, or holds no frame.
    """
    with Video(source) as video:
        number = 0
        for frame in video:
            yield frame
            number += 1
    if not number:
        raise InputError(f"{source}: OpenCV reads no frame of it; is it damaged?")


class VideoWriter:
    """The frames of a video, drawn into, as ``<name>.mp4``; use it in a ``with`` block.

    Args:
        folder: where the file goes.
        video: the video that the frames are of. A camera's rate is the one at which the first
            frames come.
    """

    def __init__(self, folder: Path, video: Video) -> None:
        self.path = folder / f"{video.name}.mp4"
        self._rate = None if video.is_camera else video.rate
        self._writer: cv2.VideoWriter | None = None
        self._waiting: list[np.ndarray] = []
        self._start = 0.0

    def add(self, frame: np.ndarray) -> None:
        """Add a frame (height, width, 3) uint8, RGB; all have the size of the first.

        Raises:
            InputError: OpenCV cannot write the file.
        """
        self._start = self._start or time.monotonic()
        self._waiting.append(frame)
        if self._rate is None and len(self._waiting) == MEASURED:
            self._rate = (MEASURED - 1) / max(time.monotonic() - self._start, 1e-3)
        if self._rate is not None:
            self._write()

    def _write(self) -> None:
        for frame in self._waiting:
            if self._writer is None:
                self._writer = self._open(frame)
            self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        self._waiting = []

    def _open(self, frame: np.ndarray) -> cv2.VideoWriter:
        height, width = frame.shape[:2]
        code = cv2.VideoWriter.fourcc(*CODEC)
        rate = self._rate or DEFAULT_RATE
        writer = cv2.VideoWriter(str(self.path), code, rate, (width, height))
        if not writer.isOpened():
            raise InputError(f"{self.path}: OpenCV cannot write this video ({width}x{height})")
        return writer

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._write()
        if self._writer is not None:
            self._writer.release()
