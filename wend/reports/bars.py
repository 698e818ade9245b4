"""Histograms as SVG, drawn without Matplotlib, whose import takes longer than a small run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wend.reports.page import Figure
from wend.reports.roles import BLUE

WIDTH, HEIGHT, LEFT, TOP, BELOW = 320, 150, 34, 10, 22  # of the picture, and around the bars
INK, GRID = "#5a5f69", "#d8dbe0"


def histogram(title: str, values: np.ndarray, edges: np.ndarray, ticks: Sequence[float]) -> Figure:
    """How many of some values lie between each two edges.

    Args:
        title: what the values are, with what is counted.
        values: (N,); those beyond the edges count in the outermost bars.
        edges: (n + 1,), rising.
        ticks: the values that are named below the bars.
    """
    numbers = np.histogram(values.clip(edges[0], edges[-1]), edges)[0]
    most = max(1, int(numbers.max()))
    across = (WIDTH - LEFT - 8) / (edges[-1] - edges[0])
    base = HEIGHT - BELOW
    parts = [_line(base, INK), _line(TOP, GRID)]
    for number, low, high in zip(numbers.tolist(), edges[:-1], edges[1:], strict=True):
        x, width = LEFT + (low - edges[0]) * across, (high - low) * across
        tall = (base - TOP) * number / most
        if number:
            parts.append(
                f'<rect x="{x + 0.5:.1f}" y="{base - tall:.1f}" width="{width - 1:.1f}" '
                f'height="{tall:.1f}" fill="{BLUE}"><title>{low:g} to {high:g}: {number}</title>'
                f"</rect>"
            )
    parts += [_text(LEFT - 5, TOP + 4, f"{most:,}", "end"), _text(LEFT - 5, base, "0", "end")]
    for tick in ticks:
        x = LEFT + (tick - edges[0]) * across
        parts.append(_text(x, HEIGHT - 6, f"{tick:g}", "middle"))
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">'
        f"{''.join(parts)}</svg>"
    )
    middle = f"median {np.median(values):.3g}" if len(values) else "no value"
    return Figure(title, svg, f"{title}: {len(values)} values, {middle}.")


def _line(y: float, color: str) -> str:
    return f'<path d="M{LEFT} {y}H{WIDTH - 8}" stroke="{color}" fill="none"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    font = 'font-family="var(--font)" font-size="11"'
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{INK}" {font}>{text}</text>'
