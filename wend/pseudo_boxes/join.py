"""The join of a source's boxes with a data set's images, and the table of what was found.

Shape letters: I = images of the data set, N = images of the source, B = boxes.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wend.errors import InputError, some
from wend.pseudo_boxes.columns import Keys, PseudoBoxes
from wend.pseudo_boxes.merge import Count
from wend.pseudo_boxes.report import KINDS, AttachReport
from wend.structures.names import match_names
from wend.structures.records import ImageRecord

logger = logging.getLogger(__name__)
TOLERANCE = 1e-5  # of the image: rounding of x + w by the writer, not a box outside
WHOLE = 0.99  # of the image's area
VALIDATION = "(^|/)ILSVRC2012_val_"


@dataclass(frozen=True, eq=False)
class JoinedBoxes:
    """A source's boxes in the order of a data set's images.

    Attributes:
        offsets: (I + 1,) int64; the boxes of image i are ``offsets[i]:offsets[i + 1]``.
        boxes: (B, 4) float64, xyxy in original pixels, inside the image, each with an area.
        scores: (B,) or None; best first in each image.
        report: what was found.
    """

    offsets: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray | None
    report: AttachReport


def _normal_keys(keys: Sequence[str]) -> Keys:
    keys = keys if isinstance(keys, Keys) else Keys([unicodedata.normalize("NFC", k) for k in keys])
    shared = keys.take(keys.shared())
    twice = len(shared) - len(shared.arrow.unique())
    if twice:
        raise InputError(
            f"{twice} images share class folder and file name with another one; pseudo boxes "
            f"could not be told apart"
        )
    return keys


def _merged(pseudo: PseudoBoxes, keys: Keys, place: np.ndarray) -> PseudoBoxes:
    """The source with one entry for each image; several of its paths may mean the same."""
    names = [keys[int(p)] if p >= 0 else key for p, key in zip(place, pseudo.keys, strict=True)]
    return PseudoBoxes.from_entries(
        pseudo.source,
        pseudo.frame,
        names,
        np.diff(pseudo.offsets),
        pseudo.boxes,
        pseudo.scores,
        pseudo.sizes,
        pseudo.counts,
    )


def _contaminated(pseudo: PseudoBoxes, keys: Keys) -> np.ndarray:
    """Places in the source of ImageNet's validation images; none if the data set is that set."""
    import pyarrow.compute as pc

    if pc.all(pc.match_substring_regex(keys.arrow, VALIDATION)).as_py():
        return np.zeros(0, dtype=np.int64)
    found = pc.match_substring_regex(pseudo.keys.arrow, VALIDATION)
    return np.flatnonzero(found.to_numpy(zero_copy_only=False))


def _to_pixels(pseudo: PseudoBoxes, place: np.ndarray, sizes: np.ndarray):
    """Boxes of matched images (B, 4), clipped, the place (B,) of their image and row, findings."""
    owner = np.repeat(place, np.diff(pseudo.offsets))
    rows = np.flatnonzero(owner >= 0)
    if (np.diff(owner[rows]) < 0).any():
        rows = rows[np.argsort(owner[rows], kind="stable")]
    owner = owner[rows]
    size = np.tile(sizes, 2)[owner]
    boxes = pseudo.boxes[rows] * size if pseudo.frame == "fraction" else pseudo.boxes[rows]
    slack = TOLERANCE * size
    outside = ((boxes < -slack) | (boxes > size + slack)).any(1)
    np.clip(boxes, 0, size, out=boxes)
    sides = boxes[:, 2:] - boxes[:, :2]
    vanished = (sides <= 0).any(1)
    whole = sides.prod(1) >= WHOLE * size[:, :2].prod(1)
    found = {"outside": outside & ~vanished, "vanished": vanished, "whole_image": whole}
    found = {kind: owner[mask] for kind, mask in found.items()}
    return boxes[~vanished], owner[~vanished], rows[~vanished], found


def _other_shape(pseudo: PseudoBoxes, place: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Matched images whose sides are in another proportion than the source states."""
    if pseudo.sizes is None:
        return place[:0]
    stated, real = pseudo.sizes[place >= 0], sizes[place[place >= 0]]
    ratio = stated[:, 0] * real[:, 1] / (stated[:, 1] * real[:, 0])
    return place[place >= 0][np.abs(np.log(ratio)) > 0.05]


def join_boxes(
    keys: Sequence[str],
    sizes: np.ndarray,
    pseudo_boxes: PseudoBoxes,
    *,
    strict: bool | Sequence[str] | None = None,
    allow_contamination: bool | None = None,
    log: bool = True,
) -> JoinedBoxes:
    """Give images their pseudo boxes, in original pixels; log the table of counts.

    Args:
        keys: I different keys, see ``ImageRecord.key``.
        sizes: (I, 2) width and height in original pixels.
        pseudo_boxes: of any source.
        strict: kinds of findings (of :data:`KINDS`) that are errors, or True for all. As the
            source's spec says by default; so for ``allow_contamination``.
        allow_contamination: let ImageNet's validation images be among the source's.
        log: False if the caller shows the table.

    Raises:
        InputError: two images share a key, no image has a box, the source holds validation images,
            or strict and something was found; the message names the first.
    """
    keys, sizes = _normal_keys(keys), np.asarray(sizes, dtype=np.float64).reshape(-1, 2)
    strict = pseudo_boxes.strict if strict is None else strict
    if allow_contamination is None:
        allow_contamination = pseudo_boxes.allow_contamination
    source_keys = pseudo_boxes.keys
    place = match_names(source_keys.arrow, keys.arrow, pseudo_boxes.source)
    if len(np.unique(place[place >= 0])) < (place >= 0).sum():
        pseudo_boxes = _merged(pseudo_boxes, keys, place)
        source_keys = pseudo_boxes.keys
        place = keys.find(source_keys)
    boxes, owner, rows, found = _to_pixels(pseudo_boxes, place, sizes)
    num = np.bincount(owner, minlength=len(keys))
    counts = {
        **pseudo_boxes.counts,
        "missing": Count.of(keys, np.flatnonzero(num == 0)),
        "surplus": Count.of(source_keys, np.flatnonzero(place < 0)),
        "contaminated": Count.of(source_keys, _contaminated(pseudo_boxes, keys)),
        "other_shape": Count.of(keys, _other_shape(pseudo_boxes, place, sizes)),
        **{kind: Count.of(keys, places) for kind, places in found.items()},
    }
    histogram = {int(n): int(c) for n, c in zip(*np.unique(num, return_counts=True), strict=True)}
    report = AttachReport(pseudo_boxes.source, len(keys), len(boxes), counts, histogram)
    if not report.matched:
        raise InputError(
            f"{report.source}: none of its {len(source_keys)} images "
            f"({some(source_keys[:2], 2)}) is one of the data set's {len(keys)} "
            f"({some(keys[:2], 2)}) with a box; are they of another data set or split?"
        )
    if log:
        logger.info("%s", report)
    _refuse(report, strict, allow_contamination)
    offsets = np.concatenate([[0], np.cumsum(num)]).astype(np.int64)
    scores = None if pseudo_boxes.scores is None else pseudo_boxes.scores[rows]
    return JoinedBoxes(offsets, boxes, scores, report)


def _refuse(report: AttachReport, strict: bool | Sequence[str], allow_contamination: bool) -> None:
    if report.number("contaminated") and not allow_contamination:
        count = report.counts["contaminated"]
        raise InputError(
            f"{report.source}: {count.number} of its images are ImageNet validation images "
            f"({', '.join(count.examples)}); boxes of test images must not be trained on. Make the "
            f"boxes again, or set allow_contamination: true"
        )
    kinds = list(KINDS) if strict is True else [strict] if isinstance(strict, str) else strict or []
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise InputError(
            f"{report.source}: strict: unknown {', '.join(map(str, unknown))}; expected true or "
            f"some of {', '.join(KINDS)}"
        )
    if allow_contamination:
        kinds = [kind for kind in kinds if kind != "contaminated"]
    wrong = [
        f"{report.number(kind)} {KINDS[kind]} ({', '.join(report.counts[kind].examples)})"
        for kind in kinds
        if report.number(kind)
    ]
    if wrong:
        raise InputError(
            f"{report.source}: strict: {'; '.join(wrong)}. Mend the files, or name in strict only "
            f"the kinds that must not occur"
        )


def attach_pseudo_boxes(
    records: Sequence[ImageRecord],
    pseudo_boxes: PseudoBoxes,
    *,
    strict: bool | Sequence[str] | None = None,
    allow_contamination: bool | None = None,
) -> tuple[list[ImageRecord], AttachReport]:
    """Give each record its pseudo boxes, in original pixels; see :func:`join_boxes`."""
    joined = join_boxes(
        [record.key for record in records],
        np.array([(record.width, record.height) for record in records]),
        pseudo_boxes,
        strict=strict,
        allow_contamination=allow_contamination,
    )
    ends = joined.offsets.tolist()
    attached = [
        replace(record, pseudo_boxes=joined.boxes[ends[i] : ends[i + 1]])
        for i, record in enumerate(records)
    ]
    return attached, joined.report
