"""Boxes that never look at the image, as a measure for pseudo boxes: ``wend boxes report``.

Shape letters: I = images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from wend.evaluation.fixed_boxes import FixedBoxes, fixed_box_table
from wend.evaluation.protocols import EvalProtocol
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet

CENTRE = 0.7  # of each side: about half of the image's area
MOST = 20_000  # images that fixed boxes are chosen on


def baseline_tables(
    data_set: DataSet, protocol: EvalProtocol, k: int
) -> Iterator[tuple[str, BoxTable]]:
    """Names of content-blind boxes, and the boxes of each image.

    The whole image; a box in the centre; and with at least two images, the best fixed box, or the
    ``k`` best, of which an image gets those chosen on the truth of every other image: even ones
    those of odd ones, and the other way round, so that none is scored by its own truth.

    Args:
        data_set: images whose truth is known.
        k: boxes per image.
    """
    margin = (1 - CENTRE) / 2
    yield "whole image", fixed_box_table(data_set, np.array([[0.0, 0.0, 1.0, 1.0]]))
    centre = np.array([[margin, margin, 1 - margin, 1 - margin]])
    yield f"centre box ({CENTRE:g} of each side)", fixed_box_table(data_set, centre)
    if len(data_set) < 2:
        return
    name = "best fixed box" if k == 1 else f"{k} best fixed boxes"
    yield f"{name} of the other half", _fixed(data_set, protocol, k)


def _fixed(data_set: DataSet, protocol: EvalProtocol, k: int) -> BoxTable:
    every = np.arange(len(data_set))
    halves = [every[0::2], every[1::2]]
    parts = []
    for scored, training in (halves, halves[::-1]):
        some = training[np.linspace(0, len(training) - 1, min(MOST, len(training))).astype(int)]
        chooser = FixedBoxes.from_training([replace(data_set.take(some), train_on="gt_boxes")])
        parts.append(chooser.table(data_set.take(scored), protocol, k))
    order = np.argsort(np.concatenate(halves), kind="stable")
    return BoxTable.concatenate(parts).take(order)
