"""The pictures of ``wend boxes report``: histograms, and boxes on sample images."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wend.errors import BadImageError
from wend.reports.draw import draw_sheet, spread
from wend.reports.figures import COLORS, load_pyplot, panels, save_figure
from wend.reports.roles import OTHER, PSEUDO, TRUTH
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)


def draw_histograms(path: str | Path, histograms: Mapping[str, Mapping[str, list]]) -> None:
    """Write a PNG with one panel for each histogram.

    Args:
        histograms: title -> ``edges`` (n + 1,) and ``numbers`` (n,).
    """
    size = (3.2 * len(histograms), 2.8)
    figure, grid = load_pyplot().subplots(1, len(histograms), figsize=size, layout="constrained")
    for axes, (title, values) in zip(np.atleast_1d(grid), histograms.items(), strict=True):
        _plot_histogram(axes, title, values)
    save_figure(figure, path)


def histogram_figure(title: str, values: Mapping[str, list]) -> Figure:
    """One histogram, for a page; arguments as of :func:`draw_histograms`."""
    figure, (axes,) = panels(1)
    _plot_histogram(axes, title, values)
    return figure


def _plot_histogram(axes: Axes, title: str, values: Mapping[str, list]) -> None:
    axes.stairs(values["numbers"], values["edges"], fill=True, color=COLORS[0])
    axes.set(xlabel=title, ylabel="number")
    if title == "width / height":
        axes.set_xscale("log", base=2)


def draw_samples(
    path: str | Path,
    data_set: DataSet,
    sources: Sequence[tuple[str, BoxTable]],
    num_images: int,
) -> bool:
    """Write one PNG with images spread evenly over those that have a box.

    Args:
        sources: one or two names with their boxes of the data set's images, best first; images with
            a box of the first are shown.

    Returns:
        Whether it was written; not where an image is not there or cannot be read.
    """
    (_, first), *others = sources
    held = first.with_boxes
    picks = spread(held, num_images)
    files = [data_set.file_names[i] for i in picks]
    absent = [file for file in files if not Path(file).is_file()]
    if absent or not len(picks):
        logger.warning(
            "no sample pictures: %d of %d images are not there (%s)",
            len(absent),
            len(picks),
            absent[0] if absent else "none was asked for",
        )
        return False
    shown = data_set.take(picks).with_pseudo_boxes(first.take(picks))
    other = others[0][1] if others else BoxTable.empty(len(data_set))
    detections = other.take(picks)
    roles = zip((PSEUDO, OTHER), sources, strict=False)
    legend = [(TRUTH, TRUTH.title), *((role, name[-40:]) for role, (name, _) in roles)]
    try:
        draw_sheet(path, shown, detections, num_images=len(shown), legend=legend)
    except BadImageError as error:
        logger.warning("no %s: %s", Path(path).name, error)
        return False
    return True
