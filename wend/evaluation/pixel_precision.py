"""PxAP: the average precision of score maps against masks, pixel by pixel.

Follows wsolevaluation 96f4b88 evaluation.py:339-416: the pixels of all images are counted by score,
those of objects and those of the background apart, and precision and recall follow at each edge of
the bins. Pixels that are ignored do not count.

Shape letters: S = a map's side, T = thresholds, E = T + 2 bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wend.errors import InputError
from wend.formats.masks import BACKGROUND, OBJECT


def bin_edges(thresholds: np.ndarray) -> np.ndarray:
    """Edges (T + 3,) of the bins: from threshold to threshold, 1 and above (lines 348-352)."""
    return np.append(thresholds, [1.0, 2.0, 3.0])


def count_pixels(values: np.ndarray, truth: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """How many pixels of objects and of the background have a score in each bin: (2, E) int64.

    Args:
        values: (S, S) in 0..1.
        truth: (S, S) as :func:`wend.formats.masks.read_pixel_truth` returns it.
        edges: as :func:`bin_edges` returns them.
    """
    return np.stack(
        [np.histogram(values[truth == kind], bins=edges)[0] for kind in (OBJECT, BACKGROUND)]
    )


@dataclass(frozen=True, eq=False)
class PixelCurve:
    """Precision and recall over the thresholds.

    Attributes:
        thresholds: (E,) falling: pixels from this score on are the object's; the highest are those
            of the two bins that close the list.
        precision, recall: (E,) in 0..1; precision is NaN where no pixel has such a score.
    """

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray

    @classmethod
    def from_counts(cls, counts: np.ndarray, edges: np.ndarray) -> PixelCurve:
        """The curve of the counts (2, E) of all images.

        Raises:
            InputError: no pixel is an object's.
        """
        objects, background = counts[:, ::-1].cumsum(1)  # from the highest scores down
        if objects[-1] == 0:
            raise InputError("masks: no pixel of any image is an object's; PxAP needs some")
        with np.errstate(invalid="ignore"):
            precision = objects / (objects + background)
        return cls(edges[:-1][::-1], precision, objects / objects[-1])

    @property
    def average_precision(self) -> float:
        """PxAP in per cent: each step of the recall times the precision at its end (line 412)."""
        steps = self.precision[1:] * np.diff(self.recall)
        return 100 * float(steps[np.isfinite(self.precision[1:])].sum())

    def rows(self) -> list[list[str]]:
        """Threshold, precision ("-" where it has none) and recall, as text."""
        return [
            [f"{t:.10g}", "-" if np.isnan(p) else f"{p:.6f}", f"{r:.6f}"]
            for t, p, r in zip(self.thresholds, self.precision, self.recall, strict=True)
        ]
