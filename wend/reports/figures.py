"""Figures by Matplotlib, which is imported only where something is drawn, and how they look.

Colours are those of Okabe and Ito (2008), which colour-blind people tell apart; lines differ in
stroke and marker as well, so that a figure can be printed in grey.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from wend.files import atomic_write
from wend.reports.roles import BLACK, BLUE, VERMILLION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ORANGE, GREEN, PURPLE, SKY, GREY = "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#767676"
COLORS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
STROKES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
PANEL = (3.6, 2.9)  # inches of a panel


def load_pyplot() -> ModuleType:
    """``matplotlib.pyplot``, set to draw without a screen."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def line_style(number: int) -> dict[str, Any]:
    """Colour, stroke and marker of the line of a number from 0; the first 84 differ."""
    return {
        "color": COLORS[number % len(COLORS)],
        "linestyle": STROKES[number % len(STROKES)],
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 5,
    }


def label_text(text: str) -> str:
    """A name of the user's as Matplotlib shows it: no formula, not hidden, only what is text."""
    text = text.encode("utf-8", "replace").decode().replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def panels(number: int, most_columns: int = 3) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels, side by side and then below, which share their axes."""
    columns = min(number, most_columns)
    rows = -(-number // columns)
    size = (PANEL[0] * columns + 1.0 * (columns == 1), PANEL[1] * rows + 0.4)
    figure, grid = load_pyplot().subplots(
        *(rows, columns),
        figsize=size,
        layout="constrained",
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    axes: Sequence[Axes] = grid.ravel()
    for unused in axes[number:]:
        unused.remove()
    for i, each in enumerate(axes[:number]):
        each.grid(alpha=0.25, linewidth=0.6)
        each.set_axisbelow(True)
        each.spines[["top", "right"]].set_visible(False)
        if i + columns >= number:  # the last of its column: what is below was removed
            each.xaxis.set_tick_params(labelbottom=True)
    return figure, list(axes[:number])


def label_all(figure: Figure, x: str, y: str) -> None:
    """Name the axes that all panels share."""
    figure.supxlabel(x, fontsize="medium")
    figure.supylabel(y, fontsize="medium")


def legend_above(figure: Figure, title: str | None = None) -> None:
    """One legend of all that the panels show, where it covers nothing."""
    entries: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    inches = 0.7 + 0.08 * max(map(len, entries), default=0)  # of an entry, about
    columns = min(len(entries), max(1, int(figure.get_figwidth() / inches)))
    figure.legend(
        *(list(entries.values()), list(entries)),
        loc="outside upper center",
        ncols=columns,
        fontsize="small",
        frameon=False,
        title=title,
        title_fontsize="small",
    )


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as a whole PNG file and close it."""
    with atomic_write(path, "wb") as file:
        figure.savefig(file, dpi=120, format="png")
    load_pyplot().close(figure)


def svg_text(figure: Figure, name: str) -> str:
    """A figure as an ``<svg>`` element of a page, in the page's font, and close it.

    Args:
        name: letters and digits, another for each figure of a page: its ids begin so.
    """
    import matplotlib

    written = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "wend"}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(written, format="svg", transparent=True, metadata=nothing)
    load_pyplot().close(figure)
    text = written.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    text = re.sub(r"""(font: [^"]*?px) [^;"]*""", r"\1 var(--font)", text)
    return re.sub(r"""( id="|url\(#|href="#)""", rf"\1{name}-", text)
