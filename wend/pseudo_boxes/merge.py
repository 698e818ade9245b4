"""Of each image the boxes of its last entry, each once, each with an area.

Shape letters: E = entries, the mentions of an image in a source's files; B = boxes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from wend.pseudo_boxes.report import Count, add_counts  # noqa: F401
from wend.structures.box_table import BoxTable


class Merged(NamedTuple):
    """What is left, and what was left out.

    Attributes:
        entries: (n,) indices of the entries that are left, ascending.
        table: their boxes, at least one each.
        left_out: kind of finding -> indices (m,) of entries: "zero_area", one for each box without
            area; "repeated", for each box that its entry has already, and for each entry whose
            boxes are those of the one that it replaces; "conflicting", for each entry whose boxes
            are others.
    """

    entries: np.ndarray
    table: BoxTable
    left_out: dict[str, np.ndarray]


def merge_entries(first: np.ndarray, table: BoxTable) -> Merged:
    """Leave out boxes without area, a box that an entry has twice, all but an image's last entry.

    An entry that has no box replaces none.

    Args:
        first: (E,) index of the first entry of the same image: an entry's own, as a rule.
        table: boxes of the E entries.
    """
    no_area = np.flatnonzero((table.boxes[:, 2:] <= table.boxes[:, :2]).any(1))
    zero_area = table.images_of(no_area)
    table = table.without(no_area)
    repeated = np.zeros(0, dtype=np.int64)
    if table.counts.max(initial=0) > 1:
        rows = _repeated_rows(table)
        repeated = table.images_of(rows)
        table = table.without(rows)
    again = first != np.arange(len(first))
    several = np.flatnonzero(np.isin(first, first[again]) & (table.counts > 0))
    order = several[np.argsort(first[several], kind="stable")]
    replaced = first[order[1:]] == first[order[:-1]]
    older, newer = order[:-1][replaced], order[1:][replaced]
    equal = _same_boxes(table.take(older), table.take(newer))
    table = table.without(table.rows(older))
    repeated = np.concatenate([repeated, newer[equal]])
    left_out = {"zero_area": zero_area, "repeated": repeated, "conflicting": newer[~equal]}
    return Merged(table.with_boxes, table.without_empty(), left_out)


def _repeated_rows(table: BoxTable) -> np.ndarray:
    """Rows of the boxes that an earlier box of the same image equals to the last bit."""
    rows = np.column_stack([table.owner, table.boxes])
    order = np.lexsort(rows.T[::-1])  # stable: of equal ones the first stays first
    return order[1:][(rows[order[1:]] == rows[order[:-1]]).all(1)]


def _same_boxes(a: BoxTable, b: BoxTable) -> np.ndarray:
    """Whether (I,) the images of two tables have the same boxes, in whatever order."""
    same = a.counts == b.counts
    rows = np.flatnonzero(same)
    a, b = a.take(rows), b.take(rows)
    in_order = [each.boxes[np.lexsort((*each.boxes.T, each.owner))] for each in (a, b)]
    same[rows[a.owner[(in_order[0] != in_order[1]).any(1)]]] = False
    return same
