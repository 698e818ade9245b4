"""Figures of score maps: accuracy over the map's threshold, precision over recall."""

from __future__ import annotations

from pathlib import Path

from wend.evaluation.map_scores import MapScores
from wend.evaluation.pixel_precision import PixelCurve
from wend.reports.figures import COLORS, MARKERS, load_pyplot, save_figure
from wend.reports.roles import BLUE

STYLES = {"largest": "-", "any": "--"}  # of lines, by the contour that counts


def draw_map_curve(maps: MapScores, path: str | Path) -> None:
    """Plot the share of right images over the map's threshold: a line per IoU and contour."""
    figure, axes = load_pyplot().subplots(figsize=(7, 6), layout="constrained")
    sweep, number = maps.sweep, 0
    for name, accuracy in sweep.accuracy.items():
        for iou, of_iou in zip(sweep.protocols[name].thresholds, accuracy, strict=True):
            for choice, values in zip(sweep.options.choices, of_iou, strict=True):
                label = f"{name}, IoU {iou:g}, {choice} contour: {values.max():.2f}"
                axes.plot(
                    *(sweep.options.thresholds, values, STYLES[choice]),
                    color=COLORS[number % len(COLORS)],
                    marker=MARKERS[number % len(MARKERS)],
                    markevery=0.1,
                    markersize=5,
                    label=label,
                )
            number += 1
    axes.axvline(maps.threshold, color="0.5", linewidth=1, label=f"boxes at {maps.threshold:g}")
    axes.set(
        xlabel="threshold, share of a map's largest value",
        ylabel="images that are right (%)",
        xlim=(0, 1),
        ylim=(0, 100),
    )
    axes.grid(alpha=0.3)
    figure.legend(fontsize="small", loc="outside lower center", ncols=2)
    save_figure(figure, path)


def draw_pixel_curve(curve: PixelCurve, path: str | Path) -> None:
    """Plot precision over recall of the masks' pixels."""
    figure, axes = load_pyplot().subplots(figsize=(5, 4.5), layout="constrained")
    axes.plot(100 * curve.recall, 100 * curve.precision, color=BLUE)
    axes.set(
        title=f"PxAP {curve.average_precision:.2f}",
        xlabel="recall of pixels (%)",
        ylabel="precision of pixels (%)",
        xlim=(0, 100),
        ylim=(0, 100),
    )
    axes.grid(alpha=0.3)
    save_figure(figure, path)
