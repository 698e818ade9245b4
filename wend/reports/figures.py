"""Figures by Matplotlib, which is imported only where something is drawn."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from wend.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def load_pyplot() -> ModuleType:
    """``matplotlib.pyplot``, set to draw without a screen."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as a whole PNG file and close it."""
    with atomic_write(path, "wb") as file:
        figure.savefig(file, dpi=120, format="png")
    load_pyplot().close(figure)
