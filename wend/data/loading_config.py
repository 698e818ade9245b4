"""The entries ``WEND.DATA.*``: what to do about bad images, and the cache of resized ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ON_BAD_IMAGE = ("raise", "skip")
ON_BAD_TEST_IMAGE = ("raise", "wrong")


class LoadingEntry(NamedTuple):
    """One entry: its name below ``WEND.DATA``, default, meaning, and the values it may have."""

    name: str
    default: Any
    meaning: str
    expected: str
    holds: Callable[[Any], bool]


ENTRIES = (
    LoadingEntry(
        "ON_BAD_IMAGE",
        "raise",
        'A training image that cannot be read: "raise" ends the run, "skip" takes the next image '
        "instead, counts and names it, up to MAX_BAD_SHARE.",
        f"one of {ON_BAD_IMAGE}",
        ON_BAD_IMAGE.__contains__,
    ),
    LoadingEntry(
        "MAX_BAD_SHARE",
        0.001,
        'Share of the training images that "skip" may skip; more end the run.',
        "in [0, 1]",
        lambda x: 0 <= x <= 1,
    ),
    LoadingEntry(
        "QUARANTINE",
        "",
        "File of training images to leave out: of `wend data check`, or a key or path a line.",
        "an existing file, or nothing",
        lambda x: not x or Path(x).is_file(),
    ),
    LoadingEntry(
        "ON_BAD_TEST_IMAGE",
        "raise",
        'A test image that cannot be read: "raise" ends the run, "wrong" counts it as an image '
        "without detections. It is never left out.",
        f"one of {ON_BAD_TEST_IMAGE}",
        ON_BAD_TEST_IMAGE.__contains__,
    ),
    LoadingEntry(
        "CACHE",
        "",
        "Folder of images squashed to RESIZE², filled at first use or by `wend data cache`; "
        "empty: none.",
        "a folder, or a path where one can be made",
        lambda x: not x or not Path(x).exists() or Path(x).is_dir(),
    ),
)
