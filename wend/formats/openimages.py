"""Images with wsolevaluation's lists: CUB, ImageNet, and OpenImages30k, whose truth are masks.

``image_ids.txt`` and ``class_labels.txt`` as :mod:`wend.formats.wsoleval` says;
``image_sizes.txt`` is
missing for OpenImages30k (sizes then come from the images' headers), and its ``localization.txt``
has a line ``<id>,<mask>,<ignore mask or nothing>`` for each instance (wsolevaluation 96f4b88,
data_loaders.py:119-146) instead of a box. A mask becomes the tight box of its pixels.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from wend.errors import InputError, MissingFileError, some
from wend.files import read_lines
from wend.formats.wsoleval import BOXES, IDS, LABELS, SIZES, place_lines, read_list
from wend.images.paths import SUFFIXES, check_relative, require_folder
from wend.images.sizes import map_in_threads, read_image_sizes
from wend.structures.checks import as_boxes
from wend.structures.records import ImageRecord

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Lists:
    """The lists of a folder, image by image in the order of ``image_ids.txt``.

    Attributes:
        names: listed names, safe below a root (N).
        classes: 0-based classes (N), or None where the folder has no list of them.
        sizes: (N, 2) width and height in pixels, or None.
        boxes: for each image (M, 4) xyxy in original pixels, or None.
        masks: for each image the mask files of its instances, or None.
    """

    names: list[str]
    classes: list[int] | None
    sizes: np.ndarray | None
    boxes: list[np.ndarray] | None
    masks: list[list[str]] | None


def _split(rows: np.ndarray, places: np.ndarray, count: int) -> list[np.ndarray]:
    ends = np.cumsum(np.bincount(places, minlength=count))
    return np.split(rows[np.argsort(places, kind="stable")], ends[:-1])


def read_box_list(path: Path) -> tuple[list[str], np.ndarray]:
    """Names (B) and boxes (B, 4) xyxy of a ``localization.txt`` of boxes; a bad line is named."""
    names, boxes = read_list(path, ("x0", "y0", "x1", "y1"), float)
    turned = (boxes[:, 2:] < boxes[:, :2]).any(1)
    if turned.any():
        first = int(np.argmax(turned))
        as_boxes(boxes[first : first + 1], f"{path}: image {names[first]}")
    return names, boxes


def _read_mask_list(path: Path, place: dict[str, int]) -> list[list[str]]:
    masks: list[list[str]] = [[] for _ in place]
    what = "<image id>,<mask file>,<ignore file or nothing>"
    for number, line in enumerate(read_lines(path, f"lines '{what}'"), 1):
        if not line.strip():
            continue
        name, *rest = line.strip().rsplit(",", 2)
        if len(rest) != 2 or not rest[0]:
            raise InputError(f"{path}, line {number}: expected '{what}', got {line!r}")
        if name not in place:
            raise InputError(f"{path}, line {number}: {IDS} does not list the image {name!r}")
        masks[place[name]].append(check_relative(rest[0], f"{path}, line {number}"))
    return masks


def _first_line(path: Path) -> str:
    lines = read_lines(path, "lines of boxes or of masks")
    return next((line for line in lines if line.strip()), "")


def read_lists(folder: str | Path) -> Lists:
    """Read a metadata folder of wsolevaluation.

    Raises:
        MissingFileError, InputError: no such folder; a list that is malformed or of other images,
            or names that leave the images' root; the message names file and line.
    """
    folder = require_folder(folder, f"wsolevaluation's lists ({IDS}, {LABELS}, {BOXES}, ...)")
    listed, _ = read_list(folder / IDS, (), str)
    place = {name: i for i, name in enumerate(dict.fromkeys(listed))}
    place_lines(folder / IDS, listed, place, once=True)
    names = [check_relative(name, f"{folder / IDS}, image {name!r}") for name in place]
    columns = {}
    for file, titles, least in ((LABELS, ("class",), 0), (SIZES, ("width", "height"), 1)):
        if (folder / file).is_file():
            of, rows = read_list(folder / file, titles, int)
            if rows.min() < least:
                first = of[int(rows.min(1).argmin())]
                raise InputError(
                    f"{folder / file}: image {first}: expected {' and '.join(titles)} from {least}"
                )
            columns[file] = rows[np.argsort(place_lines(folder / file, of, place, once=True))]
    boxes = masks = None
    if (path := folder / BOXES).is_file():
        first = _first_line(path)
        if first.count(",") == 2 or first.rpartition(",")[0].lower().endswith(tuple(SUFFIXES)):
            masks = _read_mask_list(path, place)
        else:
            of, rows = read_box_list(path)
            boxes = _split(rows, place_lines(path, of, place, once=False), len(place))
    classes = columns[LABELS][:, 0].tolist() if LABELS in columns else None
    return Lists(names, classes, columns.get(SIZES), boxes, masks)


def mask_box(path: str | Path, width: int, height: int) -> np.ndarray:
    """The tight box (1, 4) of a mask's pixels above 0 in an image of this size; (0, 4) if none.

    Open Images' masks are smaller than their images: the box is scaled from the mask's frame.

    Raises:
        MissingFileError, InputError: no such file, or no image.
    """
    try:
        with Image.open(path) as image:
            mask = np.asarray(image.convert("L") if image.mode != "I;16" else image) > 0
    except FileNotFoundError as error:
        raise MissingFileError(
            f"{path}: there is no such mask; unpack wsolevaluation's OpenImages annotations, and "
            f"name the folder that the list's paths start from as 'masks'"
        ) from error
    except Exception as error:  # decoders raise struct.error, IndexError, ... on damaged files
        raise InputError(f"{path}: cannot be read as a mask image ({error})") from error
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(xs):
        return np.zeros((0, 4))
    box = np.array([[xs[0], ys[0], xs[-1] + 1, ys[-1] + 1]], dtype=np.float64)
    return box * np.tile([width / mask.shape[1], height / mask.shape[0]], 2)


def _boxes_of_masks(lists: Lists, masks_root: Path, sizes: np.ndarray) -> list[np.ndarray]:
    Image.init()
    jobs = [
        (i, masks_root / name, *sizes[i])
        for i, names in enumerate(lists.masks or [])
        for name in names
    ]
    found = list(map_in_threads(lambda job: mask_box(*job[1:]), jobs, "boxes of masks", "mask"))
    empty = sum(not len(box) for box in found)
    rows = np.concatenate([np.zeros((0, 4)), *found])
    places = np.array([job[0] for job, box in zip(jobs, found, strict=True) if len(box)], dtype=int)
    logger.info("%s: %d masks, %d of them empty (no box)", masks_root, len(jobs), empty)
    return _split(rows, places, len(lists.names))


def load_lists(
    images: str | Path, lists: str | Path, masks: str | Path | None = None
) -> list[ImageRecord]:
    """Images below a root with a folder of wsolevaluation's lists (of boxes, or of masks).

    Args:
        images: folder that the listed names start from.
        lists: folder of the lists, such as ``metadata/OpenImages/test``.
        masks: folder that the listed masks start from; ``images`` by default.

    Returns:
        Records in the order of ``image_ids.txt``; ``image_id`` and ``key`` are the listed name.
        Without ``localization.txt`` the truth is unknown.

    Raises:
        MissingFileError, InputError: a list, an image or a mask is missing or malformed.
    """
    root = require_folder(images, "the images of the lists")
    content = read_lists(lists)
    paths = [str(root / name) for name in content.names]
    sizes = content.sizes
    if sizes is None:
        sizes = read_image_sizes(paths, f"{root.name}: image sizes")
    else:
        _require_files(root, paths)
    boxes = content.boxes
    if content.masks is not None:
        boxes = _boxes_of_masks(content, Path(masks or root), sizes)
    boxes = boxes or [np.zeros((0, 4))] * len(paths)
    classes = content.classes or [None] * len(paths)
    without = sum(not len(gt) for gt in boxes)
    logger.info("%s: %d images, %d without a true box", lists, len(paths), without)
    return [
        ImageRecord(name, path, int(w), int(h), key=name, class_id=class_id, gt_boxes=gt)
        for name, path, (w, h), class_id, gt in zip(
            content.names, paths, sizes, classes, boxes, strict=True
        )
    ]


def _require_files(root: Path, paths: list[str]) -> None:
    there = map_in_threads(os.path.isfile, paths, f"{root.name}: images")
    absent = [path for path, is_there in zip(paths, there, strict=True) if not is_there]
    if absent:
        raise MissingFileError(
            f"{root}: {len(absent)} of {len(paths)} listed images are not there ({some(absent)}); "
            f"unpack the data set's images again, or name the folder that the listed names start "
            f"from as 'images'"
        )
