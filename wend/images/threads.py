"""Reading many small files at once, in threads, in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
R = TypeVar("R")
CHUNK = 256  # files per task: a million tasks would cost a gigabyte


def map_in_threads(
    function: Callable[[T], R],
    items: Sequence[T],
    task: str,
    unit: str = "file",
    workers: int | None = None,
) -> Iterator[R]:
    """``map(function, items)`` in threads, in order, with a progress bar; the first error ends it.

    Args:
        task: what is being done, for the bar.
        workers: threads; by default more than there are cores, since files are waited for.
    """
    chunks = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
    workers = workers or min(32, 4 * (os.cpu_count() or 1))
    bar = tqdm(total=len(items), desc=task, unit=unit, leave=False, disable=None)
    pool = ThreadPoolExecutor(workers)
    try:
        for results in pool.map(lambda chunk: [function(item) for item in chunk], chunks):
            bar.update(len(results))
            yield from results
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # as in wend.inference.detector
        bar.close()
