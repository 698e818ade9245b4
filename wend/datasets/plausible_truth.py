"""What is implausible in a data set's true boxes and stated sizes, before they are used.

Shape letters: B = true boxes of all images.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from wend.images.orientation import UPRIGHT, explain_size, read_orientations
from wend.images.stated_sizes import compare_with_headers, spread
from wend.structures.data_set import DataSet
from wend.structures.plausibility import (
    REACHING_OUT,
    TOLERANCE,
    Finding,
    look_at_boxes,
    named_box,
    outside,
    repeated,
    report,
    why_outside,
)

MANY_COPIES = 0.01  # of the true boxes; ImageNet has 4 of 80,477
THIN = 1.0  # pixels; the thinnest of ImageNet's and CUB's 92,265 true boxes has 3
MOSTLY_OTHER = 0.1  # of the images; fewer, or a single one, are damaged files
logger = logging.getLogger(__name__)


def check_plausible(
    data_set: DataSet, implausible: str | None = None, *, headers: bool = True
) -> list[Finding]:
    """Look at a data set's true boxes and stated image sizes; say what cannot be.

    Args:
        implausible: "error" (None, too), or "count" to warn of everything and go on.
        headers: look at the headers of image files, for sizes and orientations; False where they
            were read just now, or there are no files.

    Returns:
        What was found, for the record.

    Raises:
        InputError: something that cannot be chance; the message names the lists, the first image
            and its box, what is probably wrong and what to do.
    """
    findings = look_at_truth(data_set, headers=headers)
    report(findings, f"ground truth {data_set.name}{_where(data_set)}", implausible, logger)
    return findings


def _where(data_set: DataSet) -> str:
    """The files that the truth was read from, for messages."""
    if len(data_set.files) < 2:
        return "".join(f" ({path})" for path in data_set.files)
    names = ", ".join(path.name for path in data_set.files)
    return f" ({names} of {data_set.files[0].parent})"


def look_at_truth(data_set: DataSet, *, headers: bool = True) -> list[Finding]:
    """What is implausible in a data set's true boxes and stated image sizes, certain first."""
    sizes = _other_sizes(data_set) if headers else None
    turned = _turned(data_set) if headers else None
    findings = [sizes, _whole_truth(data_set), *_single_boxes(data_set), turned]
    if any(finding and finding.kind == "outside" for finding in findings):
        # the probable cause of what is an error anyway
        findings = [f and replace(f, certain=f.certain or f.kind == "turned") for f in findings]
    return sorted(filter(None, findings), key=lambda finding: not finding.certain)


def _other_sizes(data_set: DataSet) -> Finding | None:
    """The finding that stated sizes are not those of the image files, where these are there."""
    other = compare_with_headers(data_set.file_names, data_set.sizes, data_set.exif)
    number = len(other.images)
    if not number:
        return None
    image = int(other.images[0])
    stated, stored = data_set.sizes[other.images], other.stored
    width, height = stated[0].tolist()
    cause = explain_size(data_set.file_names[image], (width, height), data_set.exif)
    if not cause and (stated == stored[:, ::-1]).all():
        cause = "width and height swapped? Correct the sizes"
    elif not cause:
        cause = "are the sizes, or the files, of another copy of the images? Correct the sizes"
    return Finding(
        "other_size",
        number,
        f"the stated size of {number} of {other.looked_at} images whose files were looked at is "
        f"not the file's, such as {data_set.image_ids[image]!r}, stated as "
        f"{width} x {height} (width x height), but its file has "
        f"{' x '.join(map(str, stored[0].tolist()))} pixels; {cause}",
        certain=number > max(1, MOSTLY_OTHER * other.looked_at),
    )


def _turned(data_set: DataSet) -> Finding | None:
    """The finding that EXIF would turn many of the images, which the data set takes as stored.

    Where sizes come from the files, nothing else tells that boxes are of the upright images.
    """
    if data_set.exif != "ignore":
        return None
    looked_at = spread(len(data_set))
    names = [data_set.file_names[image] for image in looked_at.tolist()]
    orientations = read_orientations(names)
    turned = np.flatnonzero(orientations != UPRIGHT)
    if len(turned) <= max(1, MOSTLY_OTHER * len(names)):
        return None
    first = int(turned[0])
    return Finding(
        "turned",
        len(turned),
        f"{len(turned)} of {len(names)} images whose files were looked at have an EXIF "
        f"orientation, such as {data_set.image_ids[looked_at[first]]!r} ({orientations[first]}), "
        f"and sizes and boxes are taken to be of the images as stored (exif: ignore); if the boxes "
        f"were drawn on the upright images, as most labelling tools show them, declare the data "
        f"set with exif: apply",
        certain=False,
    )


def _whole_truth(data_set: DataSet) -> Finding | None:
    """What the numbers of the whole truth are, if they are hardly boxes in pixels."""
    truth = data_set.truth
    for finding in look_at_boxes(truth, data_set.sizes, data_set.image_ids, "true boxes"):
        if finding.kind not in REACHING_OUT:  # such boxes are counted one by one
            return finding
    return None


def _single_boxes(data_set: DataSet) -> list[Finding | None]:
    """Boxes outside their image, without area, of a pixel, and copies."""
    truth = data_set.truth
    sizes = data_set.sizes.astype(np.float64)[truth.owner]
    known = (sizes[:, 0] > 0) & (sizes[:, 1] > 0)
    x0, y0, x1, y1 = truth.boxes.T
    sides = np.minimum(x1 - x0, y1 - y0)
    describe = named_box(truth, data_set.image_ids, data_set.sizes)
    total = len(sides)

    def finding(kind: str, rows: np.ndarray, problem: str, certain: bool) -> Finding | None:
        if not len(rows):
            return None
        message = problem.format(number=f"{len(rows)} of {total}", first=describe(int(rows[0])))
        return Finding(kind, len(rows), message, certain)

    beyond = np.flatnonzero(outside(truth.boxes, sizes) & known)
    why = why_outside(truth.boxes[beyond], sizes[beyond]) if len(beyond) else ""
    copies = repeated(truth)
    if len(copies) < MANY_COPIES * total:
        copies = copies[:0]
    return [
        finding(
            "outside",
            beyond,
            f"{{number}} true boxes reach out of their image by more than {TOLERANCE:g} pixel, "
            f"such as {{first}}: {why}",
            True,
        ),
        finding(
            "zero_area",
            np.flatnonzero(sides <= 0),
            "{number} true boxes have no area, such as {first}: nothing can hit them. Take them "
            "out of the truth, or write their width and height",
            True,
        ),
        finding(
            "thin",
            np.flatnonzero((sides > 0) & (sides <= THIN)),
            f"{{number}} true boxes are at most {THIN:g} pixel wide or high, such as {{first}}: "
            f"hardly anything can hit them; are they meant so, or fractions of the image?",
            False,
        ),
        finding(
            "copies",
            copies,
            "{number} true boxes are copies of another of their image, such as {first}: was the "
            "list written or joined twice? Remove the copies",
            2 * len(copies) >= total >= 4,
        ),
    ]
