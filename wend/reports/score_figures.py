"""Figures of an evaluation: recall at K beside fixed boxes, and the IoU of the best boxes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wend.evaluation.metrics import accuracy
from wend.evaluation.numbers import iou_histogram, recall_curve
from wend.evaluation.per_image import PerImage
from wend.evaluation.scoring import ProtocolScores
from wend.reports.figures import (
    GREY,
    SKY,
    label_all,
    legend_above,
    panels,
    save_figure,
)
from wend.reports.roles import BLACK, BLUE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RECALL_FIGURE = "recall"
IOU_FIGURE = "iou_histogram"
MOST_BOXES = 100  # the recall figure's last K
MARKED = np.array([1, 2, 3, 5, 10, 20, 30, 50, 100])  # K with a marker


def draw_score_figures(
    folder: str | Path, scores: Mapping[str, ProtocolScores], of: str = ""
) -> list[Path]:
    """Write both figures; returns their files.

    Args:
        of: what they are of, for the files' names, where a folder has several: ``recall_<of>.png``.
    """
    ending = f"_{of}.png" if of else ".png"
    paths = [Path(folder) / f"{name}{ending}" for name in (RECALL_FIGURE, IOU_FIGURE)]
    save_figure(recall_figure(scores), paths[0])
    save_figure(iou_figure(scores), paths[1])
    return paths


def recall_figure(scores: Mapping[str, ProtocolScores]) -> Figure:
    """GT-known Loc of the K best boxes over K, with that of K fixed boxes: a panel a protocol.

    K goes as far as any image has boxes, at most 100; the fixed boxes', as the largest K asked for.
    """
    figure, axes = panels(len(scores))
    last = 1
    for each, (name, result) in zip(axes, scores.items(), strict=True):
        sources = {"detections": (result.per_image, BLUE, "o", "-")}
        if result.fixed is not None:
            sources["fixed boxes"] = (result.fixed, BLACK, "s", "--")
        firsts = []
        for label, (per_image, *style) in sources.items():
            curve = _plot_recall(each, per_image, label, *style)
            firsts.append(f"{label} {curve[0]:.1f}")
            last = max(last, len(curve))
        each.set_title(f"{name}\nK = 1: {', '.join(firsts)}", fontsize="small")
    axes[0].set(xscale="log", xlim=(0.9, max(last, 2) * 1.15), ylim=(0, 103))
    ticks = [k for k in (1, 2, 5, 10, 20, 50, 100) if k <= last]
    axes[0].set_xticks(ticks, [str(k) for k in ticks])
    axes[0].minorticks_off()
    label_all(figure, "K, boxes per image, best first", "images with a right box among K (%)")
    legend_above(figure)
    return figure


def _plot_recall(
    axes: Axes, per_image: PerImage, label: str, color: str, marker: str, stroke: str
) -> np.ndarray:
    most = max(1, min(int(per_image.num_boxes.max()), MOST_BOXES))
    curve = recall_curve(per_image, most)
    axes.plot(
        *(np.arange(1, most + 1), curve, stroke),
        color=color,
        marker=marker,
        markevery=(MARKED[most >= MARKED] - 1).tolist(),
        markersize=5,
        label=label,
    )
    return curve


def iou_figure(scores: Mapping[str, ProtocolScores]) -> Figure:
    """How good the best boxes are: a panel a protocol, bars right of its threshold are hits.

    An image without boxes is in the first bar. The fixed boxes' first is drawn as an outline.
    """
    figure, axes = panels(len(scores))
    for each, (name, result) in zip(axes, scores.items(), strict=True):
        _plot_histogram(each, result)
        rates = f"GT-known Loc {accuracy(result.per_image, 'gt_known_loc'):.1f}"
        if result.fixed is not None:
            rates += f", of a fixed box {accuracy(result.fixed, 'gt_known_loc'):.1f}"
        each.set_title(f"{name}\n{rates}", fontsize="small")
    axes[0].set_xlim(0, 1)
    label_all(figure, "IoU of the best-scoring box with the truth", "images (%)")
    legend_above(figure)
    return figure


def _plot_histogram(axes: Axes, result: ProtocolScores) -> None:
    per_image = result.per_image
    numbers, edges = iou_histogram(per_image)
    shares = 100 * numbers / len(per_image)
    thresholds = per_image.protocol.thresholds
    middle = (edges[:-1] + edges[1:]) / 2
    right = middle > max(thresholds)
    wrong = middle < min(thresholds)
    between = ~right & ~wrong
    groups = ((wrong, GREY, "//", "misses"), (between, SKY, "..", "hits of some thresholds"))
    for rows, color, hatch, label in (*groups, (right, BLUE, "", "hits")):
        if rows.any():
            axes.bar(
                *(middle[rows], shares[rows]),
                width=edges[1] - edges[0],
                color=color,
                edgecolor="white",
                linewidth=0.5,
                hatch=hatch,
                label=label,
            )
    if result.fixed is not None:
        fixed = 100 * iou_histogram(result.fixed)[0] / len(result.fixed)
        axes.stairs(fixed, edges, color=BLACK, linewidth=1.4, label="a fixed box")
    for threshold in thresholds:
        axes.axvline(threshold, color=BLACK, linestyle=":", linewidth=1, label="threshold")
