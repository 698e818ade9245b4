"""Boxes of many images as columns, and the keys by which they find their images.

Shape letters: N = images of the source, B = boxes, E = entries, the mentions of an image in the
source's files: usually one, but an image may stand there twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from wend.errors import InputError
from wend.pseudo_boxes.merge import Count, add_counts, merge_entries
from wend.structures.checks import as_boxes
from wend.structures.names import clean_path

FRAMES = ("fraction", "pixel")
FAR_OUTSIDE = 1.5  # a "fraction" beyond this is no rounding: another frame was meant


class Keys(Sequence[str]):
    """Strings side by side in one Arrow array: 1.28 million keys in tens of MB, hashed natively.

    Attributes:
        arrow: ``pyarrow.LargeStringArray`` without nulls.
    """

    def __init__(self, keys: Sequence[str], hashes: np.ndarray | None = None) -> None:
        import pyarrow as pa

        self._hashes = hashes
        self.arrow = keys if isinstance(keys, pa.Array) else pa.array(keys, pa.large_string())

    def __len__(self) -> int:
        return len(self.arrow)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return Keys(self.arrow[index])
        return self.arrow[index].as_py()

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), 1 << 16):
            yield from self.arrow[start : start + (1 << 16)].to_pylist()

    def take(self, rows: np.ndarray) -> Keys:
        """The keys at rows (n,) of integers, or where rows (N,) of bool is true."""
        import pyarrow as pa

        rows = pa.array(rows)
        return Keys(self.arrow.filter(rows) if rows.type == pa.bool_() else self.arrow.take(rows))

    def shared(self) -> np.ndarray:
        """Places (n,) of the keys that seem to stand there more than once; few are wrong.

        Compares hashes: a table of the keys themselves would take as much memory as they do.
        """
        hashes, self._hashes = self._hashes, None
        if hashes is None:
            hashes = np.empty(len(self), dtype=np.int64)
            for start in range(0, len(self), 1 << 14):
                part = self.arrow[start : start + (1 << 14)].to_numpy(zero_copy_only=False)
                hashes[start : start + len(part)] = [hash(key) for key in part]
        ordered = np.sort(hashes)
        twice = ordered[1:][ordered[1:] == ordered[:-1]]
        return np.flatnonzero(np.isin(hashes, twice)) if len(twice) else twice

    def find(self, keys: Keys) -> np.ndarray:
        """Place (len(keys),) of each of the other keys in these; -1 where it is not among them."""
        import pyarrow.compute as pc

        places = pc.index_in(keys.arrow, value_set=self.arrow)
        return places.fill_null(-1).to_numpy().astype(np.int64)


def _is_unicode(text: str) -> bool:
    """Whether it can be written at all: JSON may hold half a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def path_key(path: object, what: str) -> str:
    """A path as a key: as of :func:`.clean_path`, and below the images' root.

    Args:
        what: where it stands, for the message.

    Raises:
        InputError: no text, empty, or ``..`` in its middle (it could leave the images' root).
    """
    if not isinstance(path, str) or "\0" in path or not _is_unicode(path):
        raise InputError(f"{what}: expected an image's path as text, got {path!r}")
    key = clean_path(path)
    if not key or ".." in key.split("/"):
        raise InputError(
            f"{what}: expected an image's path without '..' in it, got {path!r}; write it relative "
            f"to the images' folder"
        )
    return key


@dataclass(frozen=True, eq=False)
class PseudoBoxes:
    """Boxes of many images as a reader found them, in columns.

    Make one of your own boxes with :meth:`from_dict`, or from columns with :meth:`from_entries`.

    Attributes:
        source: folder or file they come from.
        frame: "fraction" of the image's width and height, or "pixel" of the original image.
        keys: N paths of images, ``<class folder>/<file name>`` or longer; none twice.
        offsets: (N + 1,) int64; the boxes of image i are ``offsets[i]:offsets[i + 1]``, >= 1.
        boxes: (B, 4) float64, x0, y0, x1, y1; each has an area. Best first where there are scores.
        scores: (B,) float64, higher is better, or None.
        counts: what the reader left out, by kind; see ``wend.pseudo_boxes.join.KINDS``.
        sizes: (N, 2) float64 width and height that the source states of its images, or None.
        strict: kinds of findings that end the join in an error; True: all.
        allow_contamination: whether ImageNet's validation images may be among the images.
    """

    source: str
    frame: str
    keys: Sequence[str]
    offsets: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray | None = None
    counts: Mapping[str, Count] = field(default_factory=dict)
    sizes: np.ndarray | None = None
    strict: bool | Sequence[str] = False
    allow_contamination: bool = False

    def __post_init__(self) -> None:
        if self.frame not in FRAMES:
            raise InputError(f"{self.source}: frame must be one of {FRAMES}, got {self.frame!r}")
        if not isinstance(self.keys, Keys):
            object.__setattr__(self, "keys", Keys(self.keys))
        n, b = len(self.keys), len(self.boxes)
        if self.boxes.shape != (b, 4) or self.offsets.shape != (n + 1,) or self.offsets[-1] != b:
            raise InputError(
                f"{self.source}: {n} keys, boxes of shape {self.boxes.shape} and offsets of shape "
                f"{self.offsets.shape} do not fit; make them with PseudoBoxes.from_dict"
            )
        if b:
            self._check_frame()

    def _check_frame(self) -> None:
        low, high = self.boxes.min(), self.boxes.max()
        if self.frame == "fraction" and (low < 1 - FAR_OUTSIDE or high > FAR_OUTSIDE):
            row = int(np.argmax(np.abs(self.boxes).max(1)))
            raise InputError(
                f"{self.source}: {self.key_of(row)}: box {self.boxes[row].tolist()} is far outside "
                f"0..1 for fractions of the image; are these pixels (frame: pixel)?"
            )
        if self.frame == "pixel" and high <= 1:
            raise InputError(
                f"{self.source}: no coordinate is above 1, as {self.key_of(0)}: "
                f"{self.boxes[0].tolist()}; are these fractions (frame: fraction)?"
            )

    def key_of(self, row: int) -> str:
        """The key of the image of a box."""
        return self.keys[int(np.searchsorted(self.offsets, row, side="right")) - 1]

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, key: str) -> np.ndarray:
        """Boxes (P, 4) of one image, in ``frame``; searches all keys, for a look at a few."""
        place = int(self.keys.find(Keys([key]))[0])
        if place < 0:
            raise KeyError(key)
        return self.boxes[self.offsets[place] : self.offsets[place + 1]]

    @classmethod
    def from_dict(
        cls,
        boxes: Mapping[str, object],
        frame: str,
        *,
        scores: Mapping[str, object] | None = None,
        source: str = "own boxes",
    ) -> PseudoBoxes:
        """Boxes by image.

        Args:
            boxes: path of the image, with whatever root, -> one box ``[x0, y0, x1, y1]`` or several
                (P, 4); none is an empty list.
            frame: "fraction" of the image's width and height, or "pixel" of the original image.
            scores: path -> (P,) scores, for every image or None.
            source: where they come from, for messages.

        Raises:
            InputError: a key or a box is none; the message names it.
        """
        keys, rows, marks = [], [], []
        for path, value in boxes.items():
            what = f"{source}: image {path!r}"
            keys.append(path_key(path, what))
            array = np.asarray(
                as_boxes([value] if np.ndim(value) == 1 and len(value) else value, what)
            )
            rows.append(array)
            if scores is not None:
                mark = np.atleast_1d(np.asarray(scores.get(path, ()), dtype=np.float64))
                if mark.shape != (len(array),):
                    raise InputError(f"{what}: {len(array)} boxes but {mark.size} scores")
                marks.append(mark)
        return cls.from_entries(
            source,
            frame,
            keys,
            np.array([len(array) for array in rows], dtype=np.int64),
            np.concatenate([np.zeros((0, 4)), *rows]),
            None if scores is None else np.concatenate([np.zeros(0), *marks]),
        )

    @classmethod
    def from_entries(
        cls,
        source: str,
        frame: str,
        keys: Sequence[str],
        num_boxes: np.ndarray,
        boxes: np.ndarray,
        scores: np.ndarray | None = None,
        sizes: np.ndarray | None = None,
        counts: Mapping[str, Count] | None = None,
    ) -> PseudoBoxes:
        """Boxes by entry; an image that has several entries keeps the last, and it is counted.

        Args:
            keys: E paths, as of :func:`path_key`.
            num_boxes: (E,) boxes of each entry.
            boxes: (B, 4) xyxy, the first entry's first.
            scores: (B,), or None.
            sizes: (E, 2) stated sizes, or None.
            counts: findings to add to.

        Raises:
            InputError: a box that is not finite or turned inside out; the message names its key.
        """
        keys = keys if isinstance(keys, Keys) else Keys(keys)
        kept = merge_entries(source, keys, num_boxes, boxes, scores)
        entries, rows = kept.entries, kept.rows
        whole = entries is None
        offsets = np.zeros(len(kept.num_boxes) + 1, dtype=np.int64)
        np.cumsum(kept.num_boxes, out=offsets[1:])
        return cls(
            source,
            frame,
            keys if whole else keys.take(entries),
            offsets,
            boxes if rows is None else boxes[rows],
            scores if rows is None or scores is None else scores[rows],
            add_counts(counts or {}, kept.counts),
            sizes if whole or sizes is None else sizes[entries],
        )
