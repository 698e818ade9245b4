"""How far work on many images is: a bar on a terminal, and in a log a line now and then."""

from __future__ import annotations

import logging
import time

from tqdm import tqdm

SECONDS = 30.0  # between two lines of a log
logger = logging.getLogger(__name__)


class Progress:
    """The progress of some work.

    Args:
        doing: the work in words, before the numbers.
        total: number of images.
        initial: how many of them were done before.
    """

    def __init__(self, doing: str, total: int, initial: int = 0) -> None:
        self._bar = tqdm(total=total, initial=initial, desc=doing, unit="image", disable=None)
        self._doing, self._total, self._done = doing, total, initial
        self._initial, self._began = initial, time.monotonic()
        self._said = self._began

    def update(self, number: int) -> None:
        """Count images as done."""
        self._done += number
        self._bar.update(number)
        now = time.monotonic()
        if self._bar.disable and number and now - self._said >= SECONDS:
            self._said = now
            rate = (self._done - self._initial) / (now - self._began)
            left = tqdm.format_interval((self._total - self._done) / rate)
            logger.info(
                "%s: %d of %d images, %.1f images/s, %s left",
                *(self._doing, self._done, self._total, rate, left),
            )

    def close(self) -> None:
        """End the bar."""
        self._bar.close()
