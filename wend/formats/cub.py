"""CUB-200-2011 from its own index files.

``<root>/{images,image_class_labels,train_test_split,bounding_boxes}.txt`` and
``<root>/images/<class folder>/<file>``. Each line is ``<image id> <value...>``; boxes are ``x y
width height`` in original pixels, floats, ``x1 = x + width`` (as PSOL, C2AM and wsolevaluation).
The real data set has one box per image; several lines of one id (the toy set) are several boxes.
PSOL's and C2AM's pre-split copy has the images in ``<root>/{train,test}/<class folder>/`` instead.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np

from wend.errors import InputError, MissingFileError, some
from wend.files import is_number, read_lines
from wend.images.paths import check_relative
from wend.images.sizes import SizeReader, missing_files
from wend.numerals import decimal_number
from wend.structures.box_table import BoxTable
from wend.structures.boxes import xywh_to_xyxy
from wend.structures.checks import as_boxes
from wend.structures.data_set import DataSet
from wend.structures.records import image_key

SPLITS = ("train", "test")
logger = logging.getLogger(__name__)


def _is_whole(text: str) -> bool:
    # Python reads 4300 digits of every script, an array 18
    return text.isascii() and text.isdecimal() and len(text) < 10


def _read_index(path: Path, columns: str) -> dict[int, list[list[str]]]:
    """Lines ``id value...`` as id -> list of value lists; ``columns`` names what a line holds."""
    expected = columns.count("<")
    rows: dict[int, list[list[str]]] = {}
    for number, line in enumerate(read_lines(path, f"lines '{columns}'"), 1):
        if not line.strip():
            continue
        parts = line.strip().split(maxsplit=expected - 1)
        if len(parts) != expected or not _is_whole(parts[0]):
            raise InputError(f"{path}, line {number}: expected '{columns}', got {line!r}")
        if "<path>" in columns:
            parts[1] = check_relative(parts[1], f"{path}, line {number}")
        rows.setdefault(int(parts[0]), []).append(parts[1:])
    if not rows:
        raise InputError(f"{path}: is empty; expected lines '{columns}'")
    return rows


def _single(path: Path, columns: str) -> dict[int, str]:
    rows = _read_index(path, columns)
    twice = [image_id for image_id, values in rows.items() if len(values) > 1]
    if twice:
        raise InputError(f"{path}: {len(twice)} image ids stand there twice ({some(twice)})")
    return {image_id: values[0][0] for image_id, values in rows.items()}


def _integer(path: Path, image_id: int, value: str, low: int, high: int | None = None) -> int:
    wanted = f"a number from {low}" + (f" to {high}" if high is not None else "")
    if not _is_whole(value) or int(value) < low or (high is not None and int(value) > high):
        raise InputError(f"{path}: image {image_id}: expected {wanted}, got {value!r}")
    return int(value)


def _boxes(path: Path, image_ids: list[int], rows: dict[int, list[list[str]]]) -> BoxTable:
    """The boxes of images, from their lines' ``x y width height``."""
    lines = [(i, row) for i, image_id in enumerate(image_ids) for row in rows[image_id]]
    boxes = np.array([_box(path, image_ids[i], row) for i, row in lines])
    images = np.array([i for i, _ in lines])
    corners = as_boxes(xywh_to_xyxy(boxes), str(path))
    return BoxTable.from_rows(images, corners, None, len(image_ids))


def _box(path: Path, image_id: int, row: list[str]) -> list[float]:
    try:
        box = [decimal_number(value) for value in row]
    except ValueError:
        box = [math.nan]
    if not all(map(is_number, box)) or min(box[2:]) <= 0:
        raise InputError(
            f"{path}: image {image_id}: expected finite x y width height with width and height "
            f"> 0, got {' '.join(row)!r}"
        )
    return box


def _check_ids(root: Path, files: dict[str, dict]) -> None:
    reference = files["images.txt"]
    for name, rows in files.items():
        for difference, ids in (
            (f"in {name} but not in images.txt", rows.keys() - reference.keys()),
            (f"in images.txt but not in {name}", reference.keys() - rows.keys()),
        ):
            if ids:
                raise InputError(
                    f"{root}: {len(ids)} image ids are {difference} ({some(sorted(ids))}); the "
                    f"index files must come from the same copy of the data set"
                )


def image_folder(root: Path, split: str) -> Path:
    """``<root>/images``, or ``<root>/<split>`` of a pre-split copy."""
    whole, part = root / "images", root / split
    return part if part.is_dir() and not whole.is_dir() else whole


def load_cub(root: str | Path, split: str, sizes: SizeReader | None = None) -> DataSet:
    """Read one split of a data set in CUB-200-2011's layout.

    Args:
        root: the folder ``CUB_200_2011``.
        split: "train" or "test" (``train_test_split.txt``: 1 or 0).
        sizes: reads the images' headers.

    Returns:
        Images in the order of ``images.txt``, with the true boxes, classes from 0 and
        ``image_id`` the data set's own number.

    Raises:
        MissingFileError: the root, an index file or an image is missing.
        InputError: malformed lines, ids that differ between the files, unreadable images.
    """
    root = Path(root)
    if split not in SPLITS:
        raise InputError(f"split must be one of {SPLITS}, got {split!r}")
    if not root.is_dir():
        raise MissingFileError(
            f"{root}: there is no such folder; expected CUB-200-2011 there (images.txt, images/, "
            f"...). Set DETECTRON2_DATASETS or --datasets-root to the folder that holds it"
        )
    names = _single(root / "images.txt", "<image id> <path>")
    if len(set(names.values())) < len(names):
        raise InputError(f"{root / 'images.txt'}: an image stands there twice, with other ids")
    labels_file, split_file = root / "image_class_labels.txt", root / "train_test_split.txt"
    boxes_file = root / "bounding_boxes.txt"
    labels = _single(labels_file, "<image id> <class id>")
    splits = _single(split_file, "<image id> <is training image>")
    boxes = _read_index(boxes_file, "<image id> <x> <y> <width> <height>")
    _check_ids(
        root,
        {
            "images.txt": names,
            labels_file.name: labels,
            split_file.name: splits,
            boxes_file.name: boxes,
        },
    )
    in_split = {
        i: _integer(split_file, i, value, 0, 1) == (split == "train") for i, value in splits.items()
    }
    ids = [image_id for image_id in names if in_split[image_id]]
    if not ids:
        raise InputError(f"{split_file}: no image is of the {split} split")
    folder = image_folder(root, split)
    files = [str(folder / names[image_id]) for image_id in ids]
    absent = [files[i] for i in missing_files(files, f"{root.name} {split}: images")]
    if absent:
        raise MissingFileError(
            f"{folder}: {len(absent)} of {len(ids)} images of images.txt are not there "
            f"({some(absent)}); unpack the data set's images again"
        )
    truth = _boxes(boxes_file, ids, boxes)
    classes = [_integer(labels_file, image_id, labels[image_id], 1) - 1 for image_id in ids]
    reader = sizes or SizeReader()
    image_sizes, unreadable = reader.read(files, f"{root.name} {split}: image sizes")
    logger.info("%s: %d images of the %s split", root, len(ids), split)
    return DataSet(
        name=f"{root.name} {split}",
        image_ids=ids,
        file_names=files,
        keys=[image_key(file) for file in files],
        sizes=image_sizes,
        class_ids=np.array(classes, dtype=np.int64),
        truth=truth,
        pseudo_boxes=BoxTable.empty(len(ids)),
        unreadable=unreadable,
    )
