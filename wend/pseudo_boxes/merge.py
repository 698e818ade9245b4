"""Merging the entries of an image: the boxes of the last one, each once, each with an area.

Shape letters: E = entries, the mentions of an image in a source's files; B = boxes.
"""

from __future__ import annotations

import numpy as np

from wend.structures.box_table import BoxTable


def clean_entries(table: BoxTable) -> tuple[BoxTable, dict[str, np.ndarray]]:
    """Leave out boxes without area, and boxes that their entry has already.

    Args:
        table: boxes of E entries.

    Returns:
        The table of the E entries, and the entry of each box that is left out, by kind of finding.
    """
    no_area = np.flatnonzero((table.boxes[:, 2:] <= table.boxes[:, :2]).any(1))
    left_out = {"zero_area": table.images_of(no_area)}
    table = table.without(no_area)
    again = _repeated_rows(table) if table.counts.max(initial=0) > 1 else no_area[:0]
    left_out["repeated"] = table.images_of(again)
    return table.without(again), left_out


def keep_last_entries(first: np.ndarray, table: BoxTable) -> tuple[BoxTable, dict[str, np.ndarray]]:
    """Leave out the boxes of all but the last entry of each image that has boxes.

    Args:
        first: (E,) index of the first entry of the same image: an entry's own, as a rule.
        table: boxes of E entries, none twice in an entry.

    Returns:
        The table of the E entries, and the entries that replace an earlier one, by kind of finding:
        "repeated" where both have the same boxes, else "conflicting".
    """
    again = first != np.arange(len(first))
    several = np.flatnonzero(np.isin(first, first[again]) & (table.counts > 0))
    order = several[np.argsort(first[several], kind="stable")]
    replaced = first[order[1:]] == first[order[:-1]]
    older, newer = order[:-1][replaced], order[1:][replaced]
    equal = _same_boxes(table.take(older), table.take(newer))
    left_out = {"repeated": newer[equal], "conflicting": newer[~equal]}
    return table.without(table.rows(older)), left_out


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
