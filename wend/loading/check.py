"""``wend data check``: reads every image, checks every box, and lists the problems.

The list is JSON lines, one for each problem: ``key``, ``file``, ``problem``, ``detail`` and
``leave_out`` (whether ``WEND.DATA.QUARANTINE`` leaves the image out of training). While it is made
it lies beside, as ``<list>.partial``, from which an interrupted check goes on.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tabulate import tabulate

from wend.datasets.catalog import DataSets
from wend.datasets.fingerprints import fingerprint
from wend.datasets.plausible_truth import check_plausible
from wend.errors import BadImageError, ImplausibleError, InputError
from wend.files import atomic_write
from wend.images.opening import open_image
from wend.images.orientation import UPRIGHT, explain_size, orientation_of
from wend.images.reading import read_image
from wend.images.threads import map_in_threads
from wend.partial import PartialFile
from wend.run_lock import locked_file
from wend.structures.data_set import DataSet
from wend.structures.records import MAX_MEGAPIXELS, ImageRecord

CHUNK = 256  # images between two notes of what is done
PARTIAL_FORMAT = "wend-data-check-partial-1"
TOLERANCE = 1.0  # pixels that a box may reach out of its image, or miss of the whole image
ENDS, LOSES, WORKS = "ends the run", "loses the box", "goes on"
KINDS = {  # problem -> what training does about it
    "missing": ENDS,
    "empty file": ENDS,
    "unreadable": ENDS,
    "other size than recorded": ENDS,
    "box not finite": ENDS,
    "box without area": LOSES,
    "box outside": LOSES,
    "box reaches out": WORKS,
    "box is the whole image": WORKS,
    "other format than its name says": WORKS,
    "turned by EXIF": WORKS,
    "one colour everywhere": WORKS,
    "several pages": WORKS,
}
_SAME_FORMAT = {"MPO": "JPEG", "DIB": "BMP"}
logger = logging.getLogger(__name__)


class Problem(NamedTuple):
    """A problem of an image: one of :data:`KINDS`, and the particulars."""

    kind: str
    detail: str


def check_image(
    path: str,
    width: int,
    height: int,
    size_known: bool = True,
    exif: str = "ignore",
    max_megapixels: float = MAX_MEGAPIXELS,
) -> list[Problem]:
    """The problems of an image file, of which every pixel is decoded.

    Args:
        width, height: as recorded.
        size_known: False if the record has no size, since the header could not be read.
        exif: the data set's policy.
        max_megapixels: an image of more pixels (in millions) is not decoded.
    """
    try:
        if not os.path.getsize(path):
            return [Problem("empty file", "0 bytes")]
        with open_image(path) as image:
            stored, orientation = image.format or "", orientation_of(image)
            frames = 1 if stored == "MPO" else getattr(image, "n_frames", 1)
        pixels = read_image(path, exif, max_megapixels)
    except FileNotFoundError:
        return [Problem("missing", "there is no such file")]
    except Exception as error:  # decoders raise anything on damaged files
        cause = error.__cause__ if isinstance(error, BadImageError) else None
        reason = cause or error
        said = str(reason).removeprefix(f"{path}: ")
        return [Problem("unreadable", said or type(reason).__name__)]
    problems = []
    named = Image.EXTENSION.get(os.path.splitext(path)[1].lower())
    if named and _SAME_FORMAT.get(named, named) != _SAME_FORMAT.get(stored, stored):
        problems.append(Problem("other format than its name says", f"is {stored}, not {named}"))
    if size_known and pixels.size != (width, height):
        why = explain_size(path, (width, height), exif)
        detail = f"is {pixels.width}x{pixels.height}, not {width}x{height}"
        problems.append(Problem("other size than recorded", f"{detail}; {why}" if why else detail))
    if orientation != UPRIGHT:
        effect = "it is not applied" if exif == "ignore" else "it is applied"
        detail = f"EXIF orientation {orientation}; {effect} (exif: {exif})"
        problems.append(Problem("turned by EXIF", detail))
    values = np.asarray(pixels)
    if (values == values[0, 0]).all():
        colour = tuple(values[0, 0].tolist())
        problems.append(Problem("one colour everywhere", f"every pixel is {colour}"))
    if frames > 1:
        problems.append(Problem("several pages", f"{frames} pages or frames; the first is read"))
    return problems


def check_boxes(boxes: np.ndarray, title: str, width: int, height: int) -> list[Problem]:
    """The problems of boxes (P, 4) in pixels of an image; at most one for each box."""
    problems = []
    for box in boxes:
        x0, y0, x1, y1 = box.tolist()
        outside = max(-x0, -y0, x1 - width, y1 - height)
        inside = max(x0, y0, width - x1, height - y1)
        if not np.isfinite(box).all():
            kind = "box not finite"
        elif x1 <= x0 or y1 <= y0:
            kind = "box without area"
        elif x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
            kind = "box outside"
        elif outside > TOLERANCE:
            kind = "box reaches out"
        elif inside < TOLERANCE:
            kind = "box is the whole image"
        else:
            continue
        problems.append(Problem(kind, f"{title} {[x0, y0, x1, y1]} of {width}x{height}"))
    return problems


def check_record(record: ImageRecord, size_known: bool = True) -> list[Problem]:
    """The problems of a record's image and boxes."""
    size = (record.width, record.height)
    problems = check_image(record.file_name, *size, size_known, record.exif, record.max_megapixels)
    if not size_known:
        return problems
    boxes = [("true box", record.gt_boxes), ("pseudo box", record.pseudo_boxes)]
    return problems + [p for title, each in boxes for p in check_boxes(each, title, *size)]


def _rows(record: ImageRecord, problems: Sequence[Problem]) -> list[dict[str, Any]]:
    return [
        {
            "key": record.key,
            "file": record.file_name,
            "problem": problem.kind,
            "detail": problem.detail,
            "leave_out": KINDS[problem.kind] == ENDS,
        }
        for problem in problems
    ]


def _check_rest(
    data_set: DataSet,
    partial: PartialFile[tuple[int, list[dict[str, Any]]]],
    workers: int | None,
) -> list[dict[str, Any]]:
    """Check the images that an interrupted run did not; returns the rows of all images."""

    def look(index: int) -> list[dict[str, Any]]:
        record = data_set[index]
        return _rows(record, check_record(record, size_known=index not in data_set.unreadable))

    name, number = data_set.name, len(data_set)
    rows: list[dict[str, Any]] = []
    done = 0
    for end, problems in partial.items:
        if end - done > CHUNK:  # what was between them was damaged
            break
        rows += problems
        done = end
    if done:
        logger.info("%s: going on after image %d of %d", name, done, number)
    rest = range(done, number)
    chunk: list[dict[str, Any]] = []
    checked = map_in_threads(look, rest, f"{name}: check", "image", workers)
    for index, problems in zip(rest, checked, strict=True):
        chunk += problems
        if (index + 1) % CHUNK == 0 or index + 1 == number:
            partial.add([{"done": index + 1, "rows": chunk}])
            rows += chunk
            chunk = []
    return rows


def check_data_set(
    data_sets: DataSets, name: str, output: str | None = None, workers: int | None = None
) -> int:
    """Check a data set, write the list and print a table of it.

    Args:
        data_sets: where the name is looked up.
        name: a known data set, or the YAML file that declares it.
        output: the list; by default ``<name>.problems.jsonl`` in the current folder.
        workers: threads; by default more than there are cores.

    Returns:
        1 if training or evaluation would lose boxes or end, else 0. What is probably wrong with
        the whole set, such as exchanged width and height, is logged below the table.

    Raises:
        InputError: what the data set's readers say of lists and boxes, a full disk.
    """
    sources = data_sets.sources(name)
    data_set, implausible = _load(data_sets, name)
    name = data_set.name
    path = Path(output or f"{name}.problems.jsonl")
    with locked_file(path, doing="wend data check"):
        status = _check_and_list(data_sets, data_set, path, sources, workers)
    for sentence in implausible:
        logger.warning("%s", sentence)
    findings = check_plausible(data_set, "count")
    return int(status or bool(implausible) or any(finding.certain for finding in findings))


def _check_and_list(
    data_sets: DataSets, data_set: DataSet, path: Path, sources: Sequence, workers: int | None
) -> int:
    """Check, write the list and print the table; whether boxes would be lost or a run would end."""
    name, number = data_set.name, len(data_set)
    settings = {
        "data_set": name,
        "images": number,
        "max_megapixels": data_set.max_megapixels,
        "sources": [fingerprint(source, data_sets.root) for source in sources],
    }
    try:
        partial = PartialFile(
            path.with_name(f"{path.name}.partial"),
            PARTIAL_FORMAT,
            settings,
            lambda row: (row["done"], row["rows"]),
        )
        rows = _check_rest(data_set, partial, workers)
        with atomic_write(path) as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    except OSError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path}: cannot be written ({error}); an older list is as it was. Free the disk and "
            f"run the same command again, it goes on where it stopped"
        ) from error
    partial.remove()
    return _report(name, path, number, rows)


def _load(data_sets: DataSets, name: str) -> tuple[DataSet, list[str]]:
    """The data set, though its pseudo boxes may be implausible, and why they are."""
    try:
        return data_sets.get(name, keep_unreadable=True), []
    except ImplausibleError as error:
        return data_sets.get(name, keep_unreadable=True, implausible="count"), [str(error)]


def _report(name: str, path: Path, total: int, rows: list[dict[str, Any]]) -> int:
    times = Counter(row["problem"] for row in rows)
    files = Counter(kind for kind, _ in {(row["problem"], row["file"]) for row in rows})
    first: dict[str, str] = {}
    for row in rows:
        first.setdefault(row["problem"], row["key"])
    table = [
        [kind, files[kind], times[kind], effect, first.get(kind, "")]
        for kind, effect in KINDS.items()
    ]
    headers = ["problem", "images", "times", "training", "first"]
    logger.info("%s: %d images\n%s", name, total, tabulate(table, headers))
    leave_out = len({row["key"] for row in rows if row["leave_out"]})
    logger.info("written: %s (%d lines)", path, len(rows))
    if leave_out:
        logger.info("WEND.DATA.QUARANTINE %s leaves %d images out of training", path, leave_out)
    return int(any(KINDS[kind] != WORKS for kind in times))
