"""Entries of a source's files to one entry an image, with a count of all that is left out.

Shape letters: E = entries, B = boxes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wend.errors import InputError

if TYPE_CHECKING:
    from wend.pseudo_boxes.columns import Keys

EXAMPLES = 3


@dataclass(frozen=True)
class Count:
    """How often something was found, and the keys of the first."""

    number: int = 0
    examples: tuple[str, ...] = ()

    @classmethod
    def of(cls, keys: Keys, places: Iterable[int] | np.ndarray) -> Count:
        """One for each place in the keys."""
        places = np.asarray(places, dtype=np.int64)
        return cls(len(places), tuple(dict.fromkeys(keys[int(i)] for i in places[:EXAMPLES])))


def add_counts(a: Mapping[str, Count], b: Mapping[str, Count]) -> dict[str, Count]:
    """Both together."""
    sums = dict(a)
    for kind, count in b.items():
        old = sums.get(kind, Count())
        examples = dict.fromkeys([*old.examples, *count.examples])
        sums[kind] = Count(old.number + count.number, tuple(examples)[:EXAMPLES])
    return sums


@dataclass(frozen=True)
class Kept:
    """What is left.

    Attributes:
        entries: places (n,) of the entries kept, or None for all.
        rows: places of the boxes kept, in their new order, or None for all as they are.
        num_boxes: (n,) boxes of each entry kept.
        counts: what was left out.
    """

    entries: np.ndarray | None
    rows: np.ndarray | None
    num_boxes: np.ndarray
    counts: dict[str, Count]


def merge_entries(
    source: str,
    keys: Keys,
    num_boxes: np.ndarray,
    boxes: np.ndarray,
    scores: np.ndarray | None,
) -> Kept:
    """Leave out boxes without area, a box that an image has twice, all but an image's last entry.

    Args:
        source: for messages.
        keys: of the entries (E).
        num_boxes: (E,) boxes of each.
        boxes: (B, 4) xyxy; ``scores``: (B,) or None; the best box of an entry comes first after.

    Raises:
        InputError: a box or score is not finite, or a box ends before it starts.
    """
    owner = np.repeat(np.arange(len(keys), dtype=np.int32), num_boxes)
    _check(source, keys, owner, boxes, scores)
    left_out = (boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1])
    counts = {"zero_area": Count.of(keys, owner[left_out])}
    rows = np.arange(len(boxes)) if scores is None else np.lexsort((-scores, owner))
    again = rows[:0]
    if num_boxes.max(initial=0) > 1:
        again = _same_in_entry(owner, boxes, rows[~left_out[rows]])
        left_out[again] = True
    del rows  # 1.28 million of them are 10 MB, and not needed by the next step
    older, equal, other = _older_entries(keys, owner, boxes, left_out)
    counts["repeated"] = Count.of(keys, [*owner[again], *equal])
    counts["conflicting"] = Count.of(keys, other)
    if scores is None and not (left_out.any() or len(older) or num_boxes.min(initial=1) < 1):
        return Kept(None, None, num_boxes, counts)
    if len(older):
        left_out |= np.isin(owner, older)
    rows = np.arange(len(boxes)) if scores is None else np.lexsort((-scores, owner))
    rows = rows[~left_out[rows]]
    left = np.bincount(owner[rows], minlength=len(keys))
    entries = np.flatnonzero(left)
    return Kept(entries, rows, left[entries], counts)


def _check(
    source: str, keys: Keys, owner: np.ndarray, boxes: np.ndarray, scores: np.ndarray | None
) -> None:
    if not np.isfinite(boxes).all():
        row = int(np.argmin(np.isfinite(boxes).all(1)))
        raise InputError(
            f"{source}: {keys[int(owner[row])]}: box {boxes[row].tolist()} is not four finite "
            f"numbers"
        )
    turned = (boxes[:, 2] < boxes[:, 0]) | (boxes[:, 3] < boxes[:, 1])
    if turned.any():
        row = int(np.argmax(turned))
        raise InputError(
            f"{source}: {keys[int(owner[row])]}: box x0, y0, x1, y1 = {boxes[row].tolist()} ends "
            f"before it starts; are the last two width and height?"
        )
    if scores is not None and not np.isfinite(scores).all():
        row = int(np.argmin(np.isfinite(scores)))
        raise InputError(f"{source}: {keys[int(owner[row])]}: score {scores[row]} is not finite")


def _same_in_entry(owner: np.ndarray, boxes: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Those of the rows whose box an earlier one of the same entry has, to the last bit."""
    table = np.column_stack([owner[rows], boxes[rows]])
    order = np.lexsort(table.T[::-1])  # stable: of equal ones the first stays first
    same = (table[order[1:]] == table[order[:-1]]).all(1)
    return rows[order[1:][same]]


def _older_entries(
    keys: Keys, owner: np.ndarray, boxes: np.ndarray, left_out: np.ndarray
) -> tuple[list[int], list[int], list[int]]:
    """Entries that a later one of the same key replaces; later ones that agree; that do not."""
    older, equal, other = [], [], []
    places = keys.shared()
    held = np.isin(places, owner[~left_out])  # an entry without a box replaces none
    places = places[held]
    if not len(places):
        return older, equal, other
    code = keys.take(places).arrow.dictionary_encode().indices.to_numpy()
    order = np.argsort(code, kind="stable")
    places, code = places[order], code[order]
    starts = np.searchsorted(owner, [places, places + 1])
    found = [_sorted(boxes[a:b][~left_out[a:b]]) for a, b in starts.T]
    for i in range(1, len(places)):
        if code[i] == code[i - 1]:
            older.append(int(places[i - 1]))
            same = np.array_equal(found[i], found[i - 1])
            (equal if same else other).append(int(places[i]))
    return older, equal, other


def _sorted(boxes: np.ndarray) -> np.ndarray:
    return boxes[np.lexsort(boxes.T)]
