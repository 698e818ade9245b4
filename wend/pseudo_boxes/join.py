"""The join of a source's boxes with a data set's images, and the table of its findings.

Shape letters: I = images of the data set, N = images of the source, B = boxes.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from wend.errors import InputError, some
from wend.pseudo_boxes.keys import Keys
from wend.pseudo_boxes.merge import keep_last_entries
from wend.pseudo_boxes.report import KINDS, AttachReport, Count, count_all
from wend.pseudo_boxes.source_boxes import PseudoBoxes
from wend.structures.arrow import numbers_of
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.structures.names import match_names
from wend.structures.plausibility import Finding, look_at_boxes, report

logger = logging.getLogger(__name__)
TOLERANCE = 1e-5  # of the image: rounding of x + w by the writer, not a box outside
WHOLE = 0.99  # of the image's area
SAME_SHAPE = 0.05  # by which the logarithms of two proportions of sides may differ
MOSTLY_EXCHANGED = 0.1  # of the images; fewer, or a single one, are slips
VALIDATION = "ILSVRC2012_val_"  # how the file names of ImageNet's validation images begin


def _normal_keys(keys: Sequence[str]) -> Keys:
    """The keys in Unicode NFC, as readers write them; InputError if two are equal."""
    import pyarrow.compute as pc

    normal = keys if isinstance(keys, Keys) else Keys(keys)
    if not pc.all(pc.string_is_ascii(normal.arrow)).as_py():
        # not Arrow's own utf8_normalize, whose NFC left letters decomposed up to some version
        normal = Keys([unicodedata.normalize("NFC", key) for key in normal])
    twice = int((normal.first() != np.arange(len(normal))).sum())
    if twice:
        raise InputError(
            f"{twice} images share class folder and file name with another one; pseudo boxes "
            f"could not be told apart"
        )
    return normal


def _first_entries(image: np.ndarray, num_images: int) -> np.ndarray:
    """Index (N,) of the first path that means the same image as each, or of itself at -1."""
    first, rows = np.arange(len(image)), np.flatnonzero(image >= 0)
    of_image = np.zeros(num_images, dtype=np.int64)
    of_image[image[rows[::-1]]] = rows[::-1]  # of several, the last that is written stays
    first[rows] = of_image[image[rows]]
    return first


def _contaminated(source_keys: Keys, keys: Keys) -> np.ndarray:
    """Indices in the source of ImageNet's validation images; none if the data set is that set."""
    import pyarrow.compute as pc

    held = numbers_of(pc.match_substring(source_keys.arrow, VALIDATION))
    indices = np.flatnonzero(held)
    begins = f"(^|/){VALIDATION}"
    names = source_keys.take(indices).arrow
    indices = indices[numbers_of(pc.match_substring_regex(names, begins))]
    if len(indices) and pc.all(pc.match_substring_regex(keys.arrow, begins)).as_py():
        return indices[:0]
    return indices


def _to_pixels(
    pseudo_boxes: PseudoBoxes, matched: np.ndarray, image: np.ndarray, sizes: np.ndarray
) -> BoxTable:
    """Boxes of some of a source's images to boxes of a data set's images, as they stand.

    Args:
        matched: (n,) indices in the source.
        image: (n,) index of each in the data set, ascending.
        sizes: (I, 2) of the data set.

    Returns:
        The table of the I images.
    """
    table = pseudo_boxes.table
    rows = table.rows(matched)
    boxes, scores = table.boxes[rows], None if table.scores is None else table.scores[rows]
    image = np.repeat(image, table.counts[matched])
    if pseudo_boxes.frame == "fraction":
        boxes *= np.tile(sizes, 2)[image]
    return BoxTable.from_rows(image, boxes, scores, len(sizes))


def _clipped(table: BoxTable, sizes: np.ndarray) -> tuple[BoxTable, dict[str, np.ndarray]]:
    """Boxes cut at the borders of their images, of sizes (I, 2), and without those that vanish.

    Returns:
        The table of the I images, and kind of finding -> image of each box.
    """
    image, boxes = table.owner, table.boxes
    size = np.tile(sizes, 2)[image]
    limit = TOLERANCE * size
    outside = (boxes < -limit).any(1)
    limit += size
    outside |= (boxes > limit).any(1)
    boxes = np.clip(boxes, 0, size)
    sides = boxes[:, 2:] - boxes[:, :2]
    vanished = (sides <= 0).any(1)
    whole = sides.prod(1) >= WHOLE * size[:, :2].prod(1)
    findings = {
        "outside": image[outside & ~vanished],
        "vanished": image[vanished],
        "whole_image": image[whole],
    }
    return replace(table, boxes=boxes).without(np.flatnonzero(vanished)), findings


def _with_option(finding: Finding) -> Finding:
    """The finding of boxes that are said to be pixels, with the option that says otherwise."""
    if finding.kind != "fractions":
        return finding
    message = f"{finding.message}, or say so where the source has the option (frame: fraction)"
    return replace(finding, message=message)


def _other_shape(stated: np.ndarray | None, image: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The indices of those images whose sides are in another proportion than the source states."""
    if stated is None:
        return image[:0]
    real = sizes[image]
    ratio = stated[:, 0] * real[:, 1] / (stated[:, 1] * real[:, 0])
    return image[np.abs(np.log(ratio)) > SAME_SHAPE]


def _exchanged_sizes(
    stated: np.ndarray | None, image: np.ndarray, sizes: np.ndarray, names: Sequence[str]
) -> tuple[Finding, ...]:
    """The finding that the source states images' width as their height, which misplaces boxes."""
    if stated is None or not len(image):
        return ()
    exchanged = np.isin(image, _other_shape(stated, image, sizes))
    exchanged &= ~np.isin(image, _other_shape(stated[:, ::-1], image, sizes))
    rows = np.flatnonzero(exchanged)
    if len(rows) <= max(1, MOSTLY_EXCHANGED * len(image)):
        return ()
    (width, height), first = stated[rows[0]].tolist(), image[rows[0]]
    real = " x ".join(f"{side:g}" for side in sizes[first].tolist())
    message = (
        f"the sizes that it states of {len(rows)} of {len(image)} images have width and height "
        f"exchanged, such as {width:g} x {height:g} (width x height) of image {names[first]!r} "
        f"({real} pixels); correct them, or, if its writer turned images by their EXIF "
        f"orientation, declare the data set with exif: apply"
    )
    return (Finding("exchanged_sizes", len(rows), message),)


def join_boxes(
    keys: Sequence[str],
    sizes: np.ndarray,
    pseudo_boxes: PseudoBoxes,
    *,
    strict: bool | Sequence[str] | None = None,
    allow_contamination: bool | None = None,
    implausible: str | None = None,
    log: bool = True,
) -> tuple[BoxTable, AttachReport]:
    """Give images their pseudo boxes, in original pixels; log what was counted.

    Args:
        keys: I different keys, see ``ImageRecord.key``.
        sizes: (I, 2) width and height in original pixels; 0, 0 where it is unknown, and such an
            image gets no boxes.
        pseudo_boxes: of any source.
        strict: kinds of findings (of :data:`KINDS`) that are errors, or True for all. As the
            source's spec says by default; so for the next two.
        allow_contamination: let ImageNet's validation images be among the source's.
        implausible: what becomes of boxes that are hardly pixels of their images
            (:mod:`wend.structures.plausibility`): "error", or "count" to warn and go on.
        log: False if the caller shows the table.

    Returns:
        Boxes of the I images, in original pixels, within the image, each with an area, with the
        source's scores if it has some; and what became of the source's boxes.

    Raises:
        InputError: two images share a key, no image has a box, the source holds validation images,
            its numbers are implausible, or strict and something was found; the message names the
            first.
    """
    image_keys, sizes = _normal_keys(keys), np.asarray(sizes, dtype=np.float64).reshape(-1, 2)
    strict = pseudo_boxes.strict if strict is None else strict
    if allow_contamination is None:
        allow_contamination = pseudo_boxes.allow_contamination
    # (N,), -1: none
    image = match_names(pseudo_boxes.keys.arrow, image_keys.arrow, pseudo_boxes.source)
    first = _first_entries(image, len(image_keys))
    if (first != np.arange(len(first))).any():  # paths of several roots
        table, left_out = keep_last_entries(first, pseudo_boxes.table)
        left_out = {kind: image[entries] for kind, entries in left_out.items()}
        image = image[table.with_boxes]
        pseudo_boxes = pseudo_boxes.with_table(table, count_all(image_keys, left_out))
    source, source_keys = pseudo_boxes.source, pseudo_boxes.keys
    matched = np.flatnonzero(image >= 0)
    matched = matched[np.all(sizes, axis=1)[image[matched]]]
    matched = matched[np.argsort(image[matched], kind="stable")]
    stated_sizes = None if pseudo_boxes.sizes is None else pseudo_boxes.sizes[matched]
    other_shape = _other_shape(stated_sizes, image[matched], sizes)
    stated = _to_pixels(pseudo_boxes, matched, image[matched], sizes)
    implausible_boxes = look_at_boxes(stated, sizes, image_keys, "boxes")
    if pseudo_boxes.frame == "pixel":
        implausible_boxes = tuple(map(_with_option, implausible_boxes))
    implausible_boxes += _exchanged_sizes(stated_sizes, image[matched], sizes, image_keys)
    report(
        implausible_boxes, source, implausible or pseudo_boxes.implausible, logger if log else None
    )
    table, findings = _clipped(stated, sizes)
    counts = {
        **pseudo_boxes.counts,
        "missing": Count.from_indices(image_keys, np.flatnonzero(table.counts == 0)),
        "surplus": Count.from_indices(source_keys, np.flatnonzero(image < 0)),
        "contaminated": Count.from_indices(source_keys, _contaminated(source_keys, image_keys)),
        "other_shape": Count.from_indices(image_keys, other_shape),
        **count_all(image_keys, findings),
    }
    images = np.bincount(table.counts)
    per_image = {number: int(images[number]) for number in np.flatnonzero(images).tolist()}
    joined = AttachReport(
        source, len(image_keys), len(table.boxes), counts, per_image, implausible_boxes, stated
    )
    if not len(source_keys):
        numbers = {kind: count.number for kind, count in pseudo_boxes.counts.items()}
        kinds = ", ".join(f"{kind}: {number}" for kind, number in numbers.items() if number)
        raise InputError(
            f"{source}: holds no box{f' that is not left out ({kinds})' if kinds else ''}; "
            f"name the file that was meant, or other options"
        )
    if not joined.matched:
        raise InputError(
            f"{source}: none of its {len(source_keys)} images ({some(source_keys[:2], 2)}) is one "
            f"of the data set's {len(image_keys)} ({some(image_keys[:2], 2)}) with a box; are they "
            f"of another data set or split?"
        )
    if log:
        logger.info("%s", joined.brief())
    _refuse(joined, strict, allow_contamination)
    return table, joined


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
    data_set: DataSet,
    pseudo_boxes: PseudoBoxes,
    *,
    strict: bool | Sequence[str] | None = None,
    allow_contamination: bool | None = None,
    implausible: str | None = None,
    log: bool = True,
) -> tuple[DataSet, AttachReport]:
    """The data set with pseudo boxes, in original pixels; arguments as of :func:`join_boxes`."""
    table, joined = join_boxes(
        data_set.keys,
        data_set.frame_sizes,
        pseudo_boxes,
        strict=strict,
        allow_contamination=allow_contamination,
        implausible=implausible,
        log=log,
    )
    return data_set.with_pseudo_boxes(table, joined.left_out), joined
