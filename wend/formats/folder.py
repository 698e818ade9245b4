"""A folder of one's own images: class = sub-folder, or no class; the truth, if any, in a file.

An image's key is its path below the folder.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wend.errors import InputError, MissingFileError, some
from wend.formats.coco import read_coco_truth
from wend.formats.listed_files import match_files, require_different
from wend.formats.wsoleval import read_box_list
from wend.images.orientation import explain_size
from wend.images.paths import find_images, require_folder
from wend.images.sizes import SizeReader
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.structures.records import ImageId

logger = logging.getLogger(__name__)
CLASSES = ("auto", "folder", "none")


def _class_ids(root: Path, paths: Sequence[str], classes: str) -> np.ndarray:
    """Classes (I,) of the images, -1 where they have none."""
    if classes not in CLASSES:
        raise InputError(f"classes must be one of {', '.join(CLASSES)}, got {classes!r}")
    flat = [path for path in paths if "/" not in path]
    if classes == "none" or (classes == "auto" and len(flat) == len(paths)):
        return np.full(len(paths), -1, dtype=np.int64)
    if flat:
        raise InputError(
            f"{root}: {len(flat)} of {len(paths)} images lie beside the class folders "
            f"({some(flat)}); move them into one, or set classes: none, for images without class"
        )
    folders = [path.split("/", 1)[0] for path in paths]
    number = {name: i for i, name in enumerate(sorted(set(folders)))}
    logger.info("%s: %d classes, the sorted names of its folders", root, len(number))
    return np.array([number[folder] for folder in folders], dtype=np.int64)


def _truth(image: np.ndarray, boxes: np.ndarray, num_images: int) -> BoxTable:
    """The boxes (B, 4) whose image (B,) is not -1."""
    here = image >= 0
    return BoxTable.from_rows(image[here], boxes[here], None, num_images)


def _coco_truth(
    path: Path, root: Path, paths: Sequence[str]
) -> tuple[list[ImageId], np.ndarray, BoxTable]:
    """Image ids, sizes (I, 2) as stated there (0 where not), and boxes of the paths' images."""
    listed = read_coco_truth(path, "none")
    image = match_files(path, listed.file_names, root, paths)
    here = np.flatnonzero(image >= 0)
    require_different(path, listed.file_names, image, paths)
    _say(path, len(here), len(paths), len(listed) - len(here))
    image_ids: list[ImageId] = list(paths)
    for row in here.tolist():
        image_ids[image[row]] = listed.image_ids[row]
    sizes = np.zeros((len(paths), 2), dtype=np.int64)
    sizes[image[here]] = listed.sizes[here]
    truth = _truth(image[listed.truth.owner], listed.truth.boxes, len(paths))
    return image_ids, sizes, truth


def _box_truth(path: Path, root: Path, paths: Sequence[str]) -> BoxTable:
    names, boxes = read_box_list(path)
    image = match_files(path, names, root, paths)
    truth = _truth(image, boxes, len(paths))
    surplus = {name for name, i in zip(names, image, strict=True) if i < 0}
    _say(path, len(truth.with_boxes), len(paths), len(surplus))
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
    images: str | Path,
    annotations: str | Path | None = None,
    classes: str = "auto",
    sizes: SizeReader | None = None,
) -> DataSet:
    """Read all images below a folder.

    Args:
        images: the folder.
        annotations: the truth: a COCO JSON (its ids become ``image_id``), or a text file of lines
            ``<path>,<x0>,<y0>,<x1>,<y1>`` in original pixels. None: it is unknown.
        classes: "folder": the sorted names of the first sub-folders are the classes; "none": no
            classes; "auto": "none" if all images lie in the folder itself, else "folder".
        sizes: reads the images' headers.

    Returns:
        Images sorted by path; ``image_id`` and ``key`` are the path below the folder.

    Raises:
        MissingFileError, InputError: no image, an unreadable one, a truth of other images, ...
    """
    root = require_folder(images, "images")
    paths, others = find_images(root)
    if not paths:
        raise MissingFileError(f"{root}: holds no image (other files: {dict(others) or 'none'})")
    if others:
        logger.info("%s: other files, not read: %s", root, dict(others))
    class_ids = _class_ids(root, paths, classes)
    image_ids: list[ImageId] = list(paths)
    stated = np.zeros((len(paths), 2), dtype=np.int64)
    truth = BoxTable.empty(len(paths))
    if annotations is not None:
        source = Path(annotations)
        if source.suffix.lower() == ".json":
            image_ids, stated, truth = _coco_truth(source, root, paths)
        else:
            truth = _box_truth(source, root, paths)
    files = [str(root / path) for path in paths]
    image_sizes, unreadable = (sizes or SizeReader()).read(files, f"{root.name}: image sizes")
    both_known = (stated > 0).all(1) & (image_sizes > 0).all(1)
    wrong = np.flatnonzero(both_known & (stated != image_sizes).any(1))
    if len(wrong):
        (width, height), (w, h) = stated[wrong[0]], image_sizes[wrong[0]]
        reader = sizes or SizeReader()
        why = explain_size(files[wrong[0]], (width, height), reader.exif)
        raise InputError(
            f"{annotations}: image {paths[wrong[0]]} is {width}x{height} there, but its file is "
            f"{w}x{h}; {why or 'are the boxes of another copy?'}"
        )
    logger.info("%s: %d images", root, len(paths))
    return DataSet(
        name=root.name,
        image_ids=image_ids,
        file_names=files,
        keys=paths,
        sizes=image_sizes,
        class_ids=class_ids,
        truth=truth,
        pseudo_boxes=BoxTable.empty(len(paths)),
        unreadable=unreadable,
    )
