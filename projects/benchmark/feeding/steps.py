"""The loader's share of a training step on one core of a CPU, from the cache."""

from __future__ import annotations

import sys
from pathlib import Path

from loader import batches
from timing import seconds_each, table

from wend.loading.image_cache import ImageCache
from wend.loading.selection import Selection

sys.path.append(str(Path(__file__).resolve().parents[1] / "cost"))

import measure
import models

MODELS = ("SCR", "BCD-FCOS lean")


def share(images: Selection, cache: ImageCache, batch: int, rounds: int) -> str:
    """Milliseconds of processor time per image of a step, and of its loader without workers."""
    how = measure.How("cpu", clock="processor")
    loader = iter(batches(images, cache, batch, 0))
    next(loader)
    feeding = seconds_each({"": lambda _: next(loader)}, [0] * 20, rounds)[""] / batch
    rows = []
    for name in MODELS:
        subject = models.build(name, models.Sizes(batch, 1), "cpu")
        measure.train_step(subject, how)
        steps = (
            measure.seconds(lambda subject=subject: measure.train_step(subject, how), how)
            for _ in range(rounds)
        )
        step = min(steps) / batch
        part = 100 * feeding / (feeding + step)
        rows.append([name, f"{1e3 * step:.1f}", f"{1e3 * feeding:.2f}", f"{part:.1f} %"])
    head = (f"model, batch {batch}", "step, ms per image", "loader", "its share of both")
    return table(head, rows)
