"""The pictures of ``wend boxes report``: histograms, and boxes on sample images."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wend.files import atomic_write
from wend.structures.box_table import BoxTable
from wend.structures.records import ImageRecord

if TYPE_CHECKING:
    from wend.reports.boxes_numbers import Boxes

logger = logging.getLogger(__name__)


def draw_histograms(path: str | Path, histograms: Mapping[str, Mapping[str, list]]) -> None:
    """Write a PNG with one panel for each histogram.

    Args:
        histograms: title -> ``edges`` (n + 1,) and ``numbers`` (n,).
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    size = (3.2 * len(histograms), 2.8)
    figure, panels = plt.subplots(1, len(histograms), figsize=size, layout="constrained")
    for axes, (title, of) in zip(np.atleast_1d(panels), histograms.items(), strict=True):
        axes.stairs(of["numbers"], of["edges"], fill=True, alpha=0.7)
        axes.set(xlabel=title, ylabel="number")
        if title == "width / height":
            axes.set_xscale("log", base=2)
    with atomic_write(path, "wb") as file:
        figure.savefig(file, dpi=120, format="png")
    plt.close(figure)


def draw_samples(
    path: str | Path,
    records: Sequence[ImageRecord],
    boxes: Boxes,
    other: Boxes | None,
    num_images: int,
) -> bool:
    """Write one PNG with images spread evenly over those that have a box.

    Returns:
        Whether it was written; not where the images themselves are not there.
    """
    from wend.reports.draw import BLUE, GREEN, RED, draw_sheet

    held = np.flatnonzero(boxes.num)
    picks = held[np.linspace(0, len(held) - 1, min(num_images, len(held))).round().astype(int)]
    absent = [r.file_name for r in (records[i] for i in picks) if not Path(r.file_name).is_file()]
    if absent or not len(picks):
        logger.warning(
            "no sample pictures: %d of %d images are not there (%s)",
            len(absent),
            len(picks),
            absent[0] if absent else "none was asked for",
        )
        return False
    shown = [replace(records[i], pseudo_boxes=boxes.of(i)) for i in picks]
    others = [np.zeros((0, 4)) if other is None else other.of(i) for i in picks]
    detections = BoxTable.from_lists(others)
    legend = [("truth", RED), (boxes.name[-40:], BLUE)]
    if other is not None:
        legend.append((other.name[-40:], GREEN))
    draw_sheet(path, shown, detections, num_images=len(shown), legend=legend)
    return True
