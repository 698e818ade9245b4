"""A folder of one's own images: class = sub-folder, or no class; the truth, if any, in a file.

Also images that a COCO JSON lists. An image's key is its path below the folder.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from wend.errors import InputError, MissingFileError, some
from wend.formats.coco import load_coco
from wend.formats.openimages import read_box_list
from wend.images.paths import check_relative, find_images, require_folder
from wend.images.sizes import map_in_threads, read_image_sizes
from wend.structures.names import clean_path, match_names
from wend.structures.records import ImageRecord

logger = logging.getLogger(__name__)
CLASSES = ("auto", "folder", "none")


def _class_ids(root: Path, paths: Sequence[str], classes: str) -> list[int] | list[None]:
    if classes not in CLASSES:
        raise InputError(f"classes must be one of {', '.join(CLASSES)}, got {classes!r}")
    flat = [path for path in paths if "/" not in path]
    if classes == "none" or (classes == "auto" and len(flat) == len(paths)):
        return [None] * len(paths)
    if flat:
        raise InputError(
            f"{root}: {len(flat)} of {len(paths)} images lie beside the class folders "
            f"({some(flat)}); move them into one, or set classes: none, for images without class"
        )
    place = {name: i for i, name in enumerate(sorted({path.split("/", 1)[0] for path in paths}))}
    logger.info("%s: %d classes, the sorted names of its folders", root, len(place))
    return [place[path.split("/", 1)[0]] for path in paths]


def _match(source: Path, listed: Sequence[str], root: Path, paths: Sequence[str]) -> dict[str, str]:
    """Listed name -> path below the root; see :func:`.match_names`.

    What matches no image is counted and said.
    """
    names = list(dict.fromkeys(listed))
    keys = [clean_path(path) for path in paths]
    index = match_names([clean_path(name) for name in names], keys, str(source)).tolist()
    matched = {name: paths[i] for name, i in zip(names, index, strict=True) if i >= 0}
    if not matched:
        raise InputError(
            f"{source}: none of its {len(names)} images ({some(names, 2)}) is one of the "
            f"{len(paths)} below {root} ({some(paths, 2)})"
        )
    return matched


def _coco_truth(path: Path, root: Path, paths: Sequence[str]) -> dict[str, ImageRecord]:
    records = load_coco(path)
    found = _match(path, [record.file_name for record in records], root, paths)
    truth: dict[str, ImageRecord] = {}
    for record in records:
        place = found.get(record.file_name)
        if place in truth:
            raise InputError(f"{path}: two entries of images are of {place}; expected one")
        if place is not None:
            truth[place] = record
    _say(path, len(truth), len(paths), len(records) - len(truth))
    return truth


def _box_truth(path: Path, root: Path, paths: Sequence[str]) -> dict[str, list]:
    names, boxes = read_box_list(path)
    found = _match(path, names, root, paths)
    truth: dict[str, list] = {}
    for name, box in zip(names, boxes, strict=True):
        if name in found:
            truth.setdefault(found[name], []).append(box)
    _say(path, len(truth), len(paths), len(set(names)) - len(found))
    return truth


def _say(source: Path, matched: int, images: int, surplus: int) -> None:
    logger.info(
        "%s: truth of %d images, none of %d; %d listed images are not there",
        source,
        matched,
        images - matched,
        surplus,
    )


def load_folder(
    images: str | Path, annotations: str | Path | None = None, classes: str = "auto"
) -> list[ImageRecord]:
    """Read all images below a folder.

    Args:
        images: the folder.
        annotations: the truth: a COCO JSON (its ids become ``image_id``), or a text file of lines
            ``<path>,<x0>,<y0>,<x1>,<y1>`` in original pixels. None: it is unknown.
        classes: "folder": the sorted names of the first sub-folders are the classes; "none": no
            classes; "auto": "none" if all images lie in the folder itself, else "folder".

    Returns:
        Records sorted by path; ``image_id`` and ``key`` are the path below the folder.

    Raises:
        MissingFileError, InputError: no image, an unreadable one, a truth of other images, ...
    """
    root = require_folder(images, "images")
    paths, others = find_images(root)
    if not paths:
        raise MissingFileError(f"{root}: holds no image (other files: {dict(others) or 'none'})")
    if others:
        logger.info("%s: other files, not read: %s", root, dict(others))
    numbers = _class_ids(root, paths, classes)
    coco: dict[str, ImageRecord] = {}
    boxes: dict[str, list] = {}
    if annotations is not None:
        source = Path(annotations)
        if source.suffix.lower() == ".json":
            coco = _coco_truth(source, root, paths)
            boxes = {path: record.gt_boxes for path, record in coco.items()}
        else:
            boxes = _box_truth(source, root, paths)
    files = [str(root / path) for path in paths]
    sizes = read_image_sizes(files, f"{root.name}: image sizes").tolist()
    for path, size in zip(paths, sizes, strict=True):
        if path in coco and [coco[path].width, coco[path].height] != size:
            raise InputError(
                f"{annotations}: image {path} is {coco[path].width}x{coco[path].height} there, "
                f"but its file is {size[0]}x{size[1]}; are the boxes of another copy?"
            )
    logger.info("%s: %d images", root, len(paths))
    return [
        ImageRecord(
            image_id=coco[path].image_id if path in coco else path,
            file_name=file,
            width=width,
            height=height,
            key=path,
            class_id=number,
            gt_boxes=np.array(boxes.get(path, ())).reshape(-1, 4),
        )
        for path, file, (width, height), number in zip(paths, files, sizes, numbers, strict=True)
    ]


def load_coco_images(images: str | Path, annotations: str | Path) -> list[ImageRecord]:
    """Images that a COCO JSON lists, with its boxes as truth; see
    :func:`wend.formats.coco.load_coco`.

    Args:
        images: folder that its ``file_name`` start from.
        annotations: the JSON.

    Returns:
        Records in the JSON's order; ``key`` is the listed path.

    Raises:
        MissingFileError, InputError: not COCO's JSON, an image that is not there or listed twice,
            or a name that leaves the folder; the message names the entry.
    """
    root = require_folder(images, "the images of the COCO JSON")
    records = load_coco(annotations)
    names = [
        check_relative(record.file_name, f"{annotations}, image {record.image_id!r}")
        for record in records
    ]
    if len(set(names)) < len(names):
        raise InputError(f"{annotations}: {len(names) - len(set(names))} images are listed twice")
    files = [str(root / name) for name in names]
    there = map_in_threads(os.path.isfile, files, f"{root.name}: images")
    absent = [name for name, is_there in zip(names, there, strict=True) if not is_there]
    if absent:
        raise MissingFileError(
            f"{root}: {len(absent)} of {len(names)} images of {annotations} are not there "
            f"({some(absent)}); expected its file_name below that folder"
        )
    logger.info("%s: %d images", annotations, len(records))
    return [
        replace(record, file_name=file, key=name)
        for record, file, name in zip(records, files, names, strict=True)
    ]
